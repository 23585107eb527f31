# SPDX-License-Identifier: Apache-2.0
"""What was submitted, which attempt is in charge, and which job runs it: read from disk, without asking anybody."""

from __future__ import annotations

import os

from ade_hpc.errors import StoreError
from ade_hpc.launch.plan import fact
from ade_hpc.model import JobRef
from ade_hpc.spec.experiment import Experiment
from ade_hpc.store.files import read_json
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.ledger import Ledger
from ade_hpc.store.records import owner_of


def submitted_experiment(folder: ExperimentDir) -> tuple[Experiment, str]:
    """The experiment as it was last submitted, and the kind of scheduler that has it.

    Raises StoreError where the run folder is gone or its record can't be read: blindness is not health.
    """
    record = read_json(folder.record)
    if record is None or not isinstance(record.get("spec"), dict):
        raise StoreError(f"{folder.record}: is missing or damaged; is the filesystem of the run folder mounted?")
    return Experiment.from_json(record["spec"]), str(record["scheduler"])


def job_of(experiment: ExperimentDir, ledger: Ledger, number: int) -> JobRef | None:
    """The job of an attempt: the one that passed the fence, else the one that the ledger has; None before that."""
    submitted, intent = fact(ledger, "submitted", number), fact(ledger, "intent", number)
    owner = owner_of(experiment.attempt(number))
    job_id = owner or (str(submitted.data["job_id"]) if submitted else None)
    if job_id is None or intent is None:
        return None
    return JobRef(job_id, str(intent.data["token"]), experiment.attempt(number).path)


def current_attempt(experiment: ExperimentDir, ledger: Ledger) -> AttemptDir | None:
    """The newest attempt that has a job: a refused or unfinished newer one leaves the older one in charge."""
    return next(
        (one for one in reversed(experiment.attempts()) if job_of(experiment, ledger, one.number) is not None), None
    )


def next_attempt(experiment: ExperimentDir) -> int:
    attempts = experiment.attempts() if os.path.isdir(experiment.attempts_dir) else []
    return attempts[-1].number + 1 if attempts else 1
