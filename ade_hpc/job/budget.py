# SPDX-License-Identifier: Apache-2.0
"""May this job be queued once more? A job that queues itself again asks no tick, so the bound is kept here as well."""

from __future__ import annotations

import math
import time

from ade_hpc.spec.experiment import Experiment
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import load_exits

HOUR_S = 3600.0


def over_gpu_hours(attempt: AttemptDir, limit: float | None, experiment: Experiment, *, since: float) -> str:
    """Why one more start, with its whole time limit, may go over ``gpu_hours``; empty where it can't.

    By the exit records of all starts, and this one's own time since ``since`` (POSIX seconds). A start that left no
    record (its node was lost) is not counted here; the guard counts it, by accounting, at the next tick.
    """
    if limit is None or not experiment.gpus:
        return ""
    records = [record for one in attempt.experiment.attempts() for record in load_exits(one)]
    lived_s = sum(record.ended_at - record.started_at for record in records if record.ended_at is not None)
    used = experiment.gpus * (lived_s + time.time() - since) / HOUR_S
    more = experiment.gpus * (experiment.time_limit_s or math.inf) / HOUR_S
    if used + more <= limit:
        return ""
    return f"not queued again: gpu_hours: {used:.1f} are used and one more start may use {more:.1f} of {limit:g}"
