# SPDX-License-Identifier: Apache-2.0
"""What happened to one experiment and why, gathered for `ade-hpc report`. Reads files and git; asks no scheduler.

Every number comes from the ledger (docs/architecture.md, "On disk") or, for the objective, from the event files.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ade_hpc.agent.budget import Usage, cost, spent
from ade_hpc.errors import AdeError, RepoError
from ade_hpc.launch.freeze import config_path
from ade_hpc.launch.plan import Plan
from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.objective import Objective, guess
from ade_hpc.metrics.panels import Run
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Finding, Health
from ade_hpc.repo.branch import open_project, read_file
from ade_hpc.report.history import AttemptRow, Event, attempts, story, wanted
from ade_hpc.spec.preferences import load_preferences
from ade_hpc.spec.request import HOUR_S
from ade_hpc.spec.site import Site
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import Entry, Ledger
from ade_hpc.store.records import load_request
from ade_hpc.supervisor.experiment import Supervised, load_supervised
from ade_hpc.supervisor.needs import needs as open_needs

QUIET_S = 2 * 3600.0  # a live experiment that no tick has looked at for so long may have lost its schedule


@dataclass(frozen=True)
class GpuHours:
    """gpus: the most that an attempt had. used: by all attempts, as the last tick knew it. saved_at_most: None without
    a bound.

    ended_early: the attempts that were replaced or stopped while they ran, each with (its time limit, its run time) in
    GPU-hours; the bound is the sum of the differences.
    """

    gpus: int
    used: float
    saved_at_most: float | None
    ended_early: Mapping[int, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Goal:
    """What the run is for, and how far it came. best: (value, step, attempt), None before the first finite value."""

    tag: str
    direction: str
    target: float | None
    best: tuple[float, int, int] | None

    @property
    def reached(self) -> bool:
        if self.best is None or self.target is None:
            return False
        return self.best[0] >= self.target if self.direction == "max" else self.best[0] <= self.target


@dataclass(frozen=True, eq=False)
class Night:
    """One experiment as its page section tells it.

    needs: what a person must do, a sentence each. would: what only mode observe kept from being done.
    findings: those that call for a change. diffs: by attempt, unified, or the sentence why there is none.
    money: None where a price is missing or nothing was asked.
    """

    name: str
    health: Health = field(default_factory=lambda: Health("unknown"))
    seen_at: float | None = None
    paused_by: str = ""
    attempts: tuple[AttemptRow, ...] = ()
    needs: tuple[str, ...] = ()
    would: str = ""
    events: tuple[Event, ...] = ()
    goal: Goal | None = None
    runs: tuple[Run, ...] = ()
    findings: tuple[Finding, ...] = ()
    diffs: Mapping[int, str] = field(default_factory=dict)
    gpu: GpuHours | None = None
    usage: Usage = field(default_factory=Usage)
    money: float | None = None

    @property
    def made(self) -> tuple[AttemptRow, ...]:
        """The attempts that count: what was refused has never run."""
        return tuple(row for row in self.attempts if row.outcome != "refused")


def gather(folder: ExperimentDir, site: Site, *, now: float) -> Night:
    """Everything about one experiment; what can't be read becomes something that needs a person."""
    try:
        return _gather(folder, site, now)
    except (AdeError, OSError) as error:
        return Night(folder.name, needs=(f"It can't be read: {error}",))
    except Exception as error:  # noqa: BLE001 - one experiment must not keep the others from being told
        said = f"{type(error).__name__}: {error}"
        return Night(folder.name, needs=(f"It can't be told ({said}): did another version write its ledger?",))


def _gather(folder: ExperimentDir, site: Site, now: float) -> Night:
    one = load_supervised(folder)
    observed = one.ledger.of_kind("observed")
    last = observed[-1] if observed else None
    health = _health(last)
    objective, problem = _objective(one)
    rows = tuple(attempts(folder))
    runs = tuple(_run(folder, entry) for entry in one.ledger.of_kind("intent"))
    used = spent(one.ledger)
    return Night(
        name=one.name,
        health=health,
        seen_at=last.time if last else None,
        paused_by=str(last.data.get("paused_by", "")) if last else "",
        attempts=rows,
        needs=(*_needs(one, last, health, now), *([problem] if problem else [])),
        would=_would(last),
        events=tuple(_events(folder, one.ledger)),
        goal=_goal(objective or guess(_newest(runs)), runs, rows),
        runs=runs,
        findings=tuple(_interventions(observed)),
        diffs={plan.attempt: _diff(one, plan) for plan in _plans(one.ledger) if plan.changes},
        gpu=_gpu_hours(one),
        usage=sum(used.values(), Usage()),
        money=cost(used, site.llm.prices) if used else None,
    )


def _plans(ledger: Ledger) -> list[Plan]:
    return [Plan.from_json(entry.data) for entry in ledger.of_kind("intent")]


def _health(last: Entry | None) -> Health:
    said = last.data.get("health") if last else None
    return Health(said["verdict"], said["cause"], said["detail"]) if said else Health("pending", "", "no tick yet")


# --- curves ---------------------------------------------------------------------------------------------------------


def _objective(one: Supervised) -> tuple[Objective | None, str]:
    """What the preferences of today say it is for, and what is wrong with them."""
    path = one.experiment.preferences
    if path is None:
        return None, ""
    try:
        return load_preferences(path).objective, ""
    except AdeError as error:
        return None, f"Its preferences can't be read, so nothing is decided: {str(error).splitlines()[0]}"


def _run(folder: ExperimentDir, entry: Entry) -> Run:
    plan = Plan.from_json(entry.data)
    changes = ", ".join(f"{change.key} {change.old} → {change.new}" for change in plan.changes)
    label = f"attempt {plan.attempt}{f': {changes}' if changes else ''}"
    curves = collect(folder.attempt(plan.attempt).starts())
    return Run(label, curves, plan.parent.step if plan.parent else None)


def _newest(runs: Sequence[Run]) -> Curves:
    return next((run.curves for run in reversed(runs) if run.curves.series), Curves())


def _goal(wanted: Objective | None, runs: Sequence[Run], rows: Sequence[AttemptRow]) -> Goal | None:
    if wanted is None:
        return None
    found = [
        (best, row.attempt)
        for run, row in zip(runs, rows, strict=True)
        if (best := _best(run.curves.series.get(wanted.tag), wanted.goal)) is not None
    ]
    sign = 1 if wanted.goal == "max" else -1
    top = max(found, key=lambda one: sign * one[0][0], default=None)
    return Goal(wanted.tag, wanted.goal, wanted.target, (*top[0], top[1]) if top else None)


def _best(series: Series | None, goal: str) -> tuple[float, int] | None:
    """The best finite value and its step."""
    finite = np.flatnonzero(np.isfinite(series.values)) if series is not None else np.zeros(0, int)
    if series is None or not len(finite):
        return None
    values = series.values[finite]
    at = finite[int(values.argmax() if goal == "max" else values.argmin())]
    return float(series.values[at]), int(series.steps[at])


def _interventions(observed: Sequence[Entry]) -> list[Finding]:
    """Those that the last tick of each attempt saw: what was acted on, and what stands."""
    last = {entry.data["attempt"]: entry.data["findings"] for entry in observed}
    return [
        Finding(one["kind"], one["tag"], one["first_step"], one["last_step"], "intervene")
        for found in last.values()
        for one in found
        if one["severity"] == "intervene"
    ]


# --- what changed ---------------------------------------------------------------------------------------------------


def _diff(one: Supervised, plan: Plan) -> str:
    """The config of the attempt that was replaced against the committed one, from git."""
    submitted = [entry for entry in one.ledger.of_kind("submitted") if entry.data.get("attempt") == plan.attempt]
    if not submitted or plan.source is None:
        return "not committed"
    try:
        project = open_project(one.experiment.root)
        path = config_path(project, one.experiment)
        before, after = (read_file(project, str(sha), path) for sha in (plan.source, submitted[-1].data["commit"]))
    except RepoError as error:
        return f"the commit can't be read: {error}"
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"a/{path}", f"b/{path}", n=2, lineterm="")
    return "\n".join(lines)


def _events(folder: ExperimentDir, ledger: Ledger) -> list[Event]:
    """The story without its repetitions: a tick is told where it saw or decided something new."""
    told, last = [], None
    for entry, event in zip(ledger.entries, story(folder)[0], strict=False):
        if entry.kind in ("trying", "telling", "audience"):
            continue
        if entry.kind == "observed":
            news = _news(entry.data)
            if news == last:
                continue
            last = news
        told.append(event)
    return told


def _news(data: Mapping[str, Any]) -> object:
    health, decision = data["health"], data.get("decision")
    found = [(one["kind"], one["tag"]) for one in data["findings"]]
    decided = (decision["author"], decision["outcome"], wanted(decision)) if decision else None
    return data["attempt"], health["verdict"], health["cause"], found, decided


# --- what it cost ---------------------------------------------------------------------------------------------------


def _gpu_hours(one: Supervised) -> GpuHours | None:
    """None before the first tick. Of an attempt that was ended while it ran, the last tick's numbers count."""
    seen = {entry.data["attempt"]: entry.data for entry in one.ledger.of_kind("observed")}
    if not seen:
        return None
    ended, today = _ended_by_machine(one.ledger), one.experiment.request({})
    asked = {number: load_request(one.folder.attempt(number), today) for number in seen}
    early = {
        number: (asked[number].gpu_hours, asked[number].gpus * data["job"]["elapsed_s"] / HOUR_S)
        for number, data in seen.items()
        if number in ended and data["job"]["phase"] == "running"
    }
    saved = sum(max(limit - ran, 0.0) for limit, ran in early.values())
    used = float(one.ledger.of_kind("observed")[-1].data["past"]["gpu_hours"])
    gpus = max(request.gpus for request in asked.values())
    return GpuHours(gpus, used, saved if math.isfinite(saved) else None, early)


def _ended_by_machine(ledger: Ledger) -> set[int]:
    """The attempts that a rule or a model had replaced or stopped."""
    author = {plan.attempt: plan.author for plan in _plans(ledger)}
    ended = [(entry.data["old"], author.get(entry.data["attempt"], "")) for entry in ledger.of_kind("replaced")]
    ended += [(entry.data["attempt"], entry.data["author"]) for entry in ledger.of_kind("stop")]
    return {number for number, by in ended if by.startswith(("rule:", "model:"))}


# --- what needs a person --------------------------------------------------------------------------------------------


def _needs(one: Supervised, last: Entry | None, health: Health, now: float) -> list[str]:
    needs = [f"The ledger is damaged: {note}" for note in one.ledger.notes]
    if last is None:
        return [*needs, "No tick has looked at it yet: run `ade-hpc tick`, or `ade-hpc schedule install`."]
    needs += [need.text for need in open_needs(one.name, one.ledger, last, health)]
    needs += [f"A source did not answer: {problem}" for problem in last.data["degraded"]]
    if health.verdict != "ended" and now - last.time > QUIET_S:
        needs.append(f"No tick has looked at it for {(now - last.time) / 3600:.0f} hours: is the schedule still there?")
    return needs


def _would(last: Entry | None) -> str:
    decision = last.data.get("decision") if last else None
    if not decision or decision["outcome"] != "observe":
        return ""
    what = wanted(decision).replace(" -> ", " → ")
    return f"{what or decision['action']} ({decision['author']}), because {decision['reason']}"
