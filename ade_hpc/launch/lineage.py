# SPDX-License-Identifier: Apache-2.0
"""Which attempt is in charge, and which job runs it: read from the ledger and the fence, without asking anybody."""

from __future__ import annotations

import os

from ade_hpc.launch.plan import fact
from ade_hpc.model import JobRef
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.ledger import Ledger
from ade_hpc.store.records import owner_of


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
