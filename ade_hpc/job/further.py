# SPDX-License-Identifier: Apache-2.0
"""Has a start got the run any further? By what it saved first: an event writer may hold back two minutes of steps."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from ade_hpc.job.breaker import in_vain, storm
from ade_hpc.job.checkpoints import Checkpoint, list_checkpoints, looks_whole
from ade_hpc.job.identity import JobIdentity
from ade_hpc.job.sidecar import Sidecar
from ade_hpc.model import ExitRecord
from ade_hpc.spec.experiment import Experiment
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import load_exits


def storm_before(attempt: AttemptDir, job: JobIdentity) -> str:
    """Why a start that Slurm made after a preemption must not run, empty where it may.

    From 25.11 on Slurm queues a preempted job again whatever it ends with, also one that has found that it should not.
    """
    earlier = _earlier(attempt, job)
    last = [one for one in earlier if one.restart == job.restart - 1 and one.trainer_started_at is not None]
    return storm(attempt, earlier, time.time()) if any(one.cause == "preempted" for one in last) else ""


class Standing:
    """How far one start gets, against those before it in its attempt."""

    def __init__(self, attempt: AttemptDir, job: JobIdentity, experiment: Experiment, sidecar: Sidecar) -> None:
        self._attempt = attempt
        self._job = job
        self._declared = experiment.checkpoint
        self._sidecar = sidecar
        self._before: set[tuple[Checkpoint, float]] | None = None
        self._began_at: int | None = None

    def begin(self, at: Checkpoint | None) -> None:
        """The trainer is about to begin, at this checkpoint, or None at the very beginning."""
        own = at is not None and at.path.is_relative_to(self._attempt.checkpoints)
        self._began_at = at.step if at is not None and own else None  # a parent's steps may be counted otherwise
        self._before = set(self._listed())

    def further(self) -> bool | None:
        """Has it brought anything new? None where there was no trainer, or nobody can tell.

        A checkpoint whose name tells no step is new in every start: there what was logged may speak against it.
        """
        if self._before is None:
            return None
        try:
            known = [one.last_step for one in _earlier(self._attempt, self._job) if one.last_step is not None]
        except OSError:
            return None
        logged = self._sidecar.last_step
        if logged is not None and logged > max(known, default=-1):
            return True
        names_tell = self._declared is not None and "{step}" in self._declared.pattern
        return (names_tell or logged is None) and self._saved()

    def against_one_more(self, record: ExitRecord) -> str:
        """Why there should be no further start, empty where it is all right. record: of this one, with its cause.

        Near its time limit a job goes on from its checkpoint, or not at all; after a preemption it only has to get
        anywhere in the long run. Raises AdeError or OSError where the records of other starts can't be read.
        """
        records = [*_earlier(self._attempt, self._job), replace(record, further=self.further())]
        if record.cause == "preempted":
            return storm(self._attempt, records, time.time())
        if self._saved():
            return in_vain(records)
        if not self._sidecar.progressed:
            return "it made no progress in this start"
        return "it saved no checkpoint, so the next start would begin where this one began"

    def _saved(self) -> bool:
        """Will the next start begin later than this one? Not by checksums: there may be no time left to read it all."""
        if self._declared is None:
            return False
        new = [one for one, written_at in self._listed() if (one, written_at) not in (self._before or ())]
        return any(self._is_later(one) and looks_whole(one.path, self._declared.complete) for one in new)

    def _is_later(self, one: Checkpoint) -> bool:
        return one.step is None or self._began_at is None or one.step > self._began_at

    def _listed(self) -> list[tuple[Checkpoint, float]]:
        """With when each was written last: a folder may be filled anew under its old name."""
        if self._declared is None:
            return []
        found = list_checkpoints(self._attempt.checkpoints, self._declared.pattern)
        return [(one, _written_at(one.path)) for one in found]


def _earlier(attempt: AttemptDir, job: JobIdentity) -> list[ExitRecord]:
    """The records of the starts of this attempt before this one."""
    return [one for one in load_exits(attempt) if one.restart < job.restart]


def _written_at(path: Path) -> float:
    """When it, or anything in it, was written last (POSIX seconds, by the file server's clock)."""
    inside = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return max(_modified(one) for one in (path, *inside))


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0  # deleted meanwhile: trainers prune
