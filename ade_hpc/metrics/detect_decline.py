# SPDX-License-Identifier: Apache-2.0
"""What was learned and is lost again: ``overfitting``, ``collapse`` and ``oscillating``.

The three differ in what the training loss does meanwhile: it goes on falling, it is lost as well, or it swings too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ade_hpc.metrics.detect_case import Case, Trace, finding, trace
from ade_hpc.metrics.smooth import Array, bin_edges, bin_medians, coming_back, detrended, last_good, trailing, wander
from ade_hpc.model import Finding

RETURN_BINS = 100  # returns, often logged one by one, are judged by fewer and calmer medians


def overfitting(case: Case) -> Iterator[Finding]:
    """The validation loss has risen well above its best while the training loss went on falling.

    An intervention only where the objective itself has lost ground: an accuracy at its best beside a validation loss
    that creeps up is the ordinary end of a good run.
    """
    val, train, limits = case.validation, case.training, case.limits
    if val is None or train is None or case.by_return or len(val) <= limits.overfit_points:
        return
    best = int(np.argmin(val.smooth))
    after = val.cost[best + 1 :]
    rise = max(limits.overfit_rise * abs(val.best), limits.overfit_gain * val.gain, limits.overfit_noises * val.noise)
    risen = trailing(val.cost > val.best + 0.6 * rise)
    if len(after) < limits.overfit_points or risen < limits.overfit_points or val.end < val.best + rise:
        return
    if not _still_falls(train, float(val.times[best]), limits.overfit_train) or train.end >= val.end:
        return
    began = last_good(val.cost)
    yield finding(
        "overfitting",
        val,
        began,
        len(val) - 1,
        "intervene" if _objective_hurt(case, val) else "note",
        float(val.times[began]),
        best=val.best,
        now=val.end,
        train_now=train.end,
    )


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
    """The objective had gained clearly, and has lost most of that for good, and the training loss with it."""
    course = case.goal.condensed(RETURN_BINS) if case.goal is not None and case.by_return else case.course
    first = _lost_from(case, course) if course is not None else None
    if course is None or first is None or not _training_lost(case, float(course.times[first])):
        return
    began = last_good(course.cost)
    yield finding(
        "collapse",
        course,
        began,
        len(course) - 1,
        "intervene",
        float(course.times[began]),
        start=course.value(course.start),
        best=course.value(course.best),
        now=course.value(course.end),
        points=round((len(course) - first) * course.weight),
        **case.witnesses(),
    )


def _lost_from(case: Case, course: Trace) -> int | None:
    """From where on most of what the objective had gained is gone; None where it is not, or not yet for sure."""
    limits, returns = case.limits, case.by_return
    # a return may fall far below where it began; early on, that is how some runs begin
    below = course.end - course.best if returns and course.points >= limits.collapse_below_points else 0.0
    gain = max(course.gain, below)
    line = course.best + (limits.lost_return if returns else limits.lost_gain) * gain
    run = trailing(course.smooth > line)
    first, lasted = len(course) - run, run * course.weight
    points = limits.collapse_return_points if returns else limits.collapse_points
    share = limits.collapse_return_share if returns else limits.collapse_share
    good_before = first * course.weight >= (2 * points if returns else points)
    if gain > course.gain and first < run * limits.collapse_below_share:
        return None
    if lasted < points or run < share * len(course) or not good_before:
        return None
    around = min(course.wander, wander(course.cost[:first]))  # where it only wanders since, that is no excuse
    if gain <= limits.gain_wanders * around:
        return None
    swings = float(np.ptp(np.quantile(course.cost[first:], [0.1, 0.9])))
    surely = gain > limits.collapse_spreads * swings or lasted >= limits.collapse_surely_points
    return first if surely and gain > 0 and not coming_back(course.cost[first:], line) else None


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
    """The objective swings over a good part of all it has gained and gets nowhere.

    Returns swing by nature, and so does a run under a cyclic learning rate: neither is judged. Where no rate is logged,
    the schedule may be the reason too: a note. So are swings of a held-out objective that are not quite as wide.
    """
    course, limits = _unbatched(case), case.limits
    if course is None or case.by_return or case.resumed or len(course) < limits.swing_points or case.cyclic:
        return
    window = course.cost[-max(limits.swing_points, 2 * len(course) // 3) :]
    low, high = np.quantile(window, [0.1, 0.9])
    width, first = float(high - low), len(course) - len(window)
    share = width / max(_wide(case, course, course.gain), 1e-12)
    if case.held_out and share >= limits.swing_note:
        share = min(share, _others_swing(case, float(course.times[first]), len(window)))
    if share < (limits.swing_note if case.held_out else 1.0):
        return
    progress = float(np.median(window[: len(window) // 2]) - np.median(window[len(window) // 2 :]))
    turns = _turns(window)
    enough = limits.swing_turns - int(course.noise > limits.swing_noise * course.gain)
    if turns < enough or progress > limits.swing_progress * width:
        return
    yield finding(
        "oscillating",
        course,
        first,
        len(course) - 1,
        "intervene" if share >= 1.0 and case.held_out and case.witness("rate") is not None else "note",
        float(course.times[first]),
        low=course.value(float(low)),
        high=course.value(float(high)),
        turns=turns,
        points=int(len(window) * course.weight),
        **case.witnesses(),
    )


def _wide(case: Case, curve: Trace, gain: float) -> float:
    """How wide swings have to be, given what the curve has gained, to be worth the name."""
    least = case.limits.swing_loss * abs(curve.start) if curve.sign > 0 else case.limits.swing_score * curve.range
    return max(case.limits.swing_gain * gain, least)


def _unbatched(case: Case) -> Trace | None:
    """The objective without the noise of single batches."""
    if case.held_out or case.course is None or case.goal is None:
        return case.course
    return case.goal.condensed(len(case.goal) // case.limits.swing_batches) if case.goal.points >= 200 else None


def _others_swing(case: Case, time: float, bins: int) -> float:
    """How wide training loss (without the noise of its batches) and validation loss swing since ``time``.

    The narrower of the two, as a share of what is wide for it; where they are calm, the swings are those of a small
    validation set. Not known, so 0, where too little was logged.
    """
    train, limits = trace(case.training_loss, "min"), case.limits
    batches = len(train.since(time)) / (bins - 1) if train is not None else 0.0  # the first point is at ``time``
    if batches < limits.swing_batches // 2 and not case.by_epoch:
        return 0.0
    shares = []
    for loss in case.losses:
        window = loss.since(time)
        if len(window) < bins // 2:
            return 0.0
        binned = detrended(bin_medians(window, bin_edges(len(window), bins)))
        low, high = np.quantile(binned, [0.1, 0.9])
        gain = loss.start - loss.condensed(2 * bins).best
        shares.append(float(high - low) / max(_wide(case, loss, gain), 1e-12))
    return min(shares, default=1.0)


def _turns(values: Array) -> int:
    """How often the curve goes from its lowest quarter to its highest, or back."""
    low, high = np.quantile(values, [0.25, 0.75])
    sides = (values >= high).astype(int) - (values <= low).astype(int)
    return int((np.diff(sides[sides != 0]) != 0).sum())
