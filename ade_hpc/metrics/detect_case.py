# SPDX-License-Identifier: Apache-2.0
"""The case before the detectors: curves, objective, thresholds, and the witnesses that tag names give away.

``Trace`` is one series without its non-finite points and turned so that lower is better, whatever its direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ade_hpc.metrics.detect_thresholds import Thresholds
from ade_hpc.metrics.objective import Direction, Objective, Role, Split, role
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.metrics.smooth import Array, bin_edges, bin_medians, end_level, noise, running_median, start_level, wander
from ade_hpc.model import Finding, Scalar, Severity

BINS = 200  # a curve of any length is judged by so many medians


@dataclass(frozen=True, eq=False)
class Trace:
    """The finite points of one series. All arrays have shape (n,), n >= 1; lower ``cost`` is better.

    sign: turns a cost back into the value that was logged. weight: how many logged points stand behind one point.
    origin: the level of the logged curve at its start, where these points are medians that have smoothed it away.
    """

    tag: str
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    cost: Array
    sign: float = 1.0
    weight: float = 1.0
    origin: float | None = None

    def __len__(self) -> int:
        return len(self.cost)

    def value(self, cost: float) -> float:
        """A cost in the units in which the trainer logged it."""
        return self.sign * cost

    def since(self, time: float) -> Array:
        """The costs that were logged after ``time`` (POSIX seconds), shape (m,), m >= 0."""
        return self.cost[self.times > time]

    def until(self, time: float) -> Array:
        """The costs that were logged up to ``time``, shape (m,), m >= 0."""
        return self.cost[self.times <= time]

    @cached_property
    def smooth(self) -> Array:
        return running_median(self.cost, 5 if len(self) >= 25 else 3)

    @cached_property
    def noise(self) -> float:
        return noise(self.cost)

    @cached_property
    def wander(self) -> float:
        return wander(self.cost)

    @cached_property
    def start(self) -> float:
        return start_level(self.cost) if self.origin is None else self.origin

    @property
    def points(self) -> int:
        """How many points were logged."""
        return round(len(self) * self.weight)

    @cached_property
    def end(self) -> float:
        return end_level(self.cost)

    @cached_property
    def best(self) -> float:
        """The lowest level; not the lowest point, which may be luck."""
        return float(self.smooth.min())

    @property
    def gain(self) -> float:
        return self.start - self.best

    @property
    def range(self) -> float:
        """The highest that a score can be: 1, or 100 per cent."""
        return 100.0 if float(np.abs(self.cost).max()) > 1 else 1.0

    @property
    def scale(self) -> float:
        """What there is to win: the start of a loss, the room above the start of a score."""
        return abs(self.start) if self.sign > 0 else abs(self.range + self.start)

    def condensed(self, bins: int = BINS) -> Trace:
        """The same curve in at most ``bins`` medians, each dated by its last point."""
        if len(self) <= bins:
            return self
        edges = bin_edges(len(self), bins)
        last, weight = edges[1:] - 1, len(self) / bins
        medians = bin_medians(self.cost, edges)
        return Trace(self.tag, self.steps[last], self.times[last], medians, self.sign, weight, self.start)


def trace(series: Series | None, goal: Direction) -> Trace | None:
    """``series`` as a Trace, or None where it has no finite point; losses of 1e30 stay, NaN and infinities go."""
    finite = np.isfinite(series.values) if series is not None else np.zeros(0, dtype=bool)
    if series is None or not finite.any():
        return None
    sign = -1.0 if goal == "max" else 1.0
    return Trace(series.tag, series.steps[finite], series.wall_times[finite], sign * series.values[finite], sign)


@dataclass(frozen=True, eq=False)
class Case:
    """Everything a detector may look at. ``objective`` is None where nobody said and no tag name told."""

    curves: Curves
    objective: Objective | None
    limits: Thresholds

    @cached_property
    def roles(self) -> dict[str, Role]:
        return {tag: role(tag) for tag in self.curves.series}

    def direction(self, tag: str) -> Direction | None:
        """The good direction of ``tag``: the objective's own word first, then its name."""
        if self.objective and self.objective.tag == tag:
            return self.objective.goal
        return self.roles[tag].goal

    @cached_property
    def target_series(self) -> Series | None:
        """The objective as logged, or None where its tag never appeared."""
        return self.curves.series.get(self.objective.tag) if self.objective else None

    @cached_property
    def goal(self) -> Trace | None:
        """The objective's finite points, or None where there are none."""
        return trace(self.target_series, self.objective.goal) if self.objective else None

    @cached_property
    def course(self) -> Trace | None:
        """The objective condensed, where there is enough of it to judge how it learns."""
        enough = self.goal is not None and len(self.goal) >= self.limits.judge_points
        return self.goal.condensed() if self.goal is not None and enough else None

    @cached_property
    def by_return(self) -> bool:
        """Is this reinforcement learning? Then losses say little: a critic's grows because the returns do."""
        return any(said.family == "return" for said in self.roles.values())

    @cached_property
    def resumed(self) -> bool:
        """Does the log begin in the middle of a run? Then its start is not that of an untrained model."""
        steps = self.goal.steps if self.goal is not None else np.zeros(0)
        return len(steps) > 1 and int(steps[0]) > 2 * max(1, int(np.median(np.diff(steps))))

    @property
    def held_out(self) -> bool:
        """Is the objective measured on data of its own? A training loss has the noise of its batches."""
        return self.objective is not None and role(self.objective.tag).split in ("val", "test")

    @cached_property
    def cyclic(self) -> bool:
        """Does the learning rate rise again after it fell? Then the schedule throws the curves back, by design."""
        rate = self.witness("rate")
        if rate is None:
            return False
        after_top = np.where(np.arange(len(rate)) >= int(np.argmax(rate.cost)), rate.cost, np.inf)
        return bool((rate.cost > 2 * np.minimum.accumulate(after_top)).any())

    @property
    def by_epoch(self) -> bool:
        """Is the training loss logged as often as a held-out objective? Then each of its points is an epoch's mean."""
        if not self.held_out or self.goal is None or self.training_loss is None:
            return False
        return len(self.training_loss) <= 2 * len(self.goal)

    def main_loss(self, *splits: Split) -> Series | None:
        """The loss that is trained, measured on one of ``splits``: the one with most points, else None."""
        found = [
            series
            for tag, series in self.curves.series.items()
            if self.roles[tag].family == "loss" and self.roles[tag].main and self.roles[tag].split in splits
        ]
        return max(found, key=len, default=None)

    @cached_property
    def training_loss(self) -> Series | None:
        return self.main_loss("train", "")

    @cached_property
    def validation_loss(self) -> Series | None:
        return self.main_loss("val", "test")

    @cached_property
    def losses(self) -> list[Trace]:
        """The losses that tell how a run learns, best witness first: objective, held-out, trained."""
        named = [self.validation_loss, self.training_loss]
        if self.target_series is not None and self.direction(self.target_series.tag) == "min":
            named = [self.target_series, *(s for s in named if s is not self.target_series)]
        return [found for s in named if (found := trace(s, "min")) is not None]

    @cached_property
    def held_out_score(self) -> Trace | None:
        """The score that was measured on data of its own, if any, the one with most points."""
        named = [self.curves.series[tag] for tag, said in self.roles.items() if said.family == "score" and said.main]
        held_out = [series for series in named if self.roles[series.tag].split in ("val", "test")]
        return trace(max(held_out, key=len, default=None), "max")

    @cached_property
    def training(self) -> Trace | None:
        """The training loss, condensed."""
        found = trace(self.training_loss, "min")
        return found.condensed() if found else None

    @cached_property
    def validation(self) -> Trace | None:
        """The validation loss, condensed."""
        found = trace(self.validation_loss, "min")
        return found.condensed() if found else None

    def witness(self, family: str) -> Trace | None:
        """What a trainer may log of its health: ``gradient``, ``dead``, ``update``, ``rate``; else None."""
        found = [series for tag, series in self.curves.series.items() if self.roles[tag].family == family]
        return trace(max(found, key=len, default=None), "min")

    def witnesses(self) -> dict[str, Scalar]:
        """The present level of each witness that was logged, as evidence."""
        names = {"gradient": "grad_norm", "dead": "dead_fraction", "update": "update_ratio", "rate": "lr"}
        return {name: found.end for family, name in names.items() if (found := self.witness(family))}


def finding(
    kind: str,
    series: Series | Trace,
    first: int,
    last: int,
    severity: Severity,
    onset: float | None,
    **evidence: Scalar,
) -> Finding:
    """A Finding on ``series`` between two indices; its evidence is strict JSON, numbers to six digits."""
    safe = {name: _six_digits(json_safe(value)) for name, value in evidence.items()}
    return Finding(kind, series.tag, int(series.steps[first]), int(series.steps[last]), severity, onset, safe)


def json_safe(value: Scalar) -> Scalar:
    """JSON has no NaN and no infinity: they become the words ``nan``, ``inf`` and ``-inf``; numpy scalars Python's."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if np.isfinite(value) else str(float(value))


def _six_digits(value: Scalar) -> Scalar:
    return float(f"{value:.6g}") if isinstance(value, float) else value


Judge: TypeAlias = Callable[[Case], Iterable[Finding]]


@dataclass(frozen=True)
class Detector:
    """One kind of trouble and the pure function that looks for it."""

    kind: str
    judge: Judge
