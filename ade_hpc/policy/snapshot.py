# SPDX-License-Identifier: Apache-2.0
"""All that one tick observed of one experiment. Everything in this room is a pure function of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ade_hpc.metrics.series import Curves
from ade_hpc.model import Change, ExitRecord, Heartbeat, JobTruth, Scalar
from ade_hpc.spec.request import Request


@dataclass(frozen=True)
class Death:
    """How an attempt ended, or was replaced, and how far it had come.

    cause: as in ``health.trouble``, empty where it was replaced in health. step: the last one that is known of it.
    signature: what makes two crashes the same one. lives: how often it was started, requeues included. asked: the
    fingerprint of its request; None: unknown.
    """

    attempt: int
    cause: str
    nodes: str = ""
    step: int | None = None
    signature: str = ""
    lives: int = 1
    asked: str | None = None


@dataclass(frozen=True)
class Past:
    """What was done so far, and what is spent.

    gpu_hours: used by all attempts, each with the GPUs that it asked for, requeues included. rule_uses: how often each
    rule has changed something. live_attempts and recent_submissions are this user's, over all experiments, for the caps
    of the site file. deaths: of the attempts before this one, oldest first, as long as the config stayed as it was: a
    change of it, or a person's `submit`, begins anew. recent_starts: of this experiment within an hour, requeues
    included. suspects: nodes on which several experiments died. refusals: how many submissions in a row came to nothing
    since the attempt in charge, the last of them at refused_at.
    """

    attempts: int = 0
    last_change_at: float | None = None
    changes: tuple[Change, ...] = ()
    rule_uses: Mapping[str, int] = field(default_factory=dict)
    gpu_hours: float = 0.0
    live_attempts: int = 0
    recent_submissions: int = 0
    deaths: tuple[Death, ...] = ()
    recent_starts: int = 0
    suspects: tuple[str, ...] = ()
    refusals: int = 0
    refused_at: float | None = None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One experiment at one moment.

    attempt: the attempt in charge; config and changes are its committed config and what was changed to make it.
    before: the curves of the attempt that it was changed from; none where nothing was changed, or logged yet.
    paused_by: who wants nothing to be done to it (`pause`, or a HOLD file), empty where nobody does.
    silent: the heartbeat is old *and* its counter did not move when it was read again within this tick.
    degraded: sources that should have answered and did not, one sentence each.
    step: the last one that curves, heartbeat, exit record or checkpoints know of. signature: of its last crash.
    resumable: there is a checkpoint to go on from. takes_weights: the trainer can take the weights of one alone.
    request: what the attempt asks of Slurm, and the next one too, but for what a proposal changes.
    """

    experiment: str
    now: float
    attempt: int
    truth: JobTruth
    superseded_by: str | None = None
    paused_by: str = ""
    beats: tuple[Heartbeat, ...] = ()
    silent: bool = False
    exits: tuple[ExitRecord, ...] = ()
    curves: Curves = field(default_factory=Curves)
    config: Mapping[str, Scalar] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    before: Curves = field(default_factory=Curves)
    past: Past = field(default_factory=Past)
    degraded: tuple[str, ...] = ()
    step: int | None = None
    signature: str = ""
    resumable: bool = False
    takes_weights: bool = False
    request: Request = field(default_factory=Request)

    def has(self, resources: Mapping[str, Scalar]) -> bool:
        """Does the attempt in charge ask for these already?"""
        return self.request.plus(resources).fingerprint == self.request.fingerprint
