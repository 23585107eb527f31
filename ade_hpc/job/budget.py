# SPDX-License-Identifier: Apache-2.0
"""May this job be queued once more? A job that queues itself again asks no tick, so the bound is kept here as well."""

from __future__ import annotations

import time

from ade_hpc.spec.request import HOUR_S
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import AttemptRecord, load_exits, load_request


def over_gpu_hours(attempt: AttemptDir, record: AttemptRecord, *, since: float) -> str:
    """Why one more start, with its whole time limit, may go over ``gpu_hours``; empty where it can't.

    By the exit records of all starts, each with the GPUs of its attempt, and this one's own time since ``since`` (POSIX
    seconds). A start that left no record (its node was lost) is not counted here; the guard counts it, by accounting,
    at the next tick.
    """
    limit, mine = record.gpu_hours, record.request()
    if limit is None or not mine.gpus:
        return ""
    earlier = sum(load_request(one, mine).gpus * _lived_s(one) for one in attempt.experiment.attempts())
    used = (earlier + mine.gpus * (time.time() - since)) / HOUR_S
    more = mine.gpu_hours
    if used + more <= limit:
        return ""
    return f"not queued again: gpu_hours: {used:.1f} are used and one more start may use {more:.1f} of {limit:g}"


def _lived_s(attempt: AttemptDir) -> float:
    return sum(one.ended_at - one.started_at for one in load_exits(attempt) if one.ended_at is not None)
