# SPDX-License-Identifier: Apache-2.0
"""What is not learned, or too slowly, or no longer: ``never-learns``, ``slow`` and ``plateau``.

A run that will take off late looks for a while like one that never will, and a converged run like one that is stuck.
So these need more evidence than the others: the curve has to be *shown* to be flat, noise and all; returns, which may
be flat for very long, are given more time; and a plateau only counts short of a given target.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ade_hpc.metrics.detect_case import Case, finding
from ade_hpc.metrics.detect_moved import (
    ample,
    creeping,
    flat,
    gain,
    moved,
    score_is_high,
    score_moved,
    settled,
    stands_better,
)
from ade_hpc.metrics.detect_trace import Trace
from ade_hpc.metrics.detect_witness import starved
from ade_hpc.model import Finding


def never_learns(case: Case) -> Iterator[Finding]:
    """Neither the objective nor a trained loss is better than at the start, after ample time.

    A loss may settle a little at first, to what a constant answer costs. A held-out score that stays near the bottom
    is worth a note by itself: a training set that is learned by heart may be understood later.
    """
    course, goal = case.course, case.goal
    if course is None or goal is None or not ample(case, course) or creeping(case) is not None:
        return
    low_score = case.held_out and goal.sign < 0 and -course.best < 0.5 * course.range
    at_bottom = low_score and flat(case, goal) and gain(goal) < case.limits.learn_gain * goal.scale
    judged = [goal] if case.by_return or at_bottom else [goal, *case.losses]
    still = not any(moved(case, curve) for curve in judged) and any(flat(case, curve) for curve in judged)
    at_level = not case.by_return and all(settled(case, curve) for curve in judged)
    better = [stands_better(case, curve) for curve in judged]
    wandered = not case.by_return and True not in better and False in better
    if not (still or at_level or wandered) or score_is_high(case):
        return
    by_heart = any(loss.start - min(loss.best, loss.end) > case.limits.learn_heart * loss.scale for loss in case.losses)
    shown = still or (at_level and not score_moved(case))
    sure = case.by_return or (shown and not by_heart)
    yield finding(
        "never-learns",
        course,
        0,
        len(course) - 1,
        "intervene" if sure and (starved(case) or ample(case, course, surely=True)) else "note",
        float(course.times[0]),
        start=course.value(course.start),
        best=course.value(course.best),
        now=course.value(course.end),
        points=course.points,
        **case.witnesses(),
    )


def slow(case: Case) -> Iterator[Finding]:
    """The loss has fallen a little, steadily, and as fast as ever: far from done at this rate."""
    creep = creeping(case)
    if case.course is None or creep is None or not ample(case, case.course):
        return
    steady = creep.loss
    yield finding(
        "slow",
        steady,
        0,
        len(steady) - 1,
        "intervene" if creep.surely and ample(case, case.course, surely=True) else "note",
        float(steady.times[0]),
        start=steady.start,
        now=steady.end,
        per_step=(steady.start - steady.end) / max(int(steady.steps[-1] - steady.steps[0]), 1),
        **case.witnesses(),
    )


def plateau(case: Case) -> Iterator[Finding]:
    """The objective had gained clearly, and at its present pace will not reach its target.

    An intervention only where nothing more is to be expected: two thirds of the run stand still, the training with
    them, and the learning rate has come down, which is when most schedules win most. Without a target, a held-out score
    far from perfect that stands still is worth a note: a loss or a return may as well have converged.
    """
    target = case.objective.target if case.objective else None
    course, limits = case.course if target is not None else _poor_score(case), case.limits
    if course is None or len(course) < limits.flat_points or course.gain <= limits.level_wanders * course.wander:
        return
    short = course.end - course.sign * (target if target is not None else limits.flat_score * course.range)
    half = len(course) // 2
    if not _stands_still(case, course, half, short):
        return
    above = np.flatnonzero(course.smooth[:half] > course.best + 2 * limits.flat_gain * course.gain)
    since = int(above[-1]) + 1 if len(above) else 0
    over = target is not None and _rate_has_ended(case) and _stands_still(case, course, len(course) // 3, short)
    yield finding(
        "plateau",
        course,
        since,
        len(course) - 1,
        "intervene" if over and not _training_falls(case) else "note",
        float(course.times[since]),
        best=course.value(course.best),
        now=course.value(course.end),
        target=target,
        points=round((len(course) - since) * course.weight),
        **case.witnesses(),
    )


def _stands_still(case: Case, course: Trace, first: int, short: float) -> bool:
    """Has the curve since the point ``first`` won nothing that would lead it over what it falls short by?"""
    limits, part = case.limits, max(5, len(course) // 6)
    won = float(np.median(course.cost[first : first + part]) - np.median(course.cost[-part:]))
    error = 2.5 * course.noise * float(np.sqrt(2 / part))
    declined = course.end - course.best > limits.flat_fall * course.gain
    climbing = won - error > limits.flat_share * course.gain
    in_reach = (won + error) * limits.flat_reach > short
    return not (declined or climbing or in_reach or short <= limits.flat_gain * course.gain)


def _poor_score(case: Case) -> Trace | None:
    """A held-out score that is poor while the training loss stands still: the objective's or its companion's."""
    found = case.held_out_score
    if found is None or case.training is None or case.by_return or _training_falls(case):
        return None
    course = found.condensed()
    poor = -course.end < case.limits.flat_poor * course.range and course.gain > case.limits.flat_won * course.scale
    return course if poor else None


def _training_falls(case: Case) -> bool:
    """Does the training loss still fall in the second half of the run?"""
    train = case.training
    if train is None:
        return False
    half = train.cost[len(train) // 2 :]
    fall = float(np.median(half[: len(half) // 3 + 1]) - np.median(half[-len(half) // 3 :]))
    return fall >= case.limits.overfit_train * abs(float(np.median(half)))


def _rate_has_ended(case: Case) -> bool:
    """Is the learning rate known to have come down, so that nothing more is to be expected of its schedule?"""
    rate = case.witness("rate")
    return rate is not None and float(rate.cost[-1]) < case.limits.flat_rate * float(rate.cost.max())
