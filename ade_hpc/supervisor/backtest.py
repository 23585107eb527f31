# SPDX-License-Identifier: Apache-2.0
"""Backtest: what would have been done in the past under these preferences? Pure, but for what ``recorded.py`` reads.

Every past tick is thought through again by the very functions that the tick uses: diagnose, rules, guard. That is
exact up to the first action that differs from what happened: from there on the recorded curves are those of a run that
would not have been, and everything is marked as counterfactual.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ade_hpc.model import Decision, Finding, Health, Proposal
from ade_hpc.policy.diagnose import diagnose
from ade_hpc.policy.guard import judge
from ade_hpc.spec.preferences import Preferences
from ade_hpc.spec.site import Site
from ade_hpc.supervisor.record import decision_json, finding_json
from ade_hpc.supervisor.recorded import Moment
from ade_hpc.supervisor.think import think
from ade_hpc.supervisor.wishes import load_proposal, unless_rejected

SCHEMA = 1


class Source(Protocol):
    """Where past ticks come from: ``Recorded`` or ``Simulated``."""

    @property
    def name(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    def moments(self, preferences: Preferences) -> Iterable[Moment]: ...


@dataclass(frozen=True)
class Step:
    """One tick, thought through again.

    happened: the decision that the ledger has. differs: another thing would have been *done* than was done.
    counterfactual: an earlier step differs, so this one stands on curves that would not have been.
    exact: all that the tick saw is known. asked: why a model would have been asked, whose answer nobody knows.
    """

    time: float
    attempt: int
    health: Health
    findings: tuple[Finding, ...]
    decision: Decision | None
    happened: Mapping[str, Any] | None
    differs: bool
    counterfactual: bool
    exact: bool
    asked: str = ""


@dataclass(frozen=True)
class Replay:
    """A past under one preferences.md.

    same_wishes: how many ticks were made under this very file. tags, keys: all that were logged, and all that the
    config held. notes: what of the file nothing in this past can hold to, a sentence each.
    """

    preferences: str
    sha256: str
    steps: tuple[Step, ...]
    same_wishes: int
    tags: frozenset[str]
    keys: frozenset[str]
    notes: tuple[str, ...] = ()

    @property
    def first_difference(self) -> Step | None:
        return next((step for step in self.steps if step.differs), None)


def replay(source: Source, preferences: Preferences, site: Site) -> Replay:
    """Think every tick of ``source`` through again. Raises StoreError where its ledger can't be replayed."""
    steps: list[Step] = []
    tags: set[str] = set()
    keys: set[str] = set()
    same = 0
    parted = False
    for moment in source.moments(preferences):
        tags.update(moment.snapshot.curves.series)
        keys.update(moment.snapshot.config)
        step = _step(moment, preferences, site, parted=parted)
        parted = parted or step.differs
        same += moment.preferences_sha256 == preferences.sha256
        steps.append(step)
    return Replay(preferences.file, preferences.sha256, tuple(steps), same, frozenset(tags), frozenset(keys))


def _step(moment: Moment, preferences: Preferences, site: Site, *, parted: bool) -> Step:
    snapshot, health = moment.snapshot, moment.health
    _, findings = diagnose(snapshot, preferences)  # the verdict on the process is on record: it can't be asked again
    thought = think(snapshot, health, findings, preferences, site, moment.before)
    decision, asked = thought.decision, ""
    if thought.asked is not None:
        decision = _answered(moment, findings, preferences, site)
        asked = "" if moment.answers else thought.asked.why
    return Step(
        time=snapshot.now,
        attempt=snapshot.attempt,
        health=health,
        findings=findings,
        decision=decision,
        happened=moment.happened,
        differs=not parted and effect(decision_json(decision) if decision else None) != effect(moment.happened),
        counterfactual=parted,
        exact=moment.exact,
        asked=asked,
    )


def _answered(moment: Moment, findings: Sequence[Finding], preferences: Preferences, site: Site) -> Decision | None:
    """What the model said then, before the guard of now; the last word counts, as it did then."""
    proposals = [proposal for one in moment.answers if (proposal := _proposal(one)) is not None]
    if not proposals:
        return None
    decision = judge(proposals[-1], moment.snapshot, moment.health, findings, preferences, site)
    return unless_rejected(moment.before, moment.snapshot.attempt, decision)


def _proposal(decision: Mapping[str, Any]) -> Proposal | None:
    kept = {key: value for key, value in decision.items() if key not in ("outcome", "refusals")}
    return load_proposal(kept)


def effect(decision: Mapping[str, Any] | None) -> tuple[object, ...] | None:
    """What a decision does to the world; None where it only says something."""
    if decision is None or decision["outcome"] != "allow" or decision["action"] == "ask":
        return None
    changes = tuple((one["key"], one["old"], one["new"]) for one in decision["changes"])
    resources = tuple(sorted((decision.get("resources") or {}).items()))
    return (decision["action"], changes, decision["resume"], resources, tuple(decision.get("exclude_nodes") or ()))


def as_json(source: Source, replays: Sequence[Replay]) -> dict[str, Any]:
    """The answer of ``ade-hpc backtest --json``; see docs/backtest.md."""
    return {
        "schema": SCHEMA,
        "name": source.name,
        "notes": list(source.notes),
        "replays": [_replay_json(one) for one in replays],
    }


def _replay_json(one: Replay) -> dict[str, Any]:
    first = one.first_difference
    return {
        "preferences": one.preferences,
        "sha256": one.sha256,
        "ticks": len(one.steps),
        "ticks_under_these_preferences": one.same_wishes,
        "first_difference": first.time if first else None,
        "notes": list(one.notes),
        "steps": [_step_json(step) for step in one.steps],
    }


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "time": step.time,
        "attempt": step.attempt,
        "health": asdict(step.health),
        "findings": [finding_json(finding) for finding in step.findings],
        "decision": decision_json(step.decision) if step.decision else None,
        "happened": step.happened,
        "differs": step.differs,
        "counterfactual": step.counterfactual,
        "exact": step.exact,
        "asked": step.asked,
    }
