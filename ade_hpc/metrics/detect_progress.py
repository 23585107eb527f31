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
from ade_hpc.metrics.detect_witness import starved
from ade_hpc.metrics.smooth import Array, noise, start_error
from ade_hpc.model import Finding


def never_learns(case: Case) -> Iterator[Finding]:
    """Neither the objective nor a trained loss is better than at the start, after ample time.

    A loss may settle a little at first, to what a constant answer costs. A held-out score that stays near the bottom
    is worth a note by itself: a training set that is learned by heart may be understood later.
    """
    course, goal = case.course, case.goal
    if course is None or goal is None or not _ample(case, course) or _creeping(case) is not None:
        return
    low_score = case.held_out and goal.sign < 0 and -course.best < 0.5 * course.range
    at_bottom = low_score and _flat(case, goal) and _gain(goal) < case.limits.learn_gain * goal.scale
    judged = [goal] if case.by_return or at_bottom else [goal, *case.losses]
    still = not any(_moved(case, curve) for curve in judged) and any(_flat(case, curve) for curve in judged)
    settled = not case.by_return and all(_settled(case, curve) for curve in judged)
    if not (still or settled) or _score_is_high(case):
        return
    by_heart = any(_share_won(loss) > case.limits.slow_gain for loss in case.losses)
    sure = case.by_return or (not by_heart and (still or not _score_moved(case)))
    yield finding(
        "never-learns",
        course,
        0,
        len(course) - 1,
        "intervene" if sure and (starved(case) or _ample(case, course, case.limits.learn_surely)) else "note",
        float(course.times[0]),
        start=course.value(course.start),
        best=course.value(course.best),
        now=course.value(course.end),
        points=course.points,
        **case.witnesses(),
    )


def slow(case: Case) -> Iterator[Finding]:
    """The loss has fallen a little, steadily, and as fast as ever: far from done at this rate."""
    steady, limits = _creeping(case), case.limits
    if case.course is None or steady is None or not _ample(case, case.course):
        return
    sure = _share_won(steady) < limits.learn_gain and _line(steady.cost).second_half <= limits.slow_half[1]
    yield finding(
        "slow",
        steady,
        0,
        len(steady) - 1,
        "intervene" if sure and _ample(case, case.course, limits.learn_surely) else "note",
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


# --- was there time enough? ---------------------------------------------------------------------------------------


def _ample(case: Case, course: Trace, patience: int = 1) -> bool:
    """Was there time enough, so many times over, from scratch, and is the warm-up over?"""
    limits = case.limits
    if case.resumed or _warming_up(case):
        return False
    if case.by_return:  # a point for each episode is a lot of points: count the updates too
        updates = max((len(s) for tag, s in case.curves.series.items() if tag != course.tag), default=course.points)
        least = limits.learn_return_points if patience == 1 else limits.learn_return_surely
        return min(course.points, updates) >= least
    losses = len(case.training_loss) if case.training_loss is not None else 0
    if course.points >= patience * (limits.learn_alone_points if case.held_out else limits.learn_loss_points):
        return True
    if case.by_epoch:
        return course.points >= patience * limits.learn_epochs
    return course.points >= patience * limits.learn_points and losses >= patience * limits.learn_loss_points


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
        course = curve.condensed()
        first, *later = np.array_split(course.cost, 4)
        level = min(float(np.median(quarter)) for quarter in later)
        start = float(course.smooth[: len(course) // 20].max())
        return level < max(float(np.quantile(first, 0.1)), start - case.limits.level_wanders * course.wander)
    return _gain(curve) > max(_least(case, curve), 3 * start_error(curve.cost))


def _flat(case: Case, curve: Trace) -> bool:
    """Is it shown, in spite of the noise, that the curve has not gained even that?"""
    if case.by_return:
        return True  # what has not moved: returns have no scale of their own
    if len(curve) < (case.limits.learn_points if curve is case.goal else case.limits.learn_epochs):
        return False
    fifth = len(curve) // 5
    fall = float(np.median(curve.cost[:fifth]) - np.median(curve.cost[-fifth:]))
    error = 2 * 1.25 * noise(curve.cost) * float(np.sqrt(2 / fifth))
    below_start = float(np.quantile(curve.cost, 0.1)) < float(curve.cost[0])
    uncertain = fall + error if below_start else 0.0
    return max(uncertain, _gain(curve)) < _least(case, curve)


def _least(case: Case, curve: Trace) -> float:
    """The smallest gain worth the name."""
    return (case.limits.learn_gain if curve.sign > 0 else case.limits.learn_score) * curve.scale


def _settled(case: Case, curve: Trace) -> bool:
    """Has the curve, for all that is known of its noise, not moved since the first fifth, and not far before?"""
    limits, later = case.limits, curve.cost[len(curve) // 5 :]
    if curve.sign < 0:
        return not _moved(case, curve)
    if len(later) < limits.learn_points or _gain(curve) > limits.learn_settle * curve.scale + 2 * noise(curve.cost):
        return False
    part = len(later) // 4
    fall = float(np.median(later[:part]) - np.median(later[-part:]))
    return fall + 2.5 * noise(later) * float(np.sqrt(2 / part)) < limits.learn_settled * curve.scale


def _score_moved(case: Case) -> bool:
    """Has a held-out score moved, for all that is known?"""
    score = case.held_out_score
    return score is None or _moved(case, score)


def _score_is_high(case: Case) -> bool:
    """Is there a held-out score that is good from the start? Then the run is a fine-tuning, with little left to win."""
    score = case.held_out_score
    return score is not None and -score.end > case.limits.learn_high * score.range


def _gain(curve: Trace) -> float:
    """What was won since the start; a loss that first overshoots has not won what it then comes down again."""
    start = min(curve.start, float(curve.cost[0])) if curve.sign > 0 else curve.start
    return start - curve.condensed().best


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
    low, high = case.limits.slow_half[0], case.limits.slow_half_note
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
