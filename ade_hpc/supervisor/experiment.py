# SPDX-License-Identifier: Apache-2.0
"""A registered experiment as a tick finds it: its spec as submitted, its ledger, the attempt in charge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ade_hpc.errors import AdeError, StoreError
from ade_hpc.launch.lineage import job_of, submitted_experiment
from ade_hpc.launch.plan import Plan, fact
from ade_hpc.metrics.text import printable
from ade_hpc.model import JobRef
from ade_hpc.spec.experiment import Experiment
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.ledger import Ledger, read_ledger
from ade_hpc.store.pause import paused_by


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
        return printable(paused_by(self.folder, self.holds, self.ledger), 300)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def job(self) -> JobRef | None:
        """The job of the attempt in charge: the newest."""
        return self.jobs[-1] if self.jobs else None

    def plan(self, attempt: int) -> Plan:
        """What was decided of this attempt. Raises StoreError where the ledger does not tell."""
        intent = fact(self.ledger, "intent", attempt)
        if intent is None:
            raise StoreError(f"{self.folder.ledger}: the intent of attempt {attempt} is missing; nothing was changed")
        return Plan.from_json(intent.data)


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


def known_experiment(folder: ExperimentDir) -> Supervised | None:
    """The same for one that only counts: None where it can't be read, as who looks after it will say."""
    try:
        return load_supervised(folder)
    except AdeError:
        return None
