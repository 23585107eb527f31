# SPDX-License-Identifier: Apache-2.0
"""Draw learning curves for people and for a model that looks at them: a few panels, readable at 800x600 and in grey.

The newest run is the darkest line and earlier ones fade, so that their order survives a black-and-white printer. Raw
values lie light under the smoothed line. What is not a finite number is marked on the edge of its panel.
"""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator
from PIL import Image

from ade_hpc.metrics.panels import Outline, Run, Scale, choose, outline, scale
from ade_hpc.metrics.text import printable
from ade_hpc.model import Finding

_DPI = 100
_NEWEST, _PREVIOUS, _OLDER = "#0b3c6f", "#d9782d", "#b4b4b4"
_ALARM, _NOTE, _INK, _FAINT = "#b00020", "#555555", "#222222", "#e6e6e6"
_GRIDS = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2), 5: (3, 2), 6: (3, 2)}
_GAPS = {1: 0.0, 2: 0.25, 3: 0.47}
_MARKS = 24  # marks of one kind on an edge; more would be a bar
_SMALL, _TEXT, _HEAD = 7.5, 8.5, 11.0  # points
_GROUND = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.4}
_LABEL: dict[str, Any] = {"fontsize": _SMALL, "va": "bottom", "parse_math": False, "zorder": 7, "bbox": _GROUND}


def draw(
    runs: Sequence[Run],
    path: Path,
    *,
    objective: str | None = None,
    findings: Sequence[Finding] = (),
    thresholds: Mapping[str, float] | None = None,
    title: str = "",
    size: tuple[int, int] = (800, 600),
) -> list[str]:
    """Draw ``runs`` (oldest first) into one PNG of ``size`` pixels, written atomically; returns the tags drawn.

    objective: the tag that decides; it comes first and is marked. thresholds: a level to draw, by tag.
    findings: drawn where they happen, in the panel of their tag. Raises ``OSError`` where ``path`` can't be written.
    """
    tags = choose(runs, objective, findings)
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # the user's own style is made for papers, and would break the layout
        warnings.simplefilter("ignore")  # a tag in a script that the font lacks is drawn as boxes, no more
        figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI)
        rows, columns = _GRIDS[max(len(tags), 1)]
        figure.subplots_adjust(left=0.075, right=0.98, top=0.875, bottom=0.055, hspace=_GAPS[rows], wspace=0.17)
        for number, tag in enumerate(tags):
            axes = figure.add_subplot(rows, columns, number + 1)
            drawn = _lines(axes, tag, runs, (thresholds or {}).get(tag), size[0] // columns)
            _findings(axes, [finding for finding in findings if finding.tag == tag])
            _dress(axes, _heading(tag, objective, columns), drawn, first=number == 0)
        _caption(figure, runs, tags, title)
        _save(figure, path, size)
    return tags


class _Drawn:
    """A run in one panel. ``age``: 0 for the newest run."""

    def __init__(self, run: Run, shape: Outline, age: int, *, resumed: bool) -> None:
        self.run, self.shape, self.age, self.resumed = run, shape, age, resumed
        self.colour = (_NEWEST, _PREVIOUS, _OLDER)[min(age, 2)]


def _lines(axes: Axes, tag: str, runs: Sequence[Run], threshold: float | None, width: int) -> list[_Drawn]:
    drawn = [
        _Drawn(run, outline(run.curves.series[tag], width), len(runs) - 1 - number, resumed=number > 0)
        for number, run in enumerate(runs)
        if tag in run.curves.series and len(run.curves.series[tag])
    ]
    level = [threshold] if threshold is not None and abs(threshold) < 1e100 else []
    _scaled(axes, scale(tag, np.concatenate([*(one.shape.raw for one in drawn), level])))
    for one in drawn:
        _curve(axes, one)
    _not_finite(axes, [one.shape for one in drawn])
    for value in level:
        axes.axhline(value, color=_INK, linewidth=0.9, linestyle=(0, (5, 3)), zorder=2)
        axes.annotate(f"{value:.4g}", (1.0, value), (-3, 1.5), xycoords=axes.get_yaxis_transform(),
                      textcoords="offset points", ha="right", color=_INK, **_LABEL)  # fmt: skip
    axes.margins(x=0.02, y=0.12)
    if not any(np.isfinite(one.shape.raw).any() for one in drawn):
        axes.set_yticks([])
    return drawn


def _scaled(axes: Axes, wanted: Scale) -> None:
    if wanted.kind == "linear":
        return
    axes.set_yscale(wanted.kind, **({"linthresh": wanted.linear_below} if wanted.kind == "symlog" else {}))
    axes.yaxis.set_major_formatter("{x:g}")  # powers of ten as mathematics take longer than all the rest
    axes.yaxis.set_minor_locator(NullLocator())


def _curve(axes: Axes, one: _Drawn) -> None:
    shape, front = one.shape, 4 - 0.1 * one.age
    axes.plot(shape.raw_x, shape.raw, color=one.colour, alpha=0.3, linewidth=0.7, zorder=front - 1)
    axes.plot(shape.smooth_x, shape.smooth, color=one.colour, linewidth=1.2 if one.age else 1.7, zorder=front)
    there = np.isfinite(shape.smooth)
    around = np.pad(there, 1)
    alone = there & ~(around[:-2] | around[2:]) if there.sum() > 12 else there  # a line shows no point between gaps
    axes.plot(shape.smooth_x[alone], shape.smooth[alone], "o", color=one.colour, markersize=3, zorder=front)


def _not_finite(axes: Axes, shapes: Sequence[Outline]) -> None:
    """NaN as crosses on the lower edge, infinities as arrows on the edge towards which they went."""
    for number, (name, mark, edge, dy) in enumerate(
        (("NaN", "x", 0.045, 5), ("inf", "^", 0.955, -13), ("-inf", "v", 0.045, 5))
    ):
        many = np.concatenate([(shape.nan, shape.high, shape.low)[number] for shape in shapes])
        if len(many):
            some = many[np.linspace(0, len(many) - 1, min(len(many), _MARKS)).astype(int)]
            axes.plot(some, np.full(len(some), edge), mark, color=_ALARM, markersize=4.5,
                      transform=axes.get_xaxis_transform(), zorder=6, clip_on=False)  # fmt: skip
            _label(axes, name, xy=(float(some[0]), edge), colour=_ALARM, dy=dy)


def _findings(axes: Axes, findings: Sequence[Finding]) -> None:
    """A line where it began, a shade for as long as it lasted; the names one below the other, that none is hidden.

    What lasted one step gets a short line at the top: a long one would hide it.
    """
    for row, finding in enumerate(sorted(findings, key=lambda finding: finding.first_step)):
        colour, weight, dash = (_ALARM, 1.3, "-") if finding.severity == "intervene" else (_NOTE, 0.9, (0, (4, 3)))
        axes.axvspan(finding.first_step, finding.last_step, color=colour, alpha=0.07, linewidth=0, zorder=0)
        foot = 0.9 if finding.first_step == finding.last_step else 0.0
        axes.axvline(finding.first_step, foot, color=colour, linewidth=weight, linestyle=dash, zorder=5)
        text = f"{printable(finding.kind, 20)} at {finding.first_step}"
        _label(axes, text, xy=(finding.first_step, max(0.86 - 0.14 * row, 0.1)), colour=colour)


def _label(axes: Axes, text: str, *, xy: tuple[float, float], colour: str = _INK, dy: float = 1.5) -> None:
    """Text beside a mark at step x and at fraction y of the panel's height, on the side where there is room."""
    low, high = axes.get_xlim()
    left = xy[0] > low + 0.7 * (high - low)
    axes.annotate(text, xy, (-3 if left else 3, dy), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                  ha="right" if left else "left", color=colour, **_LABEL)  # fmt: skip


def _dress(axes: Axes, heading: str, drawn: Sequence[_Drawn], *, first: bool) -> None:
    axes.set_title(heading, loc="left", y=1.0, fontsize=9, fontweight="bold", pad=4, parse_math=False)
    axes.set_title(f"last {drawn[-1].shape.last:.4g}", loc="right", y=1.0, fontsize=8, color=_NOTE, pad=4)
    for one in drawn:
        if one.resumed:
            _resumption(axes, one, named=first)
    low, high = axes.get_xlim()
    if high - low < 1:  # a single step: no fractions of it on the axis
        axes.set_xlim(low - 1, high + 1)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.tick_params(labelsize=_SMALL, length=2, colors=_INK)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _heading(tag: str, objective: str | None, columns: int) -> str:
    """The tag, shortened in its middle: long tags differ at their ends."""
    mark = " (objective)" if tag == objective else ""
    name, room = printable(tag, 300), 60 // columns - len(mark)
    if len(name) > room:
        name = f"{name[: room // 3]}\N{HORIZONTAL ELLIPSIS}{name[room // 3 + 1 - room :]}"
    return (name or "(no name)") + mark


def _resumption(axes: Axes, one: _Drawn, *, named: bool) -> None:
    """Where a later run takes over: at its checkpoint if the panel counts in the same unit, else at its first point."""
    first, at = float(one.shape.raw_x[0]), one.run.resumed_at
    x = float(at) if at is not None and 0.5 * first <= at <= first else first
    axes.axvline(x, color=_INK, linewidth=0.8, linestyle=":", zorder=2)
    if named:
        number = printable(one.run.label, 16).rpartition(" ")[2]
        axes.annotate(number, (x, 0.0), (2, 1.5), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                      color=_INK, **_LABEL)  # fmt: skip


def _caption(figure: Figure, runs: Sequence[Run], tags: Sequence[str], title: str) -> None:
    figure.text(0.012, 0.96, printable(title, 48), fontsize=_HEAD, fontweight="bold", parse_math=False)
    if not tags:
        figure.text(0.5, 0.5, "no scalars yet", ha="center", fontsize=12, color=_NOTE)
    if len(runs) < 2:
        return
    styles = [(run.label, colour) for run, colour in zip(runs[::-1], (_NEWEST, _PREVIOUS), strict=False)]
    if len(runs) > 2:
        styles.append((f"{len(runs) - 2} earlier" if len(runs) > 3 else runs[0].label, _OLDER))
    handles = [Line2D([], [], color=colour, linewidth=2) for _, colour in styles[::-1]]
    labels = [printable(label, 20) for label, _ in styles[::-1]]
    legend = figure.legend(handles, labels, loc="upper right", ncols=len(labels), frameon=False, fontsize=_TEXT,
                           bbox_to_anchor=(0.99, 1.0), handlelength=1.4, columnspacing=1.2)  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _save(figure: Figure, path: Path, size: tuple[int, int]) -> None:
    """Lines on white need no more than a palette, which makes the file a third of its size."""
    pixels = BytesIO()
    figure.savefig(pixels, format="rgba", dpi=_DPI)
    full = Image.frombytes("RGBA", size, pixels.getvalue()).convert("RGB")
    image = full.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(unfinished, "xb") as file:
            image.save(file, "PNG")
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
