# SPDX-License-Identifier: Apache-2.0
"""What was done and spent so far, from the ledger and the schedulers' records, for the guard's bounds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ade_hpc.launch.plan import Plan, fact
from ade_hpc.model import Change, Health, JobRef, JobTruth
from ade_hpc.policy.answers import NODE_FAULTS
from ade_hpc.policy.health import trouble
from ade_hpc.policy.snapshot import Death, Past
from ade_hpc.spec.request import HOUR_S, Request
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.ledger import Entry, Ledger
from ade_hpc.store.records import load_exits, load_heartbeats, load_request
from ade_hpc.supervisor.experiment import Supervised

SUSPECT_FOR_S = 7 * 24 * HOUR_S  # by then somebody has looked at the node
SUSPECT_AFTER = 2  # different experiments


@dataclass(frozen=True)
class Usage:
    """This user's, over all experiments: the site file caps them. suspects: nodes on which several of them died."""

    live_attempts: int
    recent_submissions: int
    suspects: tuple[str, ...] = ()

    def plus(self, *, live: int, submissions: int) -> Usage:
        return replace(
            self,
            live_attempts=self.live_attempts + live,
            recent_submissions=self.recent_submissions + submissions,
        )


def usage_of(supervised: Sequence[Supervised], truths: Mapping[str, JobTruth], *, now: float) -> Usage:
    """Jobs that are alive or may be, and submissions of the last hour."""
    live = sum(1 for one in supervised for job in one.jobs if truths[job.job_id].phase != "ended")
    recent = sum(1 for one in supervised for entry in one.ledger.of_kind("trying") if now - entry.time < HOUR_S)
    return Usage(live, recent, _suspects(supervised, now=now))


def past_of(one: Supervised, truths: Mapping[str, JobTruth], usage: Usage, *, now: float) -> Past:
    plans = [(entry.time, Plan.from_json(entry.data)) for entry in one.ledger.of_kind("intent")]
    refused = {entry.data.get("attempt") for entry in one.ledger.of_kind("refused")}
    made = [(time, plan) for time, plan in plans if plan.attempt not in refused]
    changed = [(time, plan) for time, plan in made if plan.changes]
    return Past(
        attempts=len(made),
        last_change_at=changed[-1][0] if changed else None,
        changes=_all_changes(changed),
        rule_uses=Counter(plan.author.removeprefix("rule:") for _, plan in made if plan.author.startswith("rule:")),
        gpu_hours=sum(_gpu_seconds(one, job, truths[job.job_id]) for job in one.jobs) / HOUR_S,
        live_attempts=usage.live_attempts,
        recent_submissions=usage.recent_submissions,
        deaths=_deaths(one, [plan for _, plan in made]),
        recent_starts=_recent_starts(one, [time for time, _ in made], truths, now=now),
        suspects=usage.suspects,
        refusals=len(given_up := _given_up(one)),
        refused_at=given_up[-1].time if given_up else None,
    )


def changed_from(ledger: Ledger, attempt: int) -> int | None:
    """The attempt whose config was changed to make this one; None where a person submitted it."""
    intent = fact(ledger, "intent", attempt)
    return Plan.from_json(intent.data).replaces if intent is not None else None


def _given_up(one: Supervised) -> list[Entry]:
    """The plans that came to nothing since the attempt in charge was made."""
    current = one.attempt.number if one.attempt is not None else 0
    return [entry for entry in one.ledger.of_kind("refused") if entry.data.get("attempt", 0) > current]


def _all_changes(changed: Sequence[tuple[float, Plan]]) -> tuple[Change, ...]:
    return tuple(change for _, plan in changed for change in plan.changes)


def _request(one: Supervised, attempt: AttemptDir) -> Request:
    """What this very attempt asked for; where nobody knows any more, what the experiment asks for today."""
    return load_request(attempt, one.experiment.request({}))


def _gpu_seconds(one: Supervised, job: JobRef, truth: JobTruth) -> float:
    return _request(one, AttemptDir(job.attempt_dir)).gpus * _run_time_s(job, truth)


def _run_time_s(job: JobRef, truth: JobTruth) -> float:
    """Where accounting is off, or has lost the job (it may then say RUNNING for ever), its records tell how long its
    starts lived, and a heartbeat of one that left no record."""
    if not truth.unlisted and (truth.elapsed_s or truth.phase in ("pending", "running")):
        return truth.elapsed_s
    attempt = AttemptDir(job.attempt_dir)
    lived = {
        beat.restart: beat.written_at - beat.trainer_started_at
        for beat in load_heartbeats(attempt)
        if beat.trainer_started_at is not None
    }
    ended = {one.restart: one.ended_at - one.started_at for one in load_exits(attempt) if one.ended_at is not None}
    return sum((lived | ended).values())


# --- what it died of --------------------------------------------------------------------------------------------


def _deaths(one: Supervised, made: Sequence[Plan]) -> tuple[Death, ...]:
    """Of the attempts that went on with the same config, back to the last that changed it, or that a person submitted.

    Whoever made them: a rule that only starts again, or asks for what it was given, is no better than an answer.
    """
    plans = {plan.attempt: plan for plan in made}
    plan = plans.get(one.attempt.number) if one.attempt is not None else None
    found: list[Death] = []
    while plan is not None and plan.replaces is not None and not plan.changes:
        seen = [entry.data for entry in one.ledger.of_kind("observed") if entry.data.get("attempt") == plan.replaces]
        asked = _request(one, one.folder.attempt(plan.replaces)).fingerprint
        found.append(_death(plan.replaces, seen[-1] if seen else {}, asked))
        plan = plans.get(plan.replaces)
    return tuple(reversed(found))


def _death(attempt: int, data: Mapping[str, Any], asked: str) -> Death:
    job, seen = _part(data, "job"), _part(data, "seen")
    step = seen.get("step")
    return Death(
        attempt,
        _word(data),
        str(job.get("nodes", "")),
        step if isinstance(step, int) else None,
        str(seen.get("signature", "")),
        int(job.get("restarts", 0)) + 1,
        asked,
    )


def _troubles(ledger: Ledger) -> Iterator[tuple[Entry, Mapping[str, Any]]]:
    """The ticks that saw the process in trouble, oldest first."""
    return ((entry, entry.data) for entry in ledger.of_kind("observed") if _word(entry.data))


def _word(data: Mapping[str, Any]) -> str:
    """Total, whatever stands there: usage is counted over all experiments, and none may spoil it for the others."""
    health = _part(data, "health")
    return trouble(Health(health.get("verdict", "unknown"), str(health.get("cause", ""))))


def _part(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _recent_starts(one: Supervised, made: Sequence[float], truths: Mapping[str, JobTruth], *, now: float) -> int:
    """Attempts made within an hour, and requeues of the one in charge since an hour ago, as far as ticks saw them."""
    attempts = sum(1 for time in made if now - time < HOUR_S)
    if one.attempt is None or one.job is None:
        return attempts
    mine = [entry for entry in one.ledger.of_kind("observed") if entry.data.get("attempt") == one.attempt.number]
    before = [int(entry.data["job"]["restarts"]) for entry in mine if now - entry.time >= HOUR_S]
    return attempts + max(0, truths[one.job.job_id].restarts - (before[-1] if before else 0))


def _suspects(supervised: Sequence[Supervised], *, now: float) -> tuple[str, ...]:
    """Which node of several a job died on, nobody knows: only jobs of one node speak against theirs."""
    died: dict[str, set[str]] = defaultdict(set)
    for one in supervised:
        for entry, data in _troubles(one.ledger):
            node = str(_part(data, "job").get("nodes", ""))
            if _word(data) in NODE_FAULTS and now - entry.time < SUSPECT_FOR_S and node and not set(node) & set("[,"):
                died[node].add(one.name)
    return tuple(sorted(node for node, names in died.items() if len(names) >= SUSPECT_AFTER))
