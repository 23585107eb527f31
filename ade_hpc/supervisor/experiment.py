# SPDX-License-Identifier: Apache-2.0
"""A registered experiment as a tick finds it: its spec as submitted, its ledger, the attempt in charge."""

from __future__ import annotations

from dataclasses import dataclass

from ade_hpc.errors import StoreError
from ade_hpc.launch.lineage import job_of
from ade_hpc.model import JobRef
from ade_hpc.spec.experiment import Experiment
from ade_hpc.store.files import read_json
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.ledger import Ledger, read_ledger


@dataclass(frozen=True)
class Supervised:
    """One experiment.

    attempt: the newest one that has a job, None before the first. jobs: of all attempts, oldest first, because past
    ones count into the budget; taken once, so that all of a tick speaks of the same jobs.
    """

    folder: ExperimentDir
    experiment: Experiment
    scheduler: str
    ledger: Ledger
    attempt: AttemptDir | None
    jobs: tuple[JobRef, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def job(self) -> JobRef | None:
        """The job of the attempt in charge: the newest."""
        return self.jobs[-1] if self.jobs else None


def load_supervised(folder: ExperimentDir) -> Supervised:
    """Raises StoreError where the run folder is gone or its record can't be read: blindness is not health."""
    record = read_json(folder.record)
    if record is None or not isinstance(record.get("spec"), dict):
        raise StoreError(f"{folder.record}: is missing or damaged; is the filesystem of the run folder mounted?")
    ledger = read_ledger(folder.ledger)
    found = [(attempt, job_of(folder, ledger, attempt.number)) for attempt in folder.attempts()]
    jobs = [(attempt, job) for attempt, job in found if job is not None]
    return Supervised(
        folder=folder,
        experiment=Experiment.from_json(record["spec"]),
        scheduler=str(record["scheduler"]),
        ledger=ledger,
        attempt=jobs[-1][0] if jobs else None,
        jobs=tuple(job for _, job in jobs),
    )
