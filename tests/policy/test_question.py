# SPDX-License-Identifier: Apache-2.0
"""A model is asked when there is something to judge, and not again until there is something new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ade_hpc.model import Finding, Health
from ade_hpc.policy.question import Question, question
from tests.agent.situations import PLATEAU, TEXT, curves, preferences, situation

SNAPSHOT = situation(Path("unused.png")).snapshot
RUNNING = Health("running")
EVERY = TEXT.replace("ask: on-finding", "ask: every-tick")


def ask(
    *findings: Finding, text: str = TEXT, points: int = 100, health: Health = RUNNING, **more: object
) -> Question | None:
    snapshot = replace(SNAPSHOT, curves=curves(points=points), **more)  # type: ignore[arg-type]  # test seam
    return question(snapshot, health, findings, preferences(text))


def test_a_quiet_day_has_no_question() -> None:
    """24 ticks over a healthy run whose notes come and go; its prose asks for judgement, its `ask` does not."""
    note = replace(PLATEAU, kind="spike", severity="note")
    assert [ask(*([note] if hour % 3 else []), points=100 + 40 * hour) for hour in range(24)] == [None] * 24


def test_trouble_is_asked_about_once() -> None:
    """More of the same is no new question: a longer plateau, another curve that shows it too."""
    first = ask(PLATEAU)
    longer = ask(replace(PLATEAU, last_step=110, first_step=38), replace(PLATEAU, tag="loss/val"), points=111)
    assert first is not None
    assert first == replace(longer, why=first.why, finding=first.finding)  # type: ignore[type-var]  # asserted above


def test_new_evidence_is_a_new_question_of_the_same_incident() -> None:
    first = ask(PLATEAU)
    twice = ask(PLATEAU, points=200)
    other = ask(PLATEAU, text=TEXT.replace("wait", "act"))
    assert first is not None
    assert twice is not None
    assert other is not None
    assert len({first.evidence, twice.evidence, other.evidence}) == 3
    assert len({first.incident, twice.incident, other.incident}) == 1


def test_other_trouble_or_another_attempt_is_another_incident() -> None:
    asked = [ask(PLATEAU), ask(replace(PLATEAU, kind="nan")), ask(PLATEAU, attempt=2)]
    assert len({one.incident for one in asked if one}) == 3


@pytest.mark.parametrize(
    "health", [Health("stalled", "no progress"), Health("lost", "silent"), Health("ended", "failed")]
)
def test_a_job_in_trouble_is_a_question_too(health: Health) -> None:
    found = ask(health=health)
    assert found is not None
    assert health.verdict in found.why


@pytest.mark.parametrize(
    "health",
    [
        Health("unknown"),
        Health("pending"),
        Health("starting"),
        Health("ended", "cancelled"),
        Health("ended", "completed"),
    ],
)
def test_nothing_is_asked_about_what_is_unknown_or_over(health: Health) -> None:
    assert ask(health=health) is None


def test_every_tick_asks_where_there_is_something_new_to_see() -> None:
    asked = [ask(text=EVERY, points=points) for points in (100, 100, 101)]
    assert [one is not None for one in asked] == [True, True, True]
    assert len({one.evidence for one in asked if one}) == 2


def test_nobody_is_asked_where_nobody_is_named() -> None:
    assert ask(PLATEAU, text=TEXT.replace("ask: on-finding", "ask: never")) is None
    assert ask(PLATEAU, superseded_by="cancel") is None
