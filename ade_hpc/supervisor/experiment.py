# SPDX-License-Identifier: Apache-2.0
"""A registered experiment as a tick finds it: its spec as submitted, its ledger, the attempt in charge."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ade_hpc.launch.lineage import job_of, submitted_experiment
from ade_hpc.metrics.text import printable
from ade_hpc.model import JobRef
from ade_hpc.spec.experiment import Experiment
from ade_hpc.store.inbox import messages
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.ledger import Ledger, read_ledger


@dataclass(frozen=True)
class Supervised:
    """One experiment.

    attempt: the newest one that has a job, None before the first. jobs: of all attempts, oldest first, because past
    ones count into the budget; taken once, so that all of a tick speaks of the same jobs. holds: files besides the
    experiment's own HOLD whose existence pauses it.
    """

    folder: ExperimentDir
    experiment: Experiment
    scheduler: str
    ledger: Ledger
    attempt: AttemptDir | None
    jobs: tuple[JobRef, ...]
    holds: tuple[Path, ...] = ()

    def paused_by(self) -> str:
        """Who wants nothing to be done to it, as of this moment; empty where nobody does.

        A HOLD file counts by its existence alone, and a `pause` in the inbox before a tick has recorded it.
        """
        for path in (self.folder.hold, *self.holds):
            if os.path.lexists(path):
                return f"the file {path}"
        said = [(entry.kind, entry.data) for entry in self.ledger.of_kind("pause", "resume")]
        said += [(one.kind, one.data) for one in messages(self.folder) if one.kind in ("pause", "resume")]
        return printable(str(said[-1][1].get("by") or "somebody"), 60) if said and said[-1][0] == "pause" else ""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def job(self) -> JobRef | None:
        """The job of the attempt in charge: the newest."""
        return self.jobs[-1] if self.jobs else None


def load_supervised(folder: ExperimentDir, holds: tuple[Path, ...] = ()) -> Supervised:
    """Raises StoreError where the run folder is gone or its record can't be read: blindness is not health."""
    experiment, scheduler = submitted_experiment(folder)
    ledger = read_ledger(folder.ledger)
    found = [(attempt, job_of(folder, ledger, attempt.number)) for attempt in folder.attempts()]
    jobs = [(attempt, job) for attempt, job in found if job is not None]
    return Supervised(
        folder=folder,
        experiment=experiment,
        scheduler=scheduler,
        ledger=ledger,
        attempt=jobs[-1][0] if jobs else None,
        jobs=tuple(job for _, job in jobs),
        holds=holds,
    )
