# SPDX-License-Identifier: Apache-2.0
"""What was learned and is lost again: ``overfitting``, ``collapse`` and ``oscillating``.

The three differ in what the training loss does meanwhile: it goes on falling, it is lost as well, or it swings too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ade_hpc.metrics.detect_case import Case, finding
from ade_hpc.metrics.detect_trace import Trace
from ade_hpc.metrics.smooth import (
    Array,
    bin_edges,
    bin_medians,
    coming_back,
    detrended,
    last_good,
    reversals,
    trailing,
    wander,
)
from ade_hpc.model import Finding

RETURN_BINS = 100  # returns, often logged one by one, are judged by fewer and calmer medians


def overfitting(case: Case) -> Iterator[Finding]:
    """The validation loss has risen well above its best while the training loss went on falling.

    An intervention only where the objective itself has lost ground: an accuracy at its best beside a validation loss
    that creeps up is the ordinary end of a good run. Where it rose less, but has lost what it had gained, it is a note.
    """
    val, train, limits = case.validation, case.training, case.limits
    if val is None or train is None or case.by_return or len(val) <= limits.overfit_points:
        return
    best = int(np.argmin(val.smooth))
    far = max(limits.overfit_rise * abs(val.best), limits.overfit_gain * val.gain)
    lost = max(limits.overfit_lost * abs(val.best), limits.lost_gain * val.gain)
    surely = _risen(case, val, best, far)
    if not (surely or _risen(case, val, best, lost)):
        return
    if not _still_falls(train, float(val.times[best]), limits.overfit_train) or train.end >= val.end:
        return
    began = last_good(val.cost)
    yield finding(
        "overfitting",
        val,
        began,
        len(val) - 1,
        "intervene" if surely and _objective_hurt(case, val) else "note",
        float(val.times[began]),
        best=val.best,
        now=val.end,
        train_now=train.end,
    )


def _risen(case: Case, val: Trace, best: int, rise: float) -> bool:
    """Has the curve risen above its best by ``rise``, beyond its noise, and stays there?"""
    limits = case.limits
    rise = max(rise, limits.overfit_noises * val.noise)
    points = min(trailing(val.cost > val.best + 0.6 * rise), len(val) - 1 - best)
    return points >= limits.overfit_points and val.end >= val.best + rise


def _still_falls(train: Trace, time: float, share: float) -> bool:
    """Has the training loss fallen by ``share`` of itself since ``time``?"""
    before, after = train.until(time)[-5:], train.since(time)
    if len(after) < 3:
        return False
    then = float(np.median(before)) if len(before) else train.start
    now = float(np.median(after[-max(5, len(after) // 5) :]))
    return now < then - share * abs(then)


def _objective_hurt(case: Case, val: Trace) -> bool:
    course = case.course
    if course is None or course.tag == val.tag:
        return course is not None
    if course.gain <= case.limits.gain_wanders * course.wander:
        return False  # what was never learned can't be lost
    hurt = course.best + max(case.limits.overfit_score * course.gain, 3 * course.noise)
    return trailing(course.smooth > hurt) >= case.limits.overfit_points


def collapse(case: Case) -> Iterator[Finding]:
    """The objective had gained clearly, and has lost most of that, and the training loss with it.

    A note while it may only be a dip, or where it swings so much since that it may come back by itself.
    """
    course = case.goal.condensed(RETURN_BINS) if case.goal is not None and case.by_return else case.course
    loss = _loss(case, course) if course is not None else None
    if course is None or loss is None or not _training_lost(case, float(course.times[loss.first])):
        return
    began = last_good(course.cost)
    yield finding(
        "collapse",
        course,
        began,
        len(course) - 1,
        "intervene" if loss.for_good else "note",
        float(course.times[began]),
        start=course.value(course.start),
        best=course.value(course.best),
        now=course.value(course.end),
        points=round((len(course) - loss.first) * course.weight),
        **case.witnesses(),
    )


@dataclass(frozen=True)
class _Loss:
    """From which point on most of what had been gained is gone, and whether for good, for all that is known."""

    first: int
    for_good: bool


def _loss(case: Case, course: Trace) -> _Loss | None:
    """What the objective has lost, if it had gained clearly; None where it has not."""
    limits, returns = case.limits, case.by_return
    # a return may fall far below where it began; early on, that is how some runs begin
    below = course.end - course.best if returns and course.points >= limits.collapse_below_points else 0.0
    gain = max(course.gain, below)
    line = course.best + (limits.lost_return if returns else limits.lost_gain) * gain
    first = len(course) - trailing(course.smooth > line)
    if _is_lost(case, course, gain, first):
        since = course.cost[first:]
        lasted = len(since) * course.weight
        share = limits.collapse_return_share if returns else limits.collapse_share
        swings = float(np.ptp(np.quantile(since, [0.1, 0.9])))
        surely = gain > limits.collapse_spreads * swings or lasted >= limits.collapse_surely_points
        return _Loss(first, surely and len(since) >= share * len(course) and not coming_back(since, line))
    width = min(max(5, len(course) // 10), len(course))  # what swings since may be good now and then
    recent = np.median(np.lib.stride_tricks.sliding_window_view(course.cost, width), axis=1)
    first = len(course) - trailing(recent > line)
    return _Loss(first, False) if _is_lost(case, course, gain, first) else None


def _is_lost(case: Case, course: Trace, gain: float, first: int) -> bool:
    """Is the loss of ``gain`` since the point ``first`` old enough, and more than the curve wanders anyway?"""
    limits, returns, run = case.limits, case.by_return, len(course) - first
    points = limits.collapse_return_points if returns else limits.collapse_points
    good_before = first * course.weight >= (2 * points if returns else points)
    early = gain > course.gain and first < run * limits.collapse_below_share
    if run * course.weight < points or not good_before or early:
        return False
    around = min(course.wander, wander(course.cost[:first]))  # where it only wanders since, that is no excuse
    return gain > max(limits.gain_wanders * around, 0.0)


def _training_lost(case: Case, time: float) -> bool:
    """Is the training loss worse than before ``time`` too? True where there is none, or it says little."""
    train = case.training
    if train is None or case.by_return or case.course is None or train.tag == case.course.tag:
        return True
    before, after = train.until(time), train.since(time)
    if len(before) < 3 or len(after) < 3:
        return True
    best = float(np.median(before[-max(3, len(before) // 5) :]))
    return float(np.median(after)) > best + max(0.25 * (train.start - best), train.noise)


def oscillating(case: Case) -> Iterator[Finding]:
    """The objective goes up and down again and again, by a good part of all it has gained, and gets nowhere.

    Returns swing by nature, and so does a run under a cyclic learning rate: neither is judged. Where no rate is logged,
    the schedule may be the reason too: a note. So are swings that are not quite as wide.
    """
    course, limits = _unbatched(case), case.limits
    if course is None or case.by_return or case.resumed or len(course) < limits.swing_points or case.cyclic:
        return
    window = course.cost[-max(limits.swing_points, 2 * len(course) // 3) :]
    first = len(course) - len(window)
    swings = _Swings(window, _wide(case, course, course.gain))
    others = _others(case, course, float(course.times[first]), len(window))
    least = limits.swing_note if others else 1.0  # alone, it has to swing all the more
    turns = reversals(window, least * swings.wide)
    if turns < limits.swing_turns or _sinks(swings) or _at_rest(case, course, swings):
        return
    if any(reversals(other.cost, limits.swing_note * other.wide) < limits.swing_turns_too for other in others):
        return  # where they are calm, the swings are those of a small validation set
    wide = bool(others) and all(swing.share >= 1.0 for swing in (swings, *others)) and _batches_calm(case, len(course))
    nowhere = _progress(window) <= limits.swing_progress * swings.share * swings.wide
    sure = wide and nowhere and case.held_out and case.witness("rate") is not None
    low, high = np.quantile(window, [0.1, 0.9])
    yield finding(
        "oscillating",
        course,
        first,
        len(course) - 1,
        "intervene" if sure else "note",
        float(course.times[first]),
        low=course.value(float(low)),
        high=course.value(float(high)),
        turns=turns,
        points=int(len(window) * course.weight),
        **case.witnesses(),
    )


@dataclass(frozen=True, eq=False)
class _Swings:
    """A stretch of a curve, and how wide its swings have to be to be worth the name."""

    cost: Array
    wide: float

    @property
    def share(self) -> float:
        """How wide they are (10th to 90th percentile), as a share of that."""
        return float(np.ptp(np.quantile(self.cost, [0.1, 0.9]))) / max(self.wide, 1e-12)


def _wide(case: Case, curve: Trace, gain: float) -> float:
    """How wide swings have to be, given what the curve has gained, to be worth the name."""
    least = case.limits.swing_loss * abs(curve.start) if curve.sign > 0 else case.limits.swing_score * curve.range
    return max(case.limits.swing_gain * gain, least)


def _progress(cost: Array, quantile: float = 0.5) -> float:
    """How much better the second half of a stretch is than its first, by their medians or another quantile."""
    half = len(cost) // 2
    return float(np.quantile(cost[:half], quantile) - np.quantile(cost[half:], quantile))


def _batches_calm(case: Case, bins: int) -> bool:
    """Is a training loss in so many bins free from the noise of its batches?"""
    train = case.training_loss
    return case.by_epoch or (train is not None and 2 * len(train) >= case.limits.swing_batches * bins)


def _sinks(swings: _Swings) -> bool:
    """Do the lowest points come down by more than it swings at last? Then it is a blow-up on its way back."""
    last = _Swings(swings.cost[len(swings.cost) // 2 :], swings.wide)
    return _progress(swings.cost, 0.2) > max(1.0, last.share) * swings.wide


def _at_rest(case: Case, course: Trace, swings: _Swings) -> bool:
    """Has the curve come to rest at its best, in all of its last third?"""
    last = float(np.quantile(swings.cost[-len(swings.cost) // 3 :], 0.9))
    return last < course.best + case.limits.swing_note * swings.wide


def _unbatched(case: Case) -> Trace | None:
    """The objective without the noise of single batches."""
    if case.held_out or case.course is None or case.goal is None:
        return case.course
    return case.goal.condensed(len(case.goal) // case.limits.swing_batches) if case.goal.points >= 200 else None


def _others(case: Case, course: Trace, time: float, bins: int) -> list[_Swings]:
    """The trained and the held-out loss since ``time``, in ``bins`` medians without their trend, if logged so often."""
    found = []
    for loss in case.losses:
        window = loss.since(time)
        if loss.tag == course.tag or len(window) < bins // 2:
            continue
        gain = loss.start - loss.condensed(2 * bins).best
        binned = detrended(bin_medians(window, bin_edges(len(window), bins)))
        found.append(_Swings(binned, _wide(case, loss, gain)))
    return found
