# SPDX-License-Identifier: Apache-2.0
"""The state of every experiment, for `ade-hpc status`. Light on purpose: no NumPy, no git, no submitit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ade_hpc.errors import AdeError
from ade_hpc.launch.plan import open_plans
from ade_hpc.metrics.series import Curves
from ade_hpc.metrics.text import printable
from ade_hpc.model import Health
from ade_hpc.policy.health import judge_health
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.report.schedule import Heart
from ade_hpc.report.waiting import spending, waits_for
from ade_hpc.scheduler.base import Observer
from ade_hpc.scheduler.states import explain_reason
from ade_hpc.spec.site import Price
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.supervisor.experiment import Supervised, load_supervised
from ade_hpc.supervisor.observe import look

SCHEMA = 1


@dataclass(frozen=True)
class Said:
    """One source, what it said of the job, and how old that is; None: as of now."""

    source: str
    said: str
    age_s: float | None


@dataclass(frozen=True)
class StatusRow:
    """One experiment. Times are POSIX seconds; ``problem`` says what could not be seen.

    domain: whose fault an end is: workload, infrastructure or unknown. sources: who said what of the job.
    """

    name: str
    health: str = "unknown"
    cause: str = ""
    detail: str = ""
    attempt: int | None = None
    job_id: str = ""
    state: str = ""
    reason: str = ""
    nodes: str = ""
    starts_at: float | None = None
    heartbeat_age_s: float | None = None
    findings: tuple[str, ...] = ()
    last_tick_age_s: float | None = None
    output: str = ""
    problem: str = ""
    paused_by: str = ""
    waits_for: str = ""
    spending: str = ""
    domain: str = "unknown"
    sources: tuple[Said, ...] = ()


def gather(
    folders: Sequence[ExperimentDir],
    open_scheduler: Callable[[str], Observer],
    holds: tuple[Path, ...] = (),
    prices: Mapping[str, Price] | None = None,
) -> list[StatusRow]:
    """One row for each experiment, in the order given; one look at each scheduler for all of them."""
    loaded: list[Supervised] = []
    rows: dict[str, StatusRow] = {}
    for folder in folders:
        try:
            loaded.append(load_supervised(folder, holds))
        except AdeError as error:
            rows[folder.name] = StatusRow(folder.name, problem=str(error))
    seen = look(loaded, open_scheduler, second_look=False)
    for one in loaded:
        try:
            rows[one.name] = _row(one, seen.snapshot(one, _no_curves), seen.now, prices or {})
        except AdeError as error:
            rows[one.name] = StatusRow(one.name, problem=str(error))
    return [rows[folder.name] for folder in folders]


def _no_curves(one: Supervised, attempt: AttemptDir) -> Curves:
    """`status` tells what the last tick found in the curves; it does not read them itself."""
    return Curves()


def _row(one: Supervised, snapshot: Snapshot | None, now: float, prices: Mapping[str, Price]) -> StatusRow:
    observed = one.ledger.of_kind("observed")[-1:]
    if snapshot is None:
        return StatusRow(one.name, detail=_no_job_yet(one), paused_by=one.paused_by())
    health = judge_health(snapshot)
    truth = snapshot.truth
    found = observed[0].data.get("findings", []) if observed else []
    beat = max((beat.written_at for beat in snapshot.beats), default=None)
    attempt = one.folder.attempt(snapshot.attempt)
    return StatusRow(
        name=one.name,
        health=health.verdict,
        cause=health.cause,
        detail=health.detail,
        attempt=snapshot.attempt,
        job_id=one.job.job_id if one.job else "",
        state=truth.state,
        reason=explain_reason(truth.reason)[1] if truth.phase == "pending" and truth.reason else "",
        nodes=truth.nodes,
        starts_at=truth.start if truth.phase == "pending" else None,
        heartbeat_age_s=now - beat if beat is not None and truth.phase == "running" else None,
        findings=tuple(f"{one['kind']} in {one['tag']}" for one in found if isinstance(one, dict)),
        last_tick_age_s=now - observed[0].time if observed else None,
        output=str(attempt.logs),
        problem="; ".join(snapshot.degraded),
        paused_by=snapshot.paused_by,
        waits_for=waits_for(one.name, one.ledger, snapshot.attempt),
        spending=spending(one.ledger, prices, now=now),
        domain=health.domain,
        sources=said(health, now),
    )


def _no_job_yet(one: Supervised) -> str:
    if begun := open_plans(one.ledger):
        return f"attempt {begun[-1].plan.attempt} is being submitted: `ade-hpc tick {one.name}` finishes that"
    refused = one.ledger.of_kind("refused")[-1:]
    return f"not submitted: {refused[0].data.get('message')}" if refused else "not submitted yet"


def said(health: Health, now: float) -> tuple[Said, ...]:
    """Clocks of two machines differ: what seems to come from the future is new."""
    return tuple(
        Said(one.source, printable(one.said, 300), None if one.at is None else max(0.0, now - one.at))
        for one in health.witnesses
    )


def as_json(rows: Sequence[StatusRow], heart: Heart) -> dict[str, Any]:
    return {"schema": SCHEMA, "tick": asdict(heart), "experiments": [asdict(row) for row in rows]}


def exit_code(rows: Sequence[StatusRow], heart: Heart) -> int:
    """3 where something could not be seen, or a scheduled tick does not come: blindness must not look like health."""
    return 3 if heart.problem or any(row.problem for row in rows) else 0
