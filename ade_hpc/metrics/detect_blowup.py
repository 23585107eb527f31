# SPDX-License-Identifier: Apache-2.0
"""Numbers that leave the scale: ``nan``, ``diverging`` and ``spike``.

All three happen to healthy runs: a loss scaler skips a step, an auxiliary loss is NaN beside a perfect policy, a
critic's loss grows because the returns it predicts grow. So a loss alone calls for an intervention only when the
objective agrees, or has not been heard of since and the loss is the one that is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ade_hpc.metrics.detect_case import Case, finding
from ade_hpc.metrics.detect_trace import Trace, trace
from ade_hpc.metrics.series import Series
from ade_hpc.metrics.smooth import coming_back, last_good, noise, running_median, start_level, trailing, wander
from ade_hpc.model import Finding, Severity


def nan(case: Case) -> Iterator[Finding]:
    """Non-finite values: of the objective or the trained loss where they last, a note anywhere else."""
    for series in case.curves.series.values():
        bad = ~np.isfinite(series.values)
        if not bad.any():
            continue
        run = trailing(bad)
        first = len(bad) - run if run else int(np.argmax(bad))
        severity: Severity = "intervene" if _nan_matters(case, series, run) else "note"
        yield finding(
            "nan",
            series,
            first,
            int(np.flatnonzero(bad)[-1]),
            severity,
            _nan_onset(case, series, first),
            value=float(series.values[first]),
            non_finite=int(bad.sum()),
            points=len(bad),
            last_finite=float(series.values[first - 1]) if first else None,
        )


def _nan_matters(case: Case, series: Series, run: int) -> bool:
    limits, ever_finite = case.limits, run < len(series)
    if case.target_series is series:
        if _losses_end_nan(case):
            return run >= (1 if ever_finite else limits.nan_run)
        return run >= (limits.nan_run if ever_finite and not case.by_return else limits.nan_alone)
    if series not in (case.training_loss, case.validation_loss) or run < limits.nan_run:
        return False
    if case.goal is None or not len(case.goal.since(onset := float(series.wall_times[-run]))):
        return not case.by_return and run >= limits.nan_loss_run
    return lost_since(case, case.goal, onset)


def _losses_end_nan(case: Case) -> bool:
    """Does a trained loss other than the objective end in NaN as well?"""
    losses = (case.training_loss, case.validation_loss)
    runs = [trailing(~np.isfinite(s.values)) for s in losses if s is not None and s is not case.target_series]
    return any(run >= case.limits.nan_run for run in runs)


def _nan_onset(case: Case, series: Series, first: int) -> float:
    """Where the blow-up that ended in NaN began, as the training loss tells: a checkpoint after that is poisoned."""
    times = [float(series.wall_times[first])]
    for witness in (series, case.training_loss):
        direction = case.direction(witness.tag) if witness is not None else None
        before = trace(witness, direction) if direction else None
        if before is not None and len(cost := before.until(times[0])):
            times.append(float(before.times[last_good(cost)]))
    return min(times)


def lost_since(case: Case, goal: Trace, time: float) -> bool:
    """Has the objective lost most of its gain since ``time``, or had it gained nothing and still has not?

    What had gained nothing may be a return, which takes off late, or a resumed run, which has gained it before: the
    one can't lose anything yet, the other has to be clearly worse than it was.
    """
    before, after, limits = goal.until(time), goal.since(time), case.limits
    best = float(running_median(before, 3).min()) if len(before) else float(goal.cost[0])
    gain = start_level(before) - best if len(before) else 0.0
    if gain > limits.gain_wanders * wander(before):
        last, patience = (len(after) // 2, limits.lost_return_points) if case.by_return else (3, 1)
        return len(after) >= patience and float(np.median(after[-last:])) >= best + limits.lost_gain * gain
    margin = 3 * noise(before) + limits.lost_resumed * goal.scale if case.resumed else -noise(before)
    return not case.by_return and len(after) >= 3 and float(np.median(after[-3:])) >= best + margin


@dataclass(frozen=True, eq=False)
class _Rise:
    """A loss that rose above ``limit`` and has not been back at its start from ``first`` to its end.

    receded: it is below that limit again. returning: it falls so fast that it will soon be. at_once: it rose within its
    very first points, so that only the first of all says where it began; such a point may be a stray, and a second loss
    has to agree.
    """

    curve: Trace
    first: int
    limit: float
    returning: bool
    at_once: bool
    receded: bool = False

    @property
    def points(self) -> int:
        return len(self.curve) - self.first

    @property
    def time(self) -> float:
        return float(self.curve.times[self.first])

    @property
    def height(self) -> float:
        """The median of the risen part as a multiple of the start."""
        return float(np.median(self.curve.cost[self.first :])) / max(abs(self.curve.start), 1e-12)


def diverging(case: Case) -> Iterator[Finding]:
    """A loss far above where it began, for long, and not on its way back."""
    rises = {
        tag: rise
        for tag, series in case.curves.series.items()
        if case.direction(tag) == "min" and (rise := _rise(case, series)) is not None
    }
    for rise in rises.values():
        curve, matters = rise.curve, _rise_matters(case, rise, rises)
        if not matters and (_learns_by_heart(case, rise) or _only_a_term(case, rise)):
            continue
        began = last_good(curve.cost[: rise.first]) if rise.first else 0
        yield finding(
            "diverging",
            curve,
            began,
            len(curve) - 1,
            "intervene" if matters else "note",
            float(curve.times[began]),
            start=curve.start,
            best=curve.best,
            now=curve.end,
            limit=rise.limit,
            points=rise.points,
            **case.witnesses(),
        )


def _rise(case: Case, series: Series) -> _Rise | None:
    """Where the loss rose above its limit to stay there; None where it did not."""
    curve = trace(series, "min")
    if curve is None or len(curve) < 4:
        return None
    smooth, first, limits = running_median(curve.cost, 3), float(curve.cost[0]), case.limits
    at_once = 0 < limits.diverging_blind_factor * first < curve.start
    margin = (limits.diverging_factor - 1) * abs(curve.start)
    least = limits.diverging_blind_factor * first if at_once else curve.start + margin
    limit = _above_noise(curve, least, trailing(smooth > least))
    run = trailing(smooth > limit)
    if run >= 3:
        return _Rise(curve, len(curve) - run, limit, coming_back(curve.cost[-run:], limit), at_once)
    run = trailing(smooth > (first if at_once else curve.start))
    limit = _above_noise(curve, least, run)
    lasts = run >= limits.diverging_points and float(np.quantile(curve.cost[-run:], 0.75)) > limit
    return _Rise(curve, len(curve) - run, limit, True, at_once, receded=True) if lasts else None


def _above_noise(curve: Trace, least: float, run: int) -> float:
    """``least``, or as much more as the curve did by chance before its last ``run`` points."""
    before = curve.cost[: len(curve) - run]
    return max(least, curve.start + 10 * noise(before)) if len(before) else least


def _rise_matters(case: Case, rise: _Rise, rises: Mapping[str, _Rise]) -> bool:
    limits, tag = case.limits, rise.curve.tag
    trained = [s.tag for s in (case.training_loss, case.validation_loss) if s is not None]
    agreed = tag in trained and sum(t in rises for t in trained) == 2
    lasts = agreed or (rise.points >= limits.diverging_points and not rise.at_once)
    if rise.receded or _learns_by_heart(case, rise):
        return False
    if case.target_series is not None and tag == case.target_series.tag:
        return lasts and not rise.returning
    if tag not in trained or case.by_return:
        return False
    if case.goal is not None and len(case.goal.since(rise.time)):
        return lasts and lost_since(case, case.goal, rise.time)
    long = rise.points >= limits.diverging_blind_points and not rise.returning
    return long and lasts and rise.height >= limits.diverging_blind_factor


def _learns_by_heart(case: Case, rise: _Rise) -> bool:
    """Has the training loss fallen since the held-out one rose? That is overfitting, however far it goes."""
    held_out, train = case.validation_loss, case.training
    if held_out is None or train is None or rise.curve.tag != held_out.tag or train.tag == held_out.tag:
        return False
    before, after = train.until(rise.time)[-5:], train.since(rise.time)
    return len(before) > 0 and len(after) >= 3 and float(np.median(after)) < float(np.median(before))


def _only_a_term(case: Case, rise: _Rise) -> bool:
    """Is it one term of a loss, or an adversary's, beside an objective that is no worse? Such losses may grow."""
    if case.roles[rise.curve.tag].main or case.goal is None:
        return False
    before, after = case.goal.until(rise.time)[-5:], case.goal.since(rise.time)[-5:]
    if not len(before) or not len(after):
        return len(after) > 0
    return float(np.median(after)) <= float(np.median(before)) + 3 * case.goal.noise


def spike(case: Case) -> Iterator[Finding]:
    """One short jump away from its neighbours, and back: of the objective or a trained loss. Always a note."""
    for series in (case.training_loss, case.validation_loss, case.target_series):
        direction = case.direction(series.tag) if series is not None else None
        curve = trace(series, direction) if direction else None
        if curve is None or case.by_return or case.cyclic or len(curve) < 20:
            continue
        top = _spike(case, curve)
        if top is not None:
            level = float(running_median(curve.cost, 11)[top])
            onset = float(curve.times[max(top - 1, 0)])
            height = curve.value(float(curve.cost[top]))
            yield finding("spike", curve, top, top, "note", onset, height=height, level=curve.value(level))
            return


def _spike(case: Case, curve: Trace) -> int | None:
    """Index of the highest point that stands out, not within the first tenth of the run; None where none does."""
    limits = case.limits
    over = curve.cost - running_median(curve.cost, 11)
    over[: max(10, len(over) // 10)] = 0
    over[-3:] = 0  # whether it comes back is not known yet
    top = int(np.argmax(over))
    near = over[max(0, top - 60) : top + 61].copy()
    centre = min(top, 60)
    near[max(0, centre - 5) : centre + 6] = 0
    least = max(limits.spike_noises * curve.noise, limits.spike_neighbours * float(near.max()))
    if over[top] <= max(least, limits.spike_gain * abs(curve.gain), 0.0):
        return None
    before = float(np.median(curve.cost[max(0, top - 10) : top]))
    return top if curve.end <= before + max(limits.spike_back * abs(curve.gain), 3 * curve.noise) else None
