# SPDX-License-Identifier: Apache-2.0
"""One panel of learning curves as inline SVG: its colours are the page's own, so it follows light and dark.

Points and scales are those of ``metrics.panels``, as in the PNG plots. Titles are HTML, so that they stay readable at
400 pixels.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ade_hpc.metrics.panels import Outline, Run, outline, scale
from ade_hpc.metrics.text import printable

Array = NDArray[np.float64]

WIDTH, HEIGHT = 460, 232
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 32, 24  # above the curves there is room for two rows of words
OFF_SCALE = {"linear": math.inf, "log": 1000.0, "symlog": 10.0}  # times what is typical


@dataclass(frozen=True)
class Line:
    """A level or a moment to mark: ``at`` in values (target) or steps (finding, change).

    below: on which side of a level its text stands.
    """

    kind: str
    at: float
    text: str = ""
    below: bool = False


@dataclass(frozen=True)
class Axes:
    """From steps and values to the picture; low and high are logarithms where ``log``."""

    first: float
    last: float
    low: float
    high: float
    log: bool

    def x(self, steps: Array) -> Array:
        return LEFT + (steps - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, values: Array) -> Array:
        return HEIGHT - BOTTOM - np.clip(self._share(values), -0.02, 1.02) * (HEIGHT - TOP - BOTTOM)

    def shows(self, values: Array) -> NDArray[np.bool_]:
        """Which are on the scale, or the first beyond it: a line runs off the edge, not along it."""
        share = self._share(values)
        inside = np.pad((share >= -0.02) & (share <= 1.02), 1)
        return np.isfinite(values) & (inside[1:-1] | inside[:-2] | inside[2:])

    def _share(self, values: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return ((np.log10(values) if self.log else values) - self.low) / (self.high - self.low)


def panel(tag: str, runs: Sequence[Run], lines: Sequence[Line], width: int) -> str:
    """The SVG of one tag. runs: oldest first. width: how many columns a curve is reduced to."""
    drawn = [
        (len(runs) - 1 - number, outline(run.curves.series[tag], width))
        for number, run in enumerate(runs)
        if tag in run.curves.series and len(run.curves.series[tag])
    ]
    axes = _axes(tag, [shape for _, shape in drawn], [line.at for line in lines if line.kind == "target"])
    body = [
        *_grid(axes),
        *(mark for line in _named_once(lines) if line.kind == "finding" for mark in _line(axes, line)),
        *(curve for age, shape in drawn for curve in _curve(axes, shape, age)),
        *(mark for line in lines if line.kind != "finding" for mark in _line(axes, line)),
    ]
    label = html.escape(printable(tag))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Curve of {label}">{"".join(body)}</svg>'


def _named_once(lines: Sequence[Line]) -> list[Line]:
    """Attempts that fail alike are marked each, and named once."""
    texts = [line.text for line in lines]
    return [replace(line, text="" if line.text in texts[:number] else line.text) for number, line in enumerate(lines)]


def _axes(tag: str, shapes: Sequence[Outline], levels: Sequence[float]) -> Axes:
    values = np.concatenate([shape.raw[np.isfinite(shape.raw)] for shape in shapes] or [np.zeros(0)])
    steps = np.concatenate([shape.raw_x[np.isfinite(shape.raw_x)] for shape in shapes] or [np.zeros(0)])
    kind = scale(tag, values).kind
    starts = [shape.raw[np.isfinite(shape.raw)][:1] for shape in shapes]
    values = np.concatenate([_on_scale(values, OFF_SCALE[kind]), *starts])
    log = kind == "log"
    values = np.concatenate([values, [level for level in levels if not log or level > 0]])
    if not len(values):
        values = np.array([1.0 if log else 0.0])
    low, high = float(values.min()), float(values.max())
    if log:
        low, high = math.log10(low), math.log10(high)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    first, last = (float(steps.min()), float(steps.max())) if len(steps) else (0.0, 1.0)
    return Axes(first, last if last > first else first + 1, low - room, high + room, log)


def _on_scale(values: Array, most: float) -> Array:
    """Without what is so far from all else that it would press the rest flat; there the line runs off the edge."""
    typical = float(np.median(np.abs(values))) if len(values) else 0.0
    return values[np.abs(values) <= typical * most] if typical > 0 else values


def _curve(axes: Axes, shape: Outline, age: int) -> Iterable[str]:
    """The newest run in full, older ones fainter; what is not a number lies on the lower edge."""
    style = ("new", "before", "old")[min(age, 2)]
    if age == 0 and not np.array_equal(shape.raw, shape.smooth, equal_nan=True):
        yield from _polyline(axes, shape.raw_x, shape.raw, f"raw {style}")
    yield from _polyline(axes, shape.smooth_x, shape.smooth, f"run {style}")
    if len(shape.nan):
        x = float(axes.x(shape.nan[:1])[0])
        yield f'<text class="alarm" x="{x:.1f}" y="{HEIGHT - BOTTOM - 5}">✕ NaN</text>'


def _polyline(axes: Axes, steps: Array, values: Array, style: str) -> Iterable[str]:
    """One line for each stretch without gaps; a lonely point becomes a dot."""
    there = np.flatnonzero(axes.shows(values) & np.isfinite(steps))
    if not len(there):
        return
    x, y = axes.x(steps), axes.y(values)
    for part in np.split(there, np.flatnonzero(np.diff(there) > 1) + 1):
        if len(part) == 1:
            yield f'<circle class="{style}" cx="{x[part[0]]:.1f}" cy="{y[part[0]]:.1f}" r="2"/>'
        else:
            points = " ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in part)
            yield f'<polyline class="{style}" points="{points}"/>'


def _line(axes: Axes, line: Line) -> Iterable[str]:
    text = html.escape(printable(line.text, 40))
    if line.kind == "target":
        if axes.log and line.at <= 0:
            return
        y = float(axes.y(np.array([line.at]))[0])
        yield f'<line class="target" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        y += 14 if line.below else -5
        yield f'<text class="target" text-anchor="end" x="{WIDTH - RIGHT}" y="{y:.1f}">{text}</text>'
        return
    if not axes.first <= line.at <= axes.last:
        return
    x = float(axes.x(np.array([float(line.at)]))[0])
    right = x > WIDTH * 0.68
    yield f'<line class="{line.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{HEIGHT - BOTTOM}"/>'
    yield (
        f'<text class="{line.kind}" x="{x + (-4 if right else 4):.1f}" '
        f'y="{11 if line.kind == "finding" else 25}" text-anchor="{"end" if right else "start"}">{text}</text>'
    )


def _grid(axes: Axes) -> Iterable[str]:
    bottom = HEIGHT - BOTTOM
    for value in _decades(axes) if axes.log else _nice(axes.low, axes.high, 4):
        y = float(axes.y(np.array([value]))[0])
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{_short(value)}</text>'
    for step in _nice(axes.first, axes.last, 5):
        x = float(axes.x(np.array([step]))[0])
        yield f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{_short(step)}</text>'
    yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'


def _nice(low: float, high: float, count: int) -> list[float]:
    """About so many round numbers between low and high."""
    span = high - low
    base = 10.0 ** math.floor(math.log10(span / count))
    step = next((base * factor for factor in (1, 2, 5) if span / (base * factor) <= count), base * 10)
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _decades(axes: Axes) -> list[float]:
    """Powers of ten, every so many; where less than one fits, round numbers."""
    first, last = math.ceil(axes.low), math.floor(axes.high)
    if last - first < 1:
        return [value for value in _nice(10**axes.low, 10**axes.high, 4) if value > 0]
    every = math.ceil((last - first + 1) / 5)
    return [10.0**power for power in range(first, last + 1, every)]


def _short(value: float) -> str:
    """``12000`` is ``12k``; no more digits than a label has room for."""
    if value == 0:
        return "0"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < size * 1000:
            return f"{value / size:.4g}{unit}"
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
