# SPDX-License-Identifier: Apache-2.0
"""What lies in an attempt's folder: its record, who owns it, its heartbeats and exit records.

Compute nodes write here and other nodes read, so everything is replaced whole and nothing read is trusted: a record
that does not have the right shape counts as not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ade_hpc.errors import SpecError
from ade_hpc.model import Change, ExitRecord, Heartbeat, Scalar
from ade_hpc.spec.experiment import Experiment
from ade_hpc.spec.request import Request
from ade_hpc.spec.resources import Options
from ade_hpc.store.files import create_exclusive, read_json, write_json
from ade_hpc.store.layout import AttemptDir

SCHEMA = 1
T = TypeVar("T")
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


@dataclass(frozen=True)
class ImageRecord:
    """The container image as it was at submit. The payload refuses to start from another one (invariant 7)."""

    path: str
    sha256: str
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class ParentRecord:
    """The checkpoint that an attempt starts from, as pinned in its ``start/``.

    weights_only: of it the attempt takes the weights, and begins with a fresh optimizer.
    """

    attempt: int
    name: str
    step: int | None = None
    weights_only: bool = False


@dataclass(frozen=True)
class FastPath:
    """What the node answers by itself, as preferences.md said when the attempt was made (``limits.fast_path``).

    registry, site: absolute paths for the tick that it asks for; site is empty where there was no site file.
    ends: may it end a trainer that lives (mode auto), or only ask for a tick once one has died?
    objective, goal: what the run is judged by, empty where nobody said. by_return: it is a return, which may be
    no number for a while (no episode has ended) and says little of a loss.
    """

    registry: str
    site: str
    ends: bool
    objective: str = ""
    goal: str = ""
    by_return: bool = False


@dataclass(frozen=True)
class AttemptRecord:
    """All that the payload needs, and all that explains the attempt later. Written once, before ``sbatch``.

    spec: the experiment as validated at submit (``Experiment.to_json()``).
    prefix: the experiment's folder inside the committed tree, the trainer's working directory.
    container: path of apptainer or singularity, empty for the host's own environment.
    fast_path: None where the node answers nothing by itself. gpu_hours: what all attempts together may use, by
    preferences.md as it was when the attempt was made; None: unbounded. directives: what it asks of Slurm beyond its
    spec.
    """

    schema: int
    experiment: str
    number: int
    token: str
    scheduler: str
    commit: str
    tree: str
    prefix: str
    spec: Mapping[str, Any]
    config: Mapping[str, Scalar]
    created_at: float
    heartbeat_interval_s: float
    author: str
    reason: str
    container: str = ""
    image: ImageRecord | None = None
    parent: ParentRecord | None = None
    changes: tuple[Change, ...] = field(default_factory=tuple)
    fast_path: FastPath | None = None
    gpu_hours: float | None = None
    directives: Options = field(default_factory=dict)

    def request(self) -> Request:
        """What it asks of Slurm. Raises SpecError where another version wrote its spec."""
        return Experiment.from_json(dict(self.spec)).request(self.directives)


def save_attempt(attempt: AttemptDir, record: AttemptRecord) -> None:
    write_json(attempt.record, asdict(record))


def load_attempt(attempt: AttemptDir) -> AttemptRecord | None:
    """The attempt's record, or None where a submission was cut off before it was written."""
    return _load(AttemptRecord, attempt.record)


def load_request(attempt: AttemptDir, otherwise: Request) -> Request:
    """What the attempt asked of Slurm. otherwise: what counts where its record can't be read."""
    record = load_attempt(attempt)
    try:
        return record.request() if record is not None else otherwise
    except SpecError:
        return otherwise


# --- the fence (invariant 1c) -----------------------------------------------------------------------------------


def claim_owner(attempt: AttemptDir, job_id: str) -> bool:
    """Become the one job that may run this attempt; a requeue of the same job id passes again."""
    created = create_exclusive(attempt.owner, json.dumps({"job_id": job_id}).encode())
    return created or owner_of(attempt) == job_id


def owner_of(attempt: AttemptDir) -> str | None:
    """The job id that passed the fence, or None as long as nobody did."""
    value = read_json(attempt.owner)
    return str(value["job_id"]) if value and "job_id" in value else None


def supersede(attempt: AttemptDir, by: str) -> None:
    """Put up the tombstone: no job of this attempt may pass the fence any more, and one that runs ends itself."""
    create_exclusive(attempt.superseded, json.dumps({"by": by}).encode())


def superseded_by(attempt: AttemptDir) -> str | None:
    """Who put the tombstone there (``attempt 4``, ``cancel``), or None where there is none."""
    if not attempt.superseded.exists():
        return None
    value = read_json(attempt.superseded)
    return str(value.get("by", "")) if value else ""


def for_good(by: str | None) -> bool:
    """Is this the tombstone of a person or a rule that ends the run, and not of an attempt that takes over?"""
    return bool(by) and not str(by).startswith("attempt ")


# --- heartbeats and exit records --------------------------------------------------------------------------------


def save_heartbeat(attempt: AttemptDir, beat: Heartbeat) -> None:
    write_json(attempt.heartbeats / f"{beat.node}.json", asdict(beat))


def load_heartbeats(attempt: AttemptDir) -> list[Heartbeat]:
    """The latest heartbeat of each node, of the job that owns the attempt: a copied or restored one says nothing."""
    owner = owner_of(attempt)
    beats = [_load(Heartbeat, path) for path in sorted(attempt.heartbeats.glob("*.json"))]
    return [beat for beat in beats if beat is not None and owner in (None, beat.job_id)]


def save_exit(attempt: AttemptDir, record: ExitRecord) -> None:
    write_json(attempt.exits / f"{record.restart}.{record.node}.json", asdict(record))


def evidence_path(attempt: AttemptDir, restart: int, node: str) -> Path:
    """Where the last words of a start lie: beside its exit record."""
    return attempt.exits / f"{restart}.{node}.txt"


def save_fenced_exit(attempt: AttemptDir, record: ExitRecord) -> None:
    """A job that is not the owner must not overwrite the owner's record of the same restart and node."""
    write_json(attempt.exits / f"fenced-{record.job_id}.{record.restart}.{record.node}.json", asdict(record))


def load_exits(attempt: AttemptDir) -> list[ExitRecord]:
    """The exit records of all starts that passed the fence, oldest start first; fenced ones are left out."""
    records = (_load(ExitRecord, path) for path in attempt.exits.glob("[0-9]*.json"))
    return sorted((record for record in records if record is not None), key=lambda record: record.restart)


# The trainer came to its end before its job did: no Slurm, no person and no other attempt had ended it
ENDED_ITSELF = frozenset(
    "failed signal stalled non-finite out-of-memory cuda-out-of-memory disk-full "
    "image-changed image-missing command-missing".split()
)


def ended_itself(beats: Sequence[Heartbeat], exits: Sequence[ExitRecord]) -> ExitRecord | None:
    """The last record of an attempt that is over although its job may still be listed; None while it may go on.

    Every start that showed itself since the last requeue must have left its record: a job has several nodes.
    """
    last = max([beat.restart for beat in beats] + [record.restart for record in exits], default=0)
    over = {record.node: record for record in exits if record.restart == last and record.final and not record.requeued}
    if {beat.node for beat in beats if beat.restart == last} - over.keys():
        return None
    return next((record for record in over.values() if record.cause in ENDED_ITSELF), None)


def _load(kind: type[T], path: Path) -> T | None:
    value = read_json(path)
    if value is None:
        return None
    try:
        return _adapter(kind).validate_json(json.dumps(value), strict=True)
    except (ValidationError, ValueError):
        return None


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    """Made once: that costs a hundred times what reading a record does, and a payload reads one every second."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
