# SPDX-License-Identifier: Apache-2.0
"""The guard: pure, total, and the only way to an effect (invariant 3).

Whoever proposes, rule, model or person, only keys under `tunables`, inside their ranges, only so many attempts and
GPU-hours, only the known actions. A refusal names the bound that stood in the way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from ade_hpc.metrics.text import printable
from ade_hpc.model import Change, Decision, Finding, Health, Outcome, Proposal, Scalar
from ade_hpc.policy.breaker import tripped
from ade_hpc.policy.snapshot import Past, Snapshot
from ade_hpc.spec.preference_fields import Limits, Tunable
from ade_hpc.spec.preferences import Preferences
from ade_hpc.spec.secrets import secret_value
from ade_hpc.spec.site import Site

# none: nobody was asked. approved: a person said yes to this very proposal, so the mode no longer matters.
# own: a person's own wish, which may also come at once and turn back what was done.
Consent = Literal["none", "approved", "own"]

NOTE_LIMIT = 600
NOTES_A_QUESTION = 2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 3600.0, 24 * 3600.0  # after submissions that were refused


def judge(
    proposal: Proposal,
    snapshot: Snapshot,
    health: Health,
    findings: Sequence[Finding],
    preferences: Preferences,
    site: Site,
    *,
    consent: Consent = "none",
) -> Decision:
    """Let it through, refuse it with every bound that it breaks, or only say it (modes observe and propose)."""
    refusals = list(_refusals(proposal, snapshot, health, findings, preferences, site))
    if consent != "own":
        refusals += _patience(proposal, snapshot, health, findings, preferences)
    if refusals:
        return Decision("refuse", proposal, tuple(refusals))
    if consent != "none":
        return Decision("allow", proposal)
    outcomes: dict[str, Outcome] = {"observe": "observe", "propose": "propose", "auto": "allow"}
    return Decision(outcomes[preferences.limits.mode], proposal)


def judge_note(text: str, taken: int) -> str | None:
    """Why a model may not write this into memory.md, or None. taken: how many of its notes stand there already."""
    if taken >= NOTES_A_QUESTION:
        return f"{taken} notes are taken already"
    if not text.strip():
        return "an empty note says nothing"
    if len(text) > NOTE_LIMIT:
        return f"{len(text)} characters are more than {NOTE_LIMIT}"
    return "it holds what looks like a key" if secret_value(text) else None


def _refusals(
    proposal: Proposal,
    snapshot: Snapshot,
    health: Health,
    findings: Sequence[Finding],
    preferences: Preferences,
    site: Site,
) -> Iterator[str]:
    if proposal.action == "ask":
        return
    if snapshot.paused_by:
        yield f"paused by {snapshot.paused_by}"
    if health.verdict == "unknown":
        yield "the state of the job is unknown"
    if snapshot.superseded_by is not None:
        yield f"the attempt was ended by {snapshot.superseded_by}"
    if proposal.action == "stop":
        return
    yield from _attempt_bounds(proposal, snapshot, preferences)
    still_alive = snapshot.truth.phase in ("pending", "running")
    yield from site_caps(snapshot.past, site, more=0 if still_alive else 1)
    for change in proposal.changes:
        yield from _change_bounds(change, preferences.tunables.get(change.key), snapshot)
    yield from _request_bounds(proposal, snapshot, preferences.limits)
    if proposal.resume == "weights" and not snapshot.takes_weights:  # must be refused, not half done
        yield "resume: weights needs `checkpoint: weights:` in experiment.yaml, the trainer's arguments for it"


def _patience(
    proposal: Proposal, snapshot: Snapshot, health: Health, findings: Sequence[Finding], preferences: Preferences
) -> Iterator[str]:
    """What keeps a machine from trying again and again; a person's own wish need not wait for it."""
    if proposal.action in ("ask", "stop"):
        return
    if any(finding.kind == "change-ineffective" for finding in findings):
        yield "the last change did not take effect: a person must look first"
    limits, past = preferences.limits, snapshot.past
    waited = math.inf if past.last_change_at is None else snapshot.now - past.last_change_at
    if proposal.changes and waited < limits.cooldown_s:
        yield f"cooldown: the last change was {waited:.0f} s ago, {limits.cooldown_s:.0f} s must pass"
    storm = "" if proposal.changes else tripped(snapshot, health, snapshot.request.plus(proposal.resources))
    if storm:
        yield storm
    yield from _backoff(past, snapshot)
    for change in proposal.changes:
        if _flips(change, past):
            yield f"{change.key} was turned back once already (flip-flop): a person must say where it should be"


def _backoff(past: Past, snapshot: Snapshot) -> Iterator[str]:
    """One refusal may have been about the moment, or about nodes that we kept out; more of them are about the request.
    Each try counts into the site's cap of submissions, so they come an hour, two hours, ... and a day apart."""
    if past.refusals < 2 or past.refused_at is None:
        return
    pause = min(FIRST_PAUSE_S * 2 ** (past.refusals - 2), LONGEST_PAUSE_S)
    if snapshot.now - past.refused_at < pause:
        yield (
            f"its last {past.refusals} submissions were refused: mend what `ade-hpc history {snapshot.experiment}` "
            f"says; the next try comes {pause / 3600:.0f} h after the last one"
        )


def _flips(change: Change, past: Past) -> bool:
    """Down, up, and now down again? For what has no order: the same step that was undone before?"""
    earlier = [one for one in past.changes if one.key == change.key]
    if any((one.old, one.new) == (change.old, change.new) for one in earlier[:-1]):
        return True
    turns = [_direction(one) for one in (*earlier[-2:], change)]
    return len(turns) == 3 and turns[0] != 0 and turns == [turns[0], -turns[0], turns[0]]


def _direction(change: Change) -> int:
    old, new = change.old, change.new
    if isinstance(old, str | bool | None) or isinstance(new, str | bool | None):
        return 0
    return (new > old) - (new < old)


def site_caps(past: Past, site: Site, *, more: int) -> Iterator[str]:
    """The caps of the site file over all experiments of the user. ``more``: how many live attempts would be added."""
    if past.live_attempts + more > site.max_live_attempts:
        yield f"{past.live_attempts} attempts are alive; the site allows {site.max_live_attempts}"
    if past.recent_submissions >= site.max_submissions_per_hour:
        yield (
            f"{past.recent_submissions} submissions in the last hour; the site allows {site.max_submissions_per_hour}"
        )


def _attempt_bounds(proposal: Proposal, snapshot: Snapshot, preferences: Preferences) -> Iterator[str]:
    limits, past = preferences.limits, snapshot.past
    if past.attempts >= limits.max_attempts:
        yield f"max_attempts: {past.attempts} of {limits.max_attempts} are made"
    if limits.gpu_hours is not None and snapshot.degraded:
        yield "gpu_hours: how much is used is unknown while a source does not answer"
    elif limits.gpu_hours is not None:
        more = snapshot.request.plus(proposal.resources).gpu_hours
        if past.gpu_hours + more > limits.gpu_hours:
            yield (
                f"gpu_hours: {past.gpu_hours:.1f} are used and the next attempt may use {more:.1f} "
                f"of {limits.gpu_hours:g}"
            )
    rule = next((rule for rule in preferences.rules if f"rule:{rule.name}" == proposal.author), None)
    if rule is not None and rule.max_times is not None and past.rule_uses.get(rule.name, 0) >= rule.max_times:
        yield f"max_times: rule {rule.name} has acted {past.rule_uses[rule.name]} times"


def _change_bounds(change: Change, tunable: Tunable | None, snapshot: Snapshot) -> Iterator[str]:
    key, new = change.key, change.new
    if tunable is None:
        yield f"{printable(key, 60)} is not under `tunables`"
        return
    if key not in snapshot.config:
        yield f"{key} is not in the committed config"
        return
    old = snapshot.config[key]
    if change.old != old:
        yield f"{key} is {_shown(old)} in the committed config, not {_shown(change.old)}"
    elif new == old:
        yield f"{key} is {_shown(old)} already"
    elif not _same_type(old, new):
        yield f"{key} must stay {_type_name(old)}, not {_shown(new)}"
    else:
        yield from _range_bounds(key, old, new, tunable)


def _range_bounds(key: str, old: Scalar, new: Scalar, tunable: Tunable) -> Iterator[str]:
    if not _is_finite(new):
        yield f"{key}: this is no finite number"
        return
    refusal = tunable.refusal(new)
    if refusal is not None:
        yield f"{key}: {printable(refusal, 200)}"
    if tunable.max_factor is not None and isinstance(old, int | float) and isinstance(new, int | float):
        refusal = _factor_refusal(old, new, tunable)
        if refusal is not None:
            yield f"{key}: {refusal}"


def _is_finite(value: Scalar) -> bool:
    """A whole number beyond what a float can hold is none either: nothing could be compared with it."""
    if not isinstance(value, int | float):
        return True
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _factor_refusal(old: float, new: float, tunable: Tunable) -> str | None:
    """From or through zero no factor leads."""
    if old == 0 or new == 0 or (old < 0) != (new < 0):
        return f"from {old:g} to {new:g} leads no factor, and a max_factor is set"
    return tunable.factor_refusal(new / old)


def _request_bounds(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Iterator[str]:
    if proposal.resources and not (proposal.changes or proposal.exclude_nodes) and snapshot.has(proposal.resources):
        asked = ", ".join(f"{printable(name, 60)}: {_shown(value)}" for name, value in proposal.resources.items())
        yield f"attempt {snapshot.attempt} has asked for {asked} already: this would change nothing"
    for name, value in proposal.resources.items():
        bound = limits.resources.get(name)
        refusal = "is not under `limits.resources`" if bound is None else bound.refusal(name, value)
        if refusal is not None:
            yield f"{name}: {refusal}"


def _same_type(old: Scalar, new: Scalar) -> bool:
    """A float stays a float for the trainer's own YAML loader; an integral number may take a float's place."""
    if isinstance(old, bool) or isinstance(new, bool):
        return isinstance(old, bool) and isinstance(new, bool)
    if isinstance(old, float):
        return isinstance(new, int | float)
    return type(old) is type(new)


def _shown(value: Scalar) -> str:
    """Whatever was proposed, short enough for a sentence; Python itself refuses to print a very long number."""
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"
    return printable(repr(value), 60)


def _type_name(value: Scalar) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(type(value), "empty")
