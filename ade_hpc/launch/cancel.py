# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc cancel`: a person ends an experiment. It stays ended: no tick, no requeue, no late job brings it back."""

from __future__ import annotations

import time

from ade_hpc.launch.lineage import job_of
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.store.inbox import drop
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import read_ledger
from ade_hpc.store.records import supersede


def cancel(folder: ExperimentDir, scheduler: Scheduler, *, who: str) -> list[str]:
    """Tombstones first, then scancel; the next tick puts it into the ledger. Returns the ids that were cancelled."""
    ledger = read_ledger(folder.ledger)
    drop(folder, "cancel", {"by": who}, now=time.time())
    cancelled = []
    for attempt in folder.attempts():
        supersede(attempt, "cancel")
    for attempt in folder.attempts()[-2:]:  # during a replacement two attempts can have a job
        job = job_of(folder, ledger, attempt.number)
        if job is not None:
            scheduler.cancel(job)
            cancelled.append(job.job_id)
    return cancelled
