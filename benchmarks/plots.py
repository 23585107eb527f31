# SPDX-License-Identifier: Apache-2.0
"""How fast curves are drawn, and how large the picture is, beside every point given to matplotlib as it is.

Six panels, 800x600, every measurement in a process of its own, imports not counted; the best of several. The last line
is ``{"points", "seconds", "vs_plain", "peak_mb", "plain_peak_mb", "kb"}`` for the most points; ``vs_plain`` is the time
of the plain drawing over ours.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measuring import best, machine, report, table, timed

if TYPE_CHECKING:
    from ade_hpc.metrics.series import Curves

_TAGS = ("loss/train", "loss/val", "accuracy/val", "lr", "grad_norm", "update_ratio")
_SIZES = (1_000, 100_000, 1_000_000)
_REPEATS = 5


def _curves(points: int) -> Curves:
    import numpy as np

    from ade_hpc.metrics.series import Curves, Series

    rng, steps = np.random.default_rng(0), np.arange(-(-points // len(_TAGS)))
    trend = np.exp(-5 * steps / len(steps)) + 0.01
    noisy = {tag: trend * rng.lognormal(sigma=0.3, size=len(steps)) for tag in _TAGS}
    return Curves({tag: Series(tag, steps, steps * 1.0, values) for tag, values in noisy.items()})


def ours(points: int) -> None:
    """``metrics.plot.draw``: raw envelope, smoothed line, palette."""
    from ade_hpc.metrics.panels import Run
    from ade_hpc.metrics.plot import draw

    curves = _curves(points)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        times = [timed(lambda: draw([Run("run", curves)], path, objective="accuracy/val"))[0] for _ in range(_REPEATS)]
        report(min(times), kb=round(path.stat().st_size / 1000))


def plain(points: int) -> None:
    """The same panels with every point in the line, matplotlib's tight layout, full colour."""
    from matplotlib.figure import Figure

    curves = _curves(points)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"

        def draw() -> None:
            figure = Figure(figsize=(8, 6), dpi=100, layout="tight")
            for number, (tag, series) in enumerate(curves.series.items()):
                axes = figure.add_subplot(3, 2, number + 1, title=tag, yscale="log")
                axes.plot(series.steps, series.values)
            figure.savefig(path)

        report(min(timed(draw)[0] for _ in range(_REPEATS)), kb=round(path.stat().st_size / 1000))


def main() -> None:
    """Measure both at every size."""
    parser = argparse.ArgumentParser(prog="scripts/bench plots", description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=_SIZES, help="points in all six panels together")
    options = parser.parse_args()
    rows, last = [], {}
    for points in sorted(options.points):
        for name in ("ours", "plain"):
            last[name] = best("benchmarks.plots", "--child", name, points, times=2) or {}
            found = last[name]
            rows.append([f"{points:,}", name, f"{found['seconds']:.3f}", found["peak_mb"], found["kb"]])
    print(machine())
    print(table(["points", "drawn", "s", "peak MB", "kB"], rows))
    mine, other = last["ours"], last["plain"]
    summary = {"points": max(options.points), "seconds": round(mine["seconds"], 3),
               "vs_plain": round(other["seconds"] / mine["seconds"], 1), "peak_mb": mine["peak_mb"],
               "plain_peak_mb": other["peak_mb"], "kb": mine["kb"]}  # fmt: skip
    print(json.dumps(summary))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        {"ours": ours, "plain": plain}[sys.argv[2]](int(sys.argv[3]))
    else:
        main()
