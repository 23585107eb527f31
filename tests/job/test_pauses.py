# SPDX-License-Identifier: Apache-2.0
"""How long a run may be silent: learnt from its own pauses, those of its start apart."""

from __future__ import annotations

import random

import pytest

from ade_hpc.job.pauses import Learner, merged
from ade_hpc.model import Pauses

FLOOR = 240.0


def learnt(*pauses: float, before: Pauses | None = None) -> Learner:
    learner = Learner(FLOOR, before or Pauses())
    for pause in pauses:
        learner.learn(pause)
    return learner


def test_a_first_start_is_given_time_that_nobody_can_know() -> None:
    """Staging data, compiling: until it has been seen once, only something very long says anything."""
    assert learnt().limit_s == 10 * FLOOR
    assert learnt(3.0).limit_s == 10 * FLOOR
    assert learnt(3.0, 3.0).limit_s == FLOOR


def test_a_later_start_knows_how_long_starts_take() -> None:
    before = Pauses(startup_s=300.0, first_step_s=2.0, usual_s=1.0, longest_s=1.0)
    assert learnt(before=before).limit_s == 3 * 300
    assert learnt(20.0, before=before).limit_s == FLOOR


def test_the_start_says_nothing_about_the_steps() -> None:
    assert learnt(900.0, 600.0, *[1.0] * 50).limit_s == FLOOR


def test_the_limit_is_three_times_what_is_usual() -> None:
    """An evaluation in every tenth pause is usual."""
    assert learnt(1.0, 1.0, *[10.0, *[1.0] * 9] * 20).limit_s == FLOOR
    assert learnt(1.0, 1.0, *[100.0, *[1.0] * 9] * 20).limit_s == 3 * 100


def test_a_rare_pause_that_was_healthy_once_may_come_again() -> None:
    """One evaluation of 230 s among a thousand steps is no percentile; the next one may take 300."""
    learner = learnt(1.0, 1.0, *[1.0] * 1000, 230.0, *[1.0] * 500)
    assert learner.seen.usual_s == 1.0
    assert learner.limit_s == pytest.approx(345.0)


def test_what_earlier_starts_survived_counts() -> None:
    before = Pauses(10.0, 10.0, 5.0, 400.0)
    assert learnt(1.0, 1.0, 1.0, before=before).limit_s == 600.0


def test_any_healthy_history_never_trips_on_itself() -> None:
    """Whatever the pauses were, the same ones again are no stall."""
    dice = random.Random(3)
    for _ in range(200):
        first = [dice.expovariate(1 / dice.choice([1, 30, 300])) for _ in range(300)]
        learner = learnt(1.0, 1.0, *first)
        assert max(first) < learner.limit_s or max(first) < FLOOR


def test_merged_keeps_the_longest_of_each() -> None:
    assert merged([Pauses(), Pauses(1.0, None, 3.0, 9.0), Pauses(2.0, None, 1.0, 1.0)]) == Pauses(2.0, None, 3.0, 9.0)
    assert merged([Pauses()]) == Pauses()
