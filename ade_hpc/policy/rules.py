# SPDX-License-Identifier: Apache-2.0
"""Rules: what the researcher wants done when something is found. Pure; the first rule that holds speaks.

Where no rule speaks, trouble with the process has a built-in answer (answers.py), and the agent may be asked about the
rest (question.py): whatever proposes, the guard decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ade_hpc.metrics.series import Series
from ade_hpc.model import Change, Finding, Health, Proposal, Scalar
from ade_hpc.policy.answers import answer
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.preferences import Preferences
from ade_hpc.spec.rules import Condition, Do, Rule

# What a person has to do in their framework, because resuming restored the old value there. Tried with torch 2.13,
# Lightning 2.6 (whose on_fit_start comes before the optimizer is restored) and Transformers 5.24.
ADVICE = (
    "the trainer took the old value from the checkpoint; re-apply the config after loading: in torch set "
    "param_groups[...]['lr'], ['initial_lr'] and the scheduler's base_lrs after load_state_dict, in Lightning do "
    "so in on_train_start, in Hugging Face in a callback's on_train_begin; or resume with `weights` alone"
)


def propose(
    snapshot: Snapshot, health: Health, findings: Sequence[Finding], preferences: Preferences
) -> Proposal | None:
    """What should be done now, or None. Nothing is proposed on what is unknown, or for what a person has ended."""
    model = preferences.agent is not None and preferences.agent.ask != "never"
    if (health.verdict == "pending" or health.cause == "dropped") and snapshot.superseded_by is None:
        return answer(snapshot, health, findings, model=model)
    if not may_be_judged(snapshot, health):
        return None
    ineffective = next((finding for finding in findings if finding.kind == "change-ineffective"), None)
    if ineffective is not None:
        seen = ineffective.evidence
        reason = f"{seen['key']} was committed as {seen['committed']} but {seen['logged']} was logged: {ADVICE}"
        return Proposal("ask", "proof", reason, finding=ineffective)
    open_rules = [rule for rule in preferences.rules if not _followed(rule.do, snapshot)]
    holding = [rule for rule in open_rules if holds(rule.when, snapshot, health, findings)]
    if holding:  # one that has acted often enough makes way; where it has nobody to make way for, the guard says so
        rule = next((rule for rule in holding if not _spent(rule, snapshot)), holding[0])
        return _from_rule(rule, snapshot, health, findings)
    return answer(snapshot, health, findings, model=model)


def _spent(rule: Rule, snapshot: Snapshot) -> bool:
    return rule.max_times is not None and snapshot.past.rule_uses.get(rule.name, 0) >= rule.max_times


def _followed(do: Do, snapshot: Snapshot) -> bool:
    """It wants nothing but resources that the attempt has already, so it has nothing more to say."""
    return bool(do.resources) and not (do.tunables or do.exclude_node) and snapshot.has(do.resources)


def may_be_judged(snapshot: Snapshot, health: Health) -> bool:
    """Nothing is decided on what is unknown or has not begun, and what a person has (or may have) ended stays ended."""
    cancelled = health.verdict == "ended" and health.cause in ("cancelled", "dropped")
    return snapshot.superseded_by is None and health.verdict not in ("unknown", "pending") and not cancelled


def holds(condition: Condition, snapshot: Snapshot, health: Health, findings: Sequence[Finding]) -> bool:
    """Is the condition true of this snapshot?"""
    if condition.all is not None:
        return all(holds(inner, snapshot, health, findings) for inner in condition.all)
    if condition.any is not None:
        return any(holds(inner, snapshot, health, findings) for inner in condition.any)
    if condition.finding is not None:
        return _matching(condition, findings) is not None
    if condition.health is not None:
        return condition.health in (health.verdict, health.cause)
    number = _number(condition, snapshot)
    above = condition.above is None or number > condition.above
    return math.isfinite(number) and above and (condition.below is None or number < condition.below)


def _matching(condition: Condition, findings: Sequence[Finding]) -> Finding | None:
    """A finding of this kind that calls for an intervention, or any in a tag that the rule names itself."""
    return next(
        (
            finding
            for finding in findings
            if finding.kind == condition.finding
            and (finding.severity == "intervene" if condition.tag is None else finding.tag == condition.tag)
        ),
        None,
    )


def _number(condition: Condition, snapshot: Snapshot) -> float:
    """What a condition on a metric compares: its latest value, or its rise. NaN where there is none yet."""
    series = snapshot.curves.series.get(condition.metric or condition.change or "")
    if series is None or not len(series):
        return math.nan
    return float(series.values[-1]) if condition.over is None else rise(series, condition.over)


def rise(series: Series, over: int) -> float:
    """What the curve has risen by over its last ``over`` steps; NaN as long as it is shorter, or not all finite there.

    The medians of the first and of the last quarter of that span are compared: one point of a noisy curve says little.
    """
    import numpy as np

    age = series.steps[-1] - series.steps
    first, last = series.values[(age <= over) & (age >= 0.75 * over)], series.values[age <= 0.25 * over]
    return float(np.median(last) - np.median(first)) if age[0] >= over and len(first) else math.nan


def _from_rule(rule: Rule, snapshot: Snapshot, health: Health, findings: Sequence[Finding]) -> Proposal:
    cause = _cause(rule.when, findings)
    reason = "; ".join(_facts(rule.when, snapshot, health, findings))
    author = f"rule:{rule.name}"
    if rule.do.stop or rule.do.ask:
        return Proposal("stop" if rule.do.stop else "ask", author, reason, finding=cause)
    changes = _changes(rule.do, snapshot)
    return Proposal(
        action="change" if changes or rule.do.resources else "restart",
        author=author,
        reason=reason,
        changes=changes,
        resume=rule.do.resume,
        finding=cause,
        resources=rule.do.resources,
        exclude_nodes=(snapshot.truth.nodes,) if rule.do.exclude_node and snapshot.truth.nodes else (),
    )


def _cause(condition: Condition, findings: Sequence[Finding]) -> Finding | None:
    """The finding that made the condition true: its onset decides from which checkpoint to resume."""
    if condition.finding is not None:
        return _matching(condition, findings)
    inner = condition.all or condition.any or ()
    return next((found for one in inner if (found := _cause(one, findings)) is not None), None)


def _facts(condition: Condition, snapshot: Snapshot, health: Health, findings: Sequence[Finding]) -> Iterator[str]:
    """What makes the condition true, in words: of ``all`` each, of ``any`` the first."""
    held = [inner for inner in condition.all or condition.any or () if holds(inner, snapshot, health, findings)]
    for inner in held if condition.all is not None else held[:1]:
        yield from _facts(inner, snapshot, health, findings)
    if condition.finding is not None and (found := _matching(condition, findings)) is not None:
        yield _said(found)
    if condition.health is not None:
        yield f"the job is {health.verdict}{f' ({health.cause})' if health.cause else ''}"
    if condition.metric is not None:
        yield f"{condition.metric} is {_number(condition, snapshot):.4g}"
    if condition.change is not None:
        yield f"{condition.change} has changed by {_number(condition, snapshot):.4g} over {condition.over} steps"


def _said(found: Finding) -> str:
    evidence = ", ".join(f"{key} {_short(value)}" for key, value in found.evidence.items())
    return f"{found.kind} in {found.tag} from step {found.first_step}{f' ({evidence})' if evidence else ''}"


def _short(value: Scalar) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _changes(do: Do, snapshot: Snapshot) -> tuple[Change, ...]:
    """New values for the tunables that the rule names. What is missing or no number is the guard's to refuse."""
    changes = []
    for key in do.tunables:
        old = snapshot.config.get(key)
        changes.append(Change(key, old, _new_value(do, key, old)))
    return tuple(changes)


def _new_value(do: Do, key: str, old: Scalar) -> Scalar:
    if key in do.set:
        return do.set[key]
    if isinstance(old, bool) or not isinstance(old, int | float):
        return None
    exact = old * do.scale[key] if key in do.scale else old + do.add[key]
    # 0.3 * 0.1 is 0.030000000000000002: twelve digits are what a person would have written
    rounded = float(f"{exact:.12g}")
    return round(rounded) if isinstance(old, int) else rounded
