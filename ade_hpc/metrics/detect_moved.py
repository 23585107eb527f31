# SPDX-License-Identifier: Apache-2.0
"""Does a curve move? What ``never-learns`` and ``slow`` ask of objective and losses, noise and all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ade_hpc.metrics.detect_case import Case
from ade_hpc.metrics.detect_trace import Trace
from ade_hpc.metrics.smooth import Array, noise, start_error

# --- was there time enough? ---------------------------------------------------------------------------------------


def ample(case: Case, course: Trace, surely: bool = False) -> bool:
    """Was there time enough for a note, or ``surely`` for more, from scratch, and is the warm-up over?"""
    limits = case.limits
    if case.resumed or _warming_up(case):
        return False
    if case.by_return:  # a point for each episode is a lot of points: count the updates too
        updates = max((len(s) for tag, s in case.curves.series.items() if tag != course.tag), default=course.points)
        return min(course.points, updates) >= (limits.learn_return_surely if surely else limits.learn_return_points)
    if not surely:
        return course.points >= limits.learn_points and (case.by_epoch or _updates(case) >= limits.learn_updates)
    points = course.points / limits.learn_surely
    losses = len(case.training_loss) / limits.learn_surely if case.training_loss is not None else 0
    if points >= (limits.learn_alone_points if case.held_out else limits.learn_updates):
        return True
    if case.by_epoch:
        return points >= limits.learn_epochs
    return points >= limits.learn_points and losses >= limits.learn_updates


def _updates(case: Case) -> int:
    """How many batches the weights have seen, as far as the log tells: by its points, or by what its steps count."""
    logged = [series for series in (case.training_loss, case.target_series) if series is not None]
    return max(max(len(series), int(series.steps[-1] - series.steps[0])) for series in logged)


def _warming_up(case: Case) -> bool:
    """Is the learning rate still rising?"""
    rate = case.witness("rate")
    if rate is None or len(rate) < 4:
        return False
    return float(rate.cost[-1]) > 1.01 * float(rate.cost[int(0.9 * len(rate)) - 1])


# --- did it move? -------------------------------------------------------------------------------------------------


def moved(case: Case, curve: Trace) -> bool:
    """Is the curve better than at its start, beyond its noise, by a fair share of what there is to win?"""
    if case.by_return:
        course = curve.condensed()
        first, *later = np.array_split(course.cost, 4)
        level = min(float(np.median(quarter)) for quarter in later)
        start = float(course.smooth[: len(course) // 20].max())
        return level < max(float(np.quantile(first, 0.1)), start - case.limits.level_wanders * course.wander)
    return gain(curve) > max(_least(case, curve), 3 * start_error(curve.cost))


def stands_better(case: Case, curve: Trace) -> bool | None:
    """Was a whole quarter of the run better than the start? None where that can't be told for the noise.

    ``moved`` asks for less, and counts a curve that was better for a moment: such a run may be about to take off.
    """
    if len(curve) < case.limits.learn_points:
        return None
    limits, course = case.limits, curve.condensed().condensed(case.limits.stand_bins)
    _, *later = (float(np.median(part)) for part in np.array_split(course.cost, 4))
    level, at_rest = min(later), later[0] - later[-1] < limits.learn_settled * curve.scale
    share = limits.learn_score if curve.sign < 0 else limits.learn_settle if at_rest else limits.learn_gain
    least = max(share * curve.scale, limits.level_wanders * course.wander)
    if _sure_start(curve) - level > least:
        return True
    unsure = curve.start - _sure_start(curve) + least
    return False if unsure < limits.learn_heart * curve.scale else None


def _sure_start(curve: Trace) -> float:
    """Where the curve at least began: the median of its first points, less what their noise may have added."""
    widths = (1, 5, len(curve) // 20)
    return max(float(np.median(curve.cost[:n])) - 3 * 1.25 * curve.noise / float(np.sqrt(n)) for n in widths if n)


def flat(case: Case, curve: Trace) -> bool:
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
    return max(uncertain, gain(curve)) < _least(case, curve)


def _least(case: Case, curve: Trace) -> float:
    """The smallest gain worth the name."""
    return (case.limits.learn_gain if curve.sign > 0 else case.limits.learn_score) * curve.scale


def settled(case: Case, curve: Trace) -> bool:
    """Has the curve, for all that is known of its noise, not moved since the first fifth, and not far before?"""
    limits, later = case.limits, curve.cost[len(curve) // 5 :]
    if curve.sign < 0:
        return not moved(case, curve)
    if len(later) < limits.learn_points or gain(curve) > limits.learn_settle * curve.scale + 2 * noise(curve.cost):
        return False
    part = len(later) // 4
    fall = float(np.median(later[:part]) - np.median(later[-part:]))
    return fall + 2.5 * noise(later) * float(np.sqrt(2 / part)) < limits.learn_settled * curve.scale


def score_moved(case: Case) -> bool:
    """Has a held-out score moved, for all that is known?"""
    score = case.held_out_score
    return score is None or moved(case, score)


def score_is_high(case: Case) -> bool:
    """Is there a held-out score that is good from the start? Then the run is a fine-tuning, with little left to win."""
    score = case.held_out_score
    return score is not None and -score.end > case.limits.learn_high * score.range


def gain(curve: Trace) -> float:
    """What was won since the start; a loss that first overshoots has not won what it then comes down again."""
    start = min(curve.start, float(curve.cost[0])) if curve.sign > 0 else curve.start
    return start - curve.condensed().best


# --- does it creep? -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Creep:
    """A loss that falls a little in a straight line. surely: every loss is seen to fall, and it is no faster now."""

    loss: Trace
    surely: bool


def creeping(case: Case) -> Creep | None:
    """The loss that creeps, held out if there is one, where no other loss says otherwise."""
    limits = case.limits
    losses = [loss.condensed() for loss in case.losses if len(loss) >= limits.learn_points]
    if case.by_return or not losses or any(_share_won(loss) > limits.slow_gain for loss in losses):
        return None
    line, *others = [_line(loss.cost) for loss in losses]
    low, high = limits.slow_half
    if line.fall <= 6 * line.error or not low <= line.second_half <= limits.slow_half_note:
        return None
    if any(other.fall + 3 * other.error < 0.5 * line.fall for other in others):
        return None
    seen = line.second_half <= high and all(other.fall > 3 * other.error for other in others)
    return Creep(losses[0], seen and _share_won(losses[0]) < limits.learn_gain)


def _share_won(loss: Trace) -> float:
    """How much of the start has surely gone, as a share of it."""
    start = _sure_start(loss)
    return (start - loss.end) / max(abs(start), 1e-12)


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
