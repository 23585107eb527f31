# SPDX-License-Identifier: Apache-2.0
"""One series as the detectors look at it: without its non-finite points, and turned so that lower is better."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ade_hpc.metrics.objective import Direction
from ade_hpc.metrics.series import Series
from ade_hpc.metrics.smooth import Array, bin_edges, bin_medians, end_level, noise, running_median, start_level, wander

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
        if bins not in self._condensed:
            edges = bin_edges(len(self), bins)
            last, weight = edges[1:] - 1, self.weight * len(self) / bins
            medians = bin_medians(self.cost, edges)
            self._condensed[bins] = Trace(
                self.tag, self.steps[last], self.times[last], medians, self.sign, weight, self.start
            )
        return self._condensed[bins]

    @cached_property
    def _condensed(self) -> dict[int, Trace]:
        return {}


def trace(series: Series | None, goal: Direction) -> Trace | None:
    """``series`` as a Trace, or None where it has no finite point; losses of 1e30 stay, NaN and infinities go."""
    finite = np.isfinite(series.values) if series is not None else np.zeros(0, dtype=bool)
    if series is None or not finite.any():
        return None
    sign = -1.0 if goal == "max" else 1.0
    return Trace(series.tag, series.steps[finite], series.wall_times[finite], sign * series.values[finite], sign)
