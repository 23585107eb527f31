# SPDX-License-Identifier: Apache-2.0
"""What to draw: which tags deserve a panel, and which few points show a million honestly. Pure; knows no matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ade_hpc.metrics.objective import role
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Finding

Array = NDArray[np.float64]

_FAMILIES = ("loss", "score", "return", "rate", "gradient", "update", "dead", "")
_LOG_FAMILIES = ("loss", "rate", "gradient", "update")
_LOG_RATIO = 50.0
_FLAT_RATIO = 1000.0
# No single-precision number is larger; what is would overflow the arithmetic of the axes, and is drawn as an infinity.
_BEYOND = 1e100


@dataclass(frozen=True, eq=False)
class Run:
    """One attempt or start, as it is drawn.

    label: what people call it ("attempt 2"). resumed_at: the step of the checkpoint it began from, or None.
    """

    label: str
    curves: Curves
    resumed_at: int | None = None


@dataclass(frozen=True, eq=False)
class Outline:
    """A series reduced for drawing; x is in steps, all of shape (m,) or, for raw, (2m,) zigzagging min and max.

    Non-finite values are gaps in the lines; where they lie is in ``nan``, ``high`` (+inf) and ``low`` (-inf).
    last: the last value as it was logged.
    """

    raw_x: Array
    raw: Array
    smooth_x: Array
    smooth: Array
    nan: Array
    high: Array
    low: Array
    last: float


class Scale(NamedTuple):
    """The scale of a panel's values; ``symlog`` is linear below ``linear_below`` and logarithmic above."""

    kind: Literal["linear", "log", "symlog"]
    linear_below: float = 0.0


def choose(runs: Sequence[Run], objective: str | None, findings: Sequence[Finding], limit: int = 6) -> list[str]:
    """The tags that deserve a panel, most relevant first: the objective, what is wrong, then losses and scores."""
    logged = {tag for run in runs for tag, series in run.curves.series.items() if len(series)}
    wrong = {finding.tag for finding in findings if finding.severity == "intervene"}
    noted = {finding.tag for finding in findings}

    def relevance(tag: str) -> tuple[bool, bool, bool, bool, int, int, str]:
        said = role(tag)
        held_out = {"val": 0, "test": 1}.get(said.split, 2)
        return (tag != objective, tag not in wrong, tag not in noted, not said.main,
                _FAMILIES.index(said.family), held_out, tag)  # fmt: skip

    return sorted(logged, key=relevance)[:limit]


def outline(series: Series, width: int) -> Outline:
    """``series`` (not empty) in ``width`` columns at the most, each with its lowest and highest: no spike is lost."""
    values = np.where(np.abs(series.values) <= _BEYOND, series.values, np.nan)
    values[np.abs(values) < 1 / _BEYOND] = 0.0
    steps = series.steps.astype(np.float64)
    raw_x, raw = (steps, values) if len(steps) <= 2 * width else _zigzag(steps, values, width)
    centres, typical = _columns(steps, values, width)
    return Outline(
        raw_x,
        raw,
        centres,
        _smoothed(typical),
        _thinned(steps[np.isnan(series.values)], width),
        _thinned(steps[series.values > _BEYOND], width),
        _thinned(steps[series.values < -_BEYOND], width),
        float(series.values[-1]),
    )


def scale(tag: str, values: Array) -> Scale:
    """The scale that shows most: logarithmic for positive kinds that span decades, linear where it does no harm."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Scale("linear")
    sizes = np.abs(finite)
    if finite.min() > 0 and role(tag).family in _LOG_FAMILIES and sizes.max() / sizes.min() > _LOG_RATIO:
        return Scale("log")
    typical = float(np.median(sizes))
    if typical > 0 and sizes.max() / typical > _FLAT_RATIO:
        return Scale("symlog", typical)  # one far value would press all others flat
    return Scale("linear")


def _grouped(array: Array, width: int) -> Array:
    """``array`` as rows of equal length, the last one filled up with NaN. Shape (<= width, k)."""
    size = -(-len(array) // width)
    rows = -(-len(array) // size)
    filled = np.full(rows * size, np.nan)
    filled[: len(array)] = array
    return filled.reshape(rows, size)


def _zigzag(steps: Array, values: Array, width: int) -> tuple[Array, Array]:
    x, y = _grouped(steps, width), _grouped(values, width)
    pair = np.stack([np.fmin.reduce(y, axis=1), np.fmax.reduce(y, axis=1)], axis=1)
    # the middle of a column stands for both, so that the lines between columns stay short
    return np.repeat(np.nanmean(x, axis=1), 2), pair.reshape(-1)


def _columns(steps: Array, values: Array, width: int) -> tuple[Array, Array]:
    if len(steps) <= width:
        return steps, values
    x, y = _grouped(steps, width), _grouped(values, width)
    counts = np.maximum(np.isfinite(y).sum(axis=1), 1)
    typical = np.where(np.isfinite(y).any(axis=1), np.nansum(y, axis=1) / counts, np.nan)
    return np.nanmean(x, axis=1), typical


def _smoothed(values: Array) -> Array:
    """Centred running median over a twentieth of the curve, less towards its ends; gaps stay gaps."""
    half, count = len(values) // 40, len(values)
    if half < 1:
        return values
    result = np.full(count, np.nan)
    there = np.isfinite(values)
    windows = np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1)
    inner = there[half : count - half]
    result[half : count - half][inner] = np.nanmedian(windows[inner], axis=1)
    for near in range(half):
        # a whole window would pull the ends towards the middle; a single point would show noise as a last turn
        reach = max(near, half // 3)
        for at in (near, count - 1 - near):
            if there[at]:
                result[at] = np.nanmedian(values[max(at - reach, 0) : at + reach + 1])
    return result


def _thinned(steps: Array, width: int) -> Array:
    return steps if len(steps) <= width else steps[np.linspace(0, len(steps) - 1, width).astype(int)]
