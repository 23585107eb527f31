# SPDX-License-Identifier: Apache-2.0
"""What is not learned, or too slowly, or no longer: ``never-learns``, ``slow`` and ``plateau``.

A run that will take off late looks for a while like one that never will, and a converged run like one that is stuck.
So these need more evidence than the others: the curve has to be *shown* to be flat, noise and all; returns, which may
be flat for very long, are given more time; and a plateau only counts short of a given target.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ade_hpc.metrics.detect_case import Case, Trace, finding
from ade_hpc.metrics.smooth import Array, noise, start_error
from ade_hpc.model import Finding


def never_learns(case: Case) -> Iterator[Finding]:
    """Neither the objective nor a trained loss is better than at the start, after ample time."""
    course, goal = case.course, case.goal
    if course is None or goal is None or not _ample(case, course):
        return
    judged = [goal] if case.by_return else [goal, *case.losses]
    if any(_moved(case, curve) for curve in judged) or not any(_flat(case, curve) for curve in judged):
        return
    if _creeping(case) is not None:
        return
    surely = not case.by_return or course.points >= case.limits.learn_return_surely
    yield finding(
        "never-learns",
        course,
        0,
        len(course) - 1,
        "intervene" if surely else "note",
        float(course.times[0]),
        start=course.value(course.start),
        best=course.value(course.best),
        now=course.value(course.end),
        points=course.points,
        **case.witnesses(),
    )


def slow(case: Case) -> Iterator[Finding]:
    """The loss has fallen a little, steadily, and as fast as ever: far from done at this rate."""
    steady = _creeping(case)
    if case.course is None or steady is None or not _ample(case, case.course):
        return
    yield finding(
        "slow",
        steady,
        0,
        len(steady) - 1,
        "intervene" if _share_won(steady) < case.limits.learn_gain else "note",
        float(steady.times[0]),
        start=steady.start,
        now=steady.end,
        per_step=(steady.start - steady.end) / max(int(steady.steps[-1] - steady.steps[0]), 1),
        **case.witnesses(),
    )


def plateau(case: Case) -> Iterator[Finding]:
    """The objective had gained clearly, and at its present pace will not reach its target."""
    course, limits = case.course, case.limits
    target = case.objective.target if case.objective else None
    if course is None or target is None or len(course) < limits.flat_points:
        return
    short = course.end - course.sign * target
    if short <= limits.flat_gain * abs(course.gain) or course.gain <= limits.gain_wanders * course.wander:
        return
    half = len(course) // 2
    won = float(np.median(course.cost[half : half + 5])) - course.end + 2 * course.noise
    if won * limits.flat_reach > short:
        return
    above = np.flatnonzero(course.smooth[:half] > course.best + 2 * limits.flat_gain * course.gain)
    since = int(above[-1]) + 1 if len(above) else 0
    yield finding(
        "plateau",
        course,
        since,
        len(course) - 1,
        "intervene",
        float(course.times[since]),
        best=course.value(course.best),
        now=course.value(course.end),
        target=target,
        points=round((len(course) - since) * course.weight),
        **case.witnesses(),
    )


# --- was there time enough? ---------------------------------------------------------------------------------------


def _ample(case: Case, course: Trace) -> bool:
    """Was there time enough, from scratch, and is the warm-up over?"""
    limits = case.limits
    if case.resumed or _warming_up(case):
        return False
    if case.by_return:  # a point for each episode is a lot of points: count the updates too
        updates = max((len(s) for tag, s in case.curves.series.items() if tag != course.tag), default=course.points)
        return min(course.points, updates) >= limits.learn_return_points
    losses = len(case.training_loss) if case.training_loss is not None else 0
    alone = course.points >= (limits.learn_alone_points if case.held_out else limits.learn_loss_points)
    return alone or (course.points >= limits.learn_points and losses >= limits.learn_loss_points)


def _warming_up(case: Case) -> bool:
    """Is the learning rate still rising?"""
    rate = case.witness("rate")
    if rate is None or len(rate) < 4:
        return False
    return float(rate.cost[-1]) > 1.01 * float(rate.cost[int(0.9 * len(rate)) - 1])


# --- did it move? -------------------------------------------------------------------------------------------------


def _moved(case: Case, curve: Trace) -> bool:
    """Is the curve better than at its start, beyond its noise, by a fair share of what there is to win?"""
    if case.by_return:
        first, *later = np.array_split(curve.condensed().cost, 4)
        level = min(float(np.median(quarter)) for quarter in later)
        beyond = curve.start - case.limits.level_wanders * curve.condensed().wander
        return level < max(float(np.quantile(first, 0.1)), beyond)
    gain = curve.start - curve.condensed().best
    return gain > max(case.limits.learn_gain * curve.scale, 3 * start_error(curve.cost))


def _flat(case: Case, curve: Trace) -> bool:
    """Is it shown, in spite of the noise, that the curve has not gained even that?"""
    if case.by_return:
        return True  # what has not moved: returns have no scale of their own
    if len(curve) < case.limits.learn_points:
        return False
    fifth = len(curve) // 5
    fall = float(np.median(curve.cost[:fifth]) - np.median(curve.cost[-fifth:]))
    error = 2 * 1.25 * noise(curve.cost) * float(np.sqrt(2 / fifth))
    gain = curve.start - curve.condensed().best
    return max(fall + error, gain) < case.limits.learn_gain * curve.scale


# --- does it creep? -----------------------------------------------------------------------------------------------


def _creeping(case: Case) -> Trace | None:
    """The loss that falls a little in a straight line, where the training loss falls too; the validation loss first."""
    if case.by_return:
        return None
    losses = [loss.condensed() for loss in case.losses if len(loss) >= case.limits.learn_points]
    if any(_share_won(loss) > case.limits.slow_gain for loss in losses):
        return None
    lines = [_line(loss.cost) for loss in losses]
    if any(line.fall <= 3 * line.error for line in lines):
        return None
    low, high = case.limits.slow_half
    steady = (line.fall > 6 * line.error and low <= line.second_half <= high for line in lines)
    return next((loss for loss, is_steady in zip(losses, steady, strict=True) if is_steady), None)


def _share_won(loss: Trace) -> float:
    """How much of the start has gone, as a share of it."""
    return (loss.start - min(loss.best, loss.end)) / max(abs(loss.start), 1e-12)


@dataclass(frozen=True)
class _Line:
    """A straight line through a curve: its whole fall, that fall's standard error, the second half's share of it."""

    fall: float
    error: float
    second_half: float


def _line(cost: Array) -> _Line:
    n = len(cost)
    x = np.arange(n) - (n - 1) / 2
    slope = float(x @ cost / (x @ x))
    rest = cost - cost.mean() - slope * x
    error = n * float(np.sqrt((rest @ rest) / (n - 2) / (x @ x)))
    part = max(1, n // 5)
    first, last = float(cost[:part].mean()), float(cost[-part:].mean())
    middle = float(cost[(n - part) // 2 : (n + part) // 2].mean())
    return _Line(-slope * n, error, (middle - last) / (first - last) if first > last else 0.0)
