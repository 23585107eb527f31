# SPDX-License-Identifier: Apache-2.0
"""What was done and spent so far, from the ledger and the schedulers' records, for the guard's bounds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ade_hpc.launch.plan import Plan
from ade_hpc.model import Change, JobTruth
from ade_hpc.policy.snapshot import Past
from ade_hpc.supervisor.experiment import Supervised


@dataclass(frozen=True)
class Usage:
    """This user's, over all experiments: the site file caps them."""

    live_attempts: int
    recent_submissions: int


def usage_of(supervised: Sequence[Supervised], truths: Mapping[str, JobTruth], *, now: float) -> Usage:
    """Jobs that are alive or may be, and submissions of the last hour."""
    live = sum(1 for one in supervised for job in one.jobs if truths[job.job_id].phase != "ended")
    recent = sum(1 for one in supervised for entry in one.ledger.of_kind("trying") if now - entry.time < 3600)
    return Usage(live, recent)


def past_of(one: Supervised, truths: Mapping[str, JobTruth], usage: Usage) -> Past:
    plans = [(entry.time, Plan.from_json(entry.data)) for entry in one.ledger.of_kind("intent")]
    refused = {entry.data.get("attempt") for entry in one.ledger.of_kind("refused")}
    made = [(time, plan) for time, plan in plans if plan.attempt not in refused]
    changed = [(time, plan) for time, plan in made if plan.changes]
    gpus, limit = one.experiment.gpus, one.experiment.time_limit_s
    hours = sum(truths[job.job_id].elapsed_s for job in one.jobs) / 3600
    return Past(
        attempts=len(made),
        last_change_at=changed[-1][0] if changed else None,
        changes=_all_changes(changed),
        rule_uses=Counter(plan.author.removeprefix("rule:") for _, plan in made if plan.author.startswith("rule:")),
        gpu_hours=gpus * hours,
        next_gpu_hours=gpus * (math.inf if limit is None else limit / 3600) if gpus else 0.0,
        live_attempts=usage.live_attempts,
        recent_submissions=usage.recent_submissions,
    )


def _all_changes(changed: Sequence[tuple[float, Plan]]) -> tuple[Change, ...]:
    return tuple(change for _, plan in changed for change in plan.changes)
