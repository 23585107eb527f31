# SPDX-License-Identifier: Apache-2.0
"""When a language model is to be asked, and about what. Pure.

Rules come first: this is called only where none of them spoke. A question is known by its evidence, so that the same
one is not asked twice; all questions about one trouble in one attempt are one incident, which has a budget.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from ade_hpc.metrics.text import printable
from ade_hpc.model import Finding, Health
from ade_hpc.policy.health import is_trouble
from ade_hpc.policy.rules import may_be_judged
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.preferences import Preferences


@dataclass(frozen=True)
class Question:
    """Something that wants judgement.

    why: one sentence. finding: the trouble in the curves, None where the process or nothing at all is in trouble.
    incident, evidence: hashes. The evidence changes with what the person wants, and when the run is twice as long.
    """

    why: str
    incident: str
    evidence: str
    finding: Finding | None = None


def question(
    snapshot: Snapshot, health: Health, findings: Sequence[Finding], preferences: Preferences
) -> Question | None:
    """What a model should be asked now, or None: on open trouble, or at every tick that has something new to show."""
    agent = preferences.agent
    if agent is None or agent.ask == "never" or not may_be_judged(snapshot, health) or health.verdict == "starting":
        return None
    open_findings = [finding for finding in findings if finding.severity == "intervene"]
    if open_findings or is_trouble(health):
        return _about_trouble(snapshot, health, open_findings, preferences)
    return _about_nothing(snapshot, preferences) if agent.ask == "every-tick" else None


def _about_trouble(
    snapshot: Snapshot, health: Health, findings: Sequence[Finding], preferences: Preferences
) -> Question:
    first = findings[0] if findings else None
    state = f"{health.verdict} ({health.cause})" if health.cause else health.verdict
    if first is not None:
        why = f"no rule covers {first.kind} in {printable(first.tag, 60)} from step {first.first_step}"
    else:
        why = f"no rule covers a job that is {state}"
    # the first finding is the cause; which other curves it reaches, and when, makes no new incident
    kind = first.kind if first is not None else state
    incident = _hash("trouble", snapshot.attempt, kind)
    evidence = _hash(incident, preferences.sha256, newest_step(snapshot, preferences).bit_length())
    return Question(why, incident, evidence, first)


def _about_nothing(snapshot: Snapshot, preferences: Preferences) -> Question:
    evidence = _hash("every-tick", snapshot.attempt, preferences.sha256, newest_step(snapshot, preferences))
    return Question("the preferences ask for judgement at every tick", evidence, evidence)


def newest_step(snapshot: Snapshot, preferences: Preferences) -> int:
    """How far the run has come: the last step of the objective, else of any curve; 0 before the first."""
    series = snapshot.curves.series
    wanted = preferences.objective.tag if preferences.objective else ""
    chosen = [series[wanted]] if wanted in series else list(series.values())
    return max((int(one.steps[-1]) for one in chosen if len(one)), default=0)


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
