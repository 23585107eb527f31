# SPDX-License-Identifier: Apache-2.0
"""The nouns, as frozen dataclasses. Every other room speaks in these words; this room imports nothing of ours.

Times are POSIX seconds (float, UTC) as in ``time.time()``; durations end in ``_s`` and are seconds.
Job ids are strings: Slurm's are decimal, the local scheduler's are ``PID.STARTTIME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Scalar = bool | int | float | str | None
Answer = Literal["answered", "failed", "off"]
Phase = Literal["pending", "running", "ended", "unknown"]
Verdict = Literal["pending", "starting", "running", "stalled", "lost", "ended", "unknown"]
Severity = Literal["note", "intervene"]
Resume = Literal["last-healthy", "best", "weights", "none"]
Action = Literal["change", "restart", "stop", "ask"]
Outcome = Literal["allow", "refuse", "observe", "propose"]
Domain = Literal["workload", "infrastructure", "unknown"]


# --- what is asked of a scheduler -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Submission:
    """One attempt, as a scheduler sees it.

    name: unique job name of the attempt (its token), safe in a path, a git ref and a shell word.
    attempt_dir: the folder of the attempt: the payload's only argument.
    directives: long ``sbatch`` options without dashes (``{"partition": "gpu", "gpus-per-node": 2}``).
    setup: shell lines that run before the payload (``module load ...``).
    skip: names of directives that must not appear in the generated script.
    after: the job that must have ended before this one starts (Slurm: ``afterany``), or None.
    """

    name: str
    attempt_dir: Path
    directives: Mapping[str, str | int | bool] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    after: JobRef | None = None


@dataclass(frozen=True)
class JobRef:
    """A job that was admitted: its id, its unique name and the attempt it runs."""

    job_id: str
    name: str
    attempt_dir: Path


# --- what a scheduler answers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Did this source answer, and if not, what did it say. ``off`` is a missing capability, not an outage."""

    answer: Answer
    detail: str = ""

    @property
    def answered(self) -> bool:
        return self.answer == "answered"


@dataclass(frozen=True)
class QueueRow:
    """One job as ``squeue`` lists it. ``start`` is the estimated start of a pending job; None where unknown."""

    job_id: str
    state: str
    reason: str = ""
    nodes: str = ""
    submit: float | None = None
    start: float | None = None


@dataclass(frozen=True)
class AccountingRow:
    """One row of ``sacct -D -X``: one life of a job; a requeued job has several, oldest first by ``submit``.

    by_nobody: CANCELLED, but no user and no signal did that. So slurmdbd closes the row of a job that a slurmctld no
    longer knows which was killed before it had saved it (measured, 22.05); a job that was cancelled while it waited may
    look the same after a restart of slurmctld.
    """

    job_id: str
    state: str
    exit_code: int = 0
    signal: int = 0
    submit: float | None = None
    start: float | None = None
    end: float | None = None
    elapsed_s: float = 0.0
    nodes: str = ""
    reason: str = ""
    by_nobody: bool = False


@dataclass(frozen=True)
class StepRow:
    """One step of a job's last life, as ``sacct`` shows it: ``batch``, ``extern``, ``0``, ..."""

    step: str
    state: str
    exit_code: int = 0
    signal: int = 0


@dataclass(frozen=True)
class JobView:
    """Everything a scheduler said of one job: judged by nobody yet."""

    job_id: str
    queue: QueueRow | None = None
    accounting: tuple[AccountingRow, ...] = ()


@dataclass(frozen=True)
class Observation:
    """One look at a scheduler for many jobs: one queue query and one accounting query."""

    queue: Source
    accounting: Source
    jobs: Mapping[str, JobView]


@dataclass(frozen=True)
class Lookup:
    """The answer to "is there an admitted job of this name": trust ``jobs`` only where ``answered``."""

    answered: bool
    jobs: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Witness:
    """One source and what it said of a job. ``at``: the moment that it speaks of; None: as of now, or no moment."""

    source: str
    said: str
    at: float | None = None


@dataclass(frozen=True)
class JobTruth:
    """The one verdict on a job, from queue and accounting together.

    phase: ``ended`` only where it is proved (see invariant 2 in docs/architecture.md), else ``unknown``.
    elapsed_s: run time over all restarts. exit_code and signal as in sacct's ``ExitCode``.
    said_by: which source decided, for people. witnesses: what each of them said.
    unlisted: both answered, the queue does not list the job, and accounting does not say for certain how it ended: it
    was purged, lost by a slurmctld that went down before it had saved the job, or is another cluster's.
    """

    phase: Phase
    state: str = ""
    reason: str = ""
    exit_code: int = 0
    signal: int = 0
    nodes: str = ""
    restarts: int = 0
    elapsed_s: float = 0.0
    start: float | None = None
    end: float | None = None
    said_by: str = ""
    witnesses: tuple[Witness, ...] = ()
    unlisted: bool = False


# --- what the compute node leaves behind ------------------------------------------------------------------------


@dataclass(frozen=True)
class GpuUse:
    """One GPU of the job as NVML saw it: the share of the last second it was busy (percent), memory in use (bytes)."""

    index: int
    utilization: int
    memory_bytes: int


@dataclass(frozen=True)
class Pauses:
    """How long this run is silent while all is well, in seconds: what a later start learns from an earlier one.

    startup_s: from the trainer's start to its first event. first_step_s: from there to the next. usual_s: the 99th
    percentile of all later pauses; longest_s: the longest of them. None: not seen yet.
    """

    startup_s: float | None = None
    first_step_s: float | None = None
    usual_s: float | None = None
    longest_s: float | None = None


@dataclass(frozen=True)
class Heartbeat:
    """What the sidecar writes while the job lives. ``counter`` moves with every beat: clocks lie, counters do not.

    cpu_s: CPU time of the trainer and all below it so far. last_step: the newest step in the event files; None where
    they have none. steps_per_s: between the last looks that saw a new step. since_progress_s: by the node's monotonic
    clock, from the last progress or else the trainer's start. stall_limit_s: the silence that this run's own history
    makes a stall; None until a trainer runs. oom_kills: by the kernel, in the job's memory cgroup, since this start.
    gpu: at most a minute old; empty without NVML. pauses: what stall_limit_s was learnt from.
    """

    schema: int
    job_id: str
    attempt: int
    restart: int
    node: str
    counter: int
    interval_s: float
    written_at: float
    trainer_pid: int | None = None
    trainer_state: str = ""
    trainer_started_at: float | None = None
    event_bytes: int = 0
    last_progress_at: float | None = None
    rss_bytes: int = 0
    cpu_s: float = 0.0
    last_step: int | None = None
    steps_per_s: float | None = None
    since_progress_s: float | None = None
    stall_limit_s: float | None = None
    oom_kills: int = 0
    gpu: tuple[GpuUse, ...] = ()
    pauses: Pauses = field(default_factory=Pauses)


@dataclass(frozen=True)
class ExitRecord:
    """What the payload leaves at the end of a start; ``final`` is False for the provisional one written on a signal.

    cause: completed, failed, signal, fenced, superseded, cancelled, time-limit, preempted, image-changed,
    image-missing, command-missing, stalled, non-finite, out-of-memory, cuda-out-of-memory, disk-full, lost (it could
    not see the run folder any more).
    trainer_started_at and ended_at bound the time in which the trainer lived; both None for a fenced start.
    last_step: the newest step that it logged. signature: the failure in one short line that is the same when the same
    thing happens again (exception and last frame, or signal, or exit code). evidence: a file below the attempt's
    folder with its last words or its stacks. burnt_s: how long it ran on after what ended it had happened.
    further: has it brought a later checkpoint or a new step; None where there was no trainer, or nobody could tell.
    """

    schema: int
    job_id: str
    attempt: int
    restart: int
    node: str
    cause: str
    returncode: int
    final: bool
    started_at: float
    trainer_started_at: float | None = None
    ended_at: float | None = None
    requeued: bool = False
    detail: str = ""
    last_step: int | None = None
    signature: str = ""
    evidence: str = ""
    burnt_s: float | None = None
    further: bool | None = None


# --- what is thought --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Health:
    """The verdict on the process: one word out of queue, accounting, heartbeat and exit record.

    cause: how it ended, or why it waits. detail: what decided, for people. domain: whose fault an end is.
    witnesses: which source said what, and of when.
    """

    verdict: Verdict
    cause: str = ""
    detail: str = ""
    domain: Domain = "unknown"
    witnesses: tuple[Witness, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A diagnosed fact about a curve, with its evidence.

    first_step, last_step: where it begins and where it was last seen, in the units of ``tag``.
    onset: when it began (POSIX seconds, from the events' own wall times), or None.
    severity: ``note`` is worth knowing; ``intervene`` calls for a change.
    """

    kind: str
    tag: str
    first_step: int
    last_step: int
    severity: Severity
    onset: float | None = None
    evidence: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """One scalar of the config, from ``old`` to ``new``; ``key`` is dotted (``optimizer.lr``)."""

    key: str
    old: Scalar
    new: Scalar


@dataclass(frozen=True)
class Proposal:
    """What a rule or the agent wants; the guard decides. ``author``: ``rule:NAME`` or ``model:NAME``."""

    action: Action
    author: str
    reason: str
    changes: tuple[Change, ...] = ()
    resume: Resume = "none"
    finding: Finding | None = None
    resources: Mapping[str, Scalar] = field(default_factory=dict)
    exclude_nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What the guard made of a proposal. ``refusals`` name the bounds that stood in the way, one sentence each."""

    outcome: Outcome
    proposal: Proposal
    refusals: tuple[str, ...] = ()
