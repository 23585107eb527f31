# SPDX-License-Identifier: Apache-2.0
"""What will never happen, though every field of preferences.md is right: warnings for `check` and `backtest`. Pure.

A rule that waits for a tag that nobody logs is silent, and so is a supervisor that has nothing to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import get_args

from ade_hpc.errors import Problem
from ade_hpc.model import Resume
from ade_hpc.spec.document import Document, Place
from ade_hpc.spec.preference_fields import PreferencesFile
from ade_hpc.spec.rules import Condition, Rule
from ade_hpc.spec.schema import nearest

# No rule is asked about a job that is in these: nothing is decided on what is unknown or has not begun, and what a
# person has (or may have) ended stays ended.
NEVER_JUDGED = frozenset({"pending", "unknown", "cancelled", "dropped", "superseded", "fenced"})
TAGS_NAMED = 12


def never_fires(
    preferences: PreferencesFile,
    document: Document,
    *,
    tags: Collection[str] = (),
    keys: Collection[str] | None = None,
    resumes: Collection[str] = get_args(Resume),
) -> Iterator[Problem]:
    """A warning, with its line, for everything that can't take effect.

    tags: all that the experiment's past runs have logged; empty where there were none yet. keys: all of their configs;
    None where that is not asked. resumes: from what experiment.yaml lets a new attempt resume.
    """
    if not document.data:
        yield document.problem((), "no yaml block says anything, so every run is only watched", warning=True)
    if tags:
        yield from _unknown_tags(preferences, document, tags)
    if keys is not None:
        yield from _unknown_keys(preferences, document, keys)
    yield from _contradictions(preferences, document)
    for index, rule in enumerate(preferences.rules):
        place: Place = ("rules", index)
        for found, condition in _conditions(rule.when, (*place, "when")):
            yield from _impossible(condition, found, preferences, document)
        yield from _idle(rule, place, preferences, document, resumes=resumes)
        yield from _behind(rule, place, preferences.rules[:index], document)


def _warn(document: Document, place: Place, message: str) -> Problem:
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
    return document.problem(place, f"`{name}`: {message}", warning=True)


# --- tags -----------------------------------------------------------------------------------------------------------


def _unknown_tags(preferences: PreferencesFile, document: Document, tags: Collection[str]) -> Iterator[Problem]:
    for place, tag, so in _named_tags(preferences):
        if tag not in tags:
            known = nearest(tag, sorted(tags)[:TAGS_NAMED] if len(tags) > TAGS_NAMED else sorted(tags))
            yield _warn(document, place, f"no event file of a past run has the tag {tag}: {so}; {known}")


def _unknown_keys(preferences: PreferencesFile, document: Document, keys: Collection[str]) -> Iterator[Problem]:
    for key in preferences.tunables:
        if key not in keys:
            known = f"; {nearest(key, sorted(keys))}" if keys else ""
            yield _warn(document, ("tunables", key), f"no value of it is known, so every change is refused{known}")


def _named_tags(preferences: PreferencesFile) -> Iterator[tuple[Place, str, str]]:
    """Every tag that the file names: where, which, and what comes of it if nobody logs it."""
    if preferences.objective is not None:
        yield ("objective", "tag"), preferences.objective.tag, "nothing can be judged by it"
    for index, metric in enumerate(preferences.metrics):
        yield ("metrics", index, "tag"), metric.tag, "it can't be watched"
    for key, tunable in preferences.tunables.items():
        if tunable.tag is not None:
            yield ("tunables", key, "tag"), tunable.tag, "a change can't be proved by it"
    for index, rule in enumerate(preferences.rules):
        for place, condition in _conditions(rule.when, ("rules", index, "when")):
            for name in ("metric", "change", "tag"):
                if (tag := getattr(condition, name)) is not None:
                    yield (*place, name), tag, "this never holds"


def _conditions(condition: Condition, place: Place) -> Iterator[tuple[Place, Condition]]:
    """The tree, inner conditions after their outer ones. A short form's place is the next that the file holds."""
    yield place, condition
    for verb in ("all", "any"):
        for index, inner in enumerate(getattr(condition, verb) or ()):
            yield from _conditions(inner, (*place, verb, index))


# --- numbers --------------------------------------------------------------------------------------------------------


def _contradictions(preferences: PreferencesFile, document: Document) -> Iterator[Problem]:
    """Metrics that want something else of the objective's tag than the objective does."""
    wanted = preferences.objective
    for index, metric in enumerate(preferences.metrics):
        if wanted is None or metric.tag != wanted.tag:
            continue
        place: Place = ("metrics", index)
        if metric.goal != wanted.goal:
            yield _warn(document, (*place, "goal"), f"the objective wants {metric.tag} at its {wanted.goal}")
        elif metric.threshold is not None and wanted.target is not None:
            beyond = metric.threshold - wanted.target
            if beyond > 0 if wanted.goal == "max" else beyond < 0:
                message = f"{metric.threshold:g} is better than the objective's target, {wanted.target:g}: keep one"
                yield _warn(document, (*place, "threshold"), message)


def _impossible(
    condition: Condition, place: Place, preferences: PreferencesFile, document: Document
) -> Iterator[Problem]:
    if condition.health in NEVER_JUDGED:
        yield _warn(document, (*place, "health"), f"nothing is decided on a job that is {condition.health}")
    above, below = condition.above, condition.below
    if above is not None and below is not None and above >= below:
        yield _warn(document, place, f"no number is above {above:g} and below {below:g}: this never holds")
    wanted = preferences.objective
    if wanted is not None and wanted.target is not None and condition.metric == wanted.tag:
        reached = above is not None and above >= wanted.target if wanted.goal == "max" else (
            below is not None and below <= wanted.target
        )  # fmt: skip
        if reached:
            side = "above" if wanted.goal == "max" else "below"
            message = f"this holds only where {wanted.tag} has reached its target, {wanted.target:g}"
            yield _warn(document, (*place, side), message)
    yield from _disjoint(condition, place, document)


def _disjoint(condition: Condition, place: Place, document: Document) -> Iterator[Problem]:
    """``all`` of: above 0.5 and, of the same tag, below 0.3."""
    bounds: dict[str, tuple[float, float]] = {}
    for index, inner in enumerate(condition.all or ()):
        if inner.metric is None:
            continue
        low, high = bounds.get(inner.metric, (float("-inf"), float("inf")))
        one = inner.above if inner.above is not None else low
        other = inner.below if inner.below is not None else high
        bounds[inner.metric] = max(low, one), min(high, other)
        if max(low, one) >= min(high, other) and not (inner.above is not None and inner.below is not None):
            message = f"no {inner.metric} is above {max(low, one):g} and below {min(high, other):g}: this never holds"
            yield _warn(document, (*place, "all", index), message)


# --- rules ----------------------------------------------------------------------------------------------------------


def _idle(
    rule: Rule, place: Place, preferences: PreferencesFile, document: Document, *, resumes: Collection[str]
) -> Iterator[Problem]:
    """A rule that speaks, and nothing comes of it."""
    do = rule.do
    if do.stop or do.ask:
        return
    if preferences.limits.max_attempts == 1:
        message = "`limits.max_attempts` is 1 and counts the first submission: no new attempt can ever be made"
        yield _warn(document, (*place, "do"), message)
    if "resume" in do.model_fields_set and do.resume not in resumes:
        missing = "checkpoint: weights" if len(resumes) > 1 else "checkpoint"
        message = f"experiment.yaml has no `{missing}:`, so there is nothing to resume from ({do.resume})"
        yield _warn(document, (*place, "do", "resume"), message)
    for key, factor in do.scale.items():
        if factor == 1:
            yield _warn(document, (*place, "do", "scale", key), "a factor of 1 changes nothing")
    for key, summand in do.add.items():
        if summand == 0:
            yield _warn(document, (*place, "do", "add", key), "adding 0 changes nothing")


def _behind(rule: Rule, place: Place, earlier: tuple[Rule, ...], document: Document) -> Iterator[Problem]:
    """The first rule that holds speaks: one whose every case an earlier one has never does, unless that makes way."""
    for other in earlier:
        if other.max_times is None and _cases(rule.when) <= _cases(other.when):
            message = f"the rule {other.name}, further up, holds whenever this one does, and the first one speaks"
            yield _warn(document, (*place, "when"), message)
            return


def _cases(condition: Condition) -> frozenset[str]:
    """What any of is enough, each as text."""
    if condition.any is not None:
        return frozenset().union(*(_cases(inner) for inner in condition.any))
    return frozenset({condition.model_dump_json()})
