# SPDX-License-Identifier: Apache-2.0
"""Robust statistics of one curve: medians instead of means, because one bad batch must not decide anything.

Every function is pure and takes finite one-dimensional float arrays of shape (n,), n >= 1.
"""

from __future__ import annotations

from bisect import insort

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def running_median(values: Array, width: int) -> Array:
    """Centred running median of odd ``width``; at the ends the window shrinks (to three), so that shape (n,) stays.

    A single outlier never survives a width of 3, two in a row never one of 5.
    """
    half = min(width // 2, (len(values) - 1) // 2)
    if half < 1:
        return values.copy()
    smooth = values.copy()
    if half == 1:  # the common case, forty times faster
        a, b, c = values[:-2], values[1:-1], values[2:]
        smooth[1:-1] = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    else:
        windows = np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1)
        smooth[half : len(values) - half] = np.median(windows, axis=1)
    smooth[:half] = _end_medians(values[: 2 * half + 1])
    smooth[-half:] = _end_medians(values[: -2 * half - 2 : -1])[::-1]
    return smooth


def _end_medians(values: Array) -> list[float]:
    """The medians of the first half + 1, half + 2, ... 2 half of 2 half + 1 values; of three where half is 1."""
    half = len(values) // 2
    ordered, medians = sorted(values[: max(half, 2)].tolist()), []
    for value in values[max(half, 2) : 2 * half + (half == 1)].tolist():
        insort(ordered, value)
        medians.append((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)
    return medians


def bin_edges(n: int, bins: int) -> NDArray[np.intp]:
    """Where ``bins`` bins of nearly equal size begin and end in n points: shape (min(n, bins) + 1,)."""
    return np.linspace(0, n, min(n, bins) + 1).astype(np.intp)


def bin_medians(values: Array, edges: NDArray[np.intp]) -> Array:
    """The median of each bin, shape (len(edges) - 1,): a long curve in few points, without its outliers."""
    if len(edges) == len(values) + 1:
        return values
    sizes, medians = np.diff(edges), np.empty(len(edges) - 1)
    for size in np.unique(sizes):  # there are at most two
        which = sizes == size
        medians[which] = np.median(values[edges[:-1][which][:, None] + np.arange(size)], axis=1)
    return medians


def noise(values: Array) -> float:
    """Standard deviation of the point-to-point noise, blind to trend and to outliers.

    Median absolute first difference, scaled for a Gaussian (1.4826 / sqrt 2); 0.0 for fewer than three points.
    """
    if len(values) < 3:
        return 0.0
    return float(1.0484 * np.median(np.abs(np.diff(values))))


def wander(values: Array) -> float:
    """Standard deviation of what the curve does around its own slow course: noise, and swings shorter than a third.

    Greater than ``noise`` where neighbours resemble each other, as in a return averaged over the last episodes.
    """
    if len(values) < 3:
        return 0.0
    rest = values - running_median(values, len(values) // 3 | 1)
    return max(noise(values), 1.4826 * float(np.median(np.abs(rest))))


def start_level(values: Array) -> float:
    """Where the curve began, lower being better: a median of its first points, or the very first if that is worse.

    A first point much better than the next ones is an expert's or an outlier; a worse one is the untrained state.
    """
    return max(float(values[0]), float(np.median(values[: 5 if len(values) >= 15 else 3])))


def start_error(values: Array) -> float:
    """Standard error of the median of the first five points, from the noise of the whole curve."""
    return 0.56 * noise(values)


def end_level(values: Array) -> float:
    """Where the curve is: the median of its last points, five of them where there are enough."""
    return float(np.median(values[-5 if len(values) >= 15 else -3 :]))


def detrended(values: Array) -> Array:
    """``values`` without the straight line through them, shape (n,); n >= 2."""
    x = np.arange(len(values)) - (len(values) - 1) / 2
    slope = float(x @ values / (x @ x))
    rest: Array = values - values.mean() - slope * x
    return rest


def trailing(flags: NDArray[np.bool_]) -> int:
    """How many True stand at the end of ``flags``."""
    false = np.flatnonzero(~flags)
    return len(flags) - 1 - int(false[-1]) if len(false) else len(flags)


def reversals(values: Array, least: float) -> int:
    """How often the curve turns round after having gone up or down by ``least``."""
    turns, rising, low, high = 0, None, float(values[0]), float(values[0])
    for value in values.tolist():
        low, high = min(low, value), max(high, value)
        if rising is not False and high - value >= least:
            turns, rising, low = turns + (rising is True), False, value
        elif rising is not True and value - low >= least:
            turns, rising, high = turns + (rising is False), True, value
    return turns


def last_good(values: Array) -> int:
    """Index of the last point that was still near the lowest level before the curve rose.

    "Near" is four times the noise or a tenth of what had been learned. The curve is one where lower is better; use it
    to find where trouble began, which is earlier than where it could be seen.
    """
    smooth = running_median(values, 3)
    best = float(smooth.min())
    slack = max(4 * noise(values), 0.1 * (start_level(values) - best))
    return int(np.flatnonzero(smooth <= best + slack)[-1])


def coming_back(tail: Array, limit: float) -> bool:
    """Will a tail that lies above ``limit`` be under it within its own length again, if it goes on as it does?

    Falls are extrapolated by the medians of the two halves: by their ratio where the tail is positive and far above
    (an initial blow-up decays geometrically), else by their difference.
    """
    half = len(tail) // 2
    early, late = float(np.median(tail[: len(tail) - half])), float(np.median(tail[len(tail) - half :]))
    if late >= early:
        return False
    ahead = late * (late / early) ** 2 if late > 0 and limit > 0 else late - 2 * (early - late)
    return ahead < limit
