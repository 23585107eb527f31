# SPDX-License-Identifier: Apache-2.0
"""``python -m curves_lab.record FOLDER``: one seed of each recipe as compact JSON, for tests that can't train.

Only what a diagnosis reads is kept: objective, losses, scores and the learning rate. Steps and times (tenths of a
second) are differences, values have five digits: a run is some five kilobytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.objective import role
from ade_hpc.metrics.series import Curves, Series
from curves_lab.__main__ import build, default_folder

KEPT = ("loss", "score", "return", "rate")
MOST_POINTS = 1000  # of one run: longer ones are left to the laboratory itself


def read(folder: Path) -> Curves:
    """The curves of one run; its starts, where it was resumed, lie in numbered folders."""
    starts = sorted(path for path in folder.iterdir() if path.name.isdigit())
    return collect(starts or [folder])


def packed(series: Series) -> dict[str, list[Any]]:
    """As ``unpacked`` takes it; a value that is no number is a word."""
    tenths = np.round(10 * (series.wall_times - series.wall_times[0])).astype(int)
    values = [float(f"{v:.5g}") if np.isfinite(v) else str(v) for v in series.values]
    first = [int(series.steps[0]), float(series.wall_times[0])]
    return {"first": first, "steps": _deltas(series.steps), "tenths": _deltas(tenths), "values": values}


def _deltas(numbers: np.ndarray) -> list[Any]:
    """Differences; a single number where they are all the same."""
    steps = [int(step) for step in np.diff(numbers)]
    return steps[:1] if len(set(steps)) == 1 else steps


def unpacked(tag: str, data: dict[str, list[Any]]) -> Series:
    """What ``packed`` made, to five digits."""
    values = np.array([float(value) for value in data["values"]])

    def sums(deltas: list[int]) -> np.ndarray:
        every = deltas * (len(values) - 1) if len(deltas) == 1 else deltas
        return np.concatenate([[0], np.cumsum(every)]).astype(np.int64)

    step, time = data["first"]
    return Series(tag, step + sums(data["steps"]), time + sums(data["tenths"]) / 10, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    out = parser.parse_args().folder
    out.mkdir(parents=True, exist_ok=True)
    for run in build(default_folder(), quick=True):
        curves = read(default_folder() / str(run["path"]))
        kept = {tag: s for tag, s in curves.series.items() if role(tag).family in KEPT}
        if sum(map(len, kept.values())) <= MOST_POINTS:
            about = {key: run[key] for key in ("split", "label", "tag", "goal", "target", "allowed")}
            text = json.dumps(about | {"series": {tag: packed(s) for tag, s in kept.items()}}, separators=(",", ":"))
            (out / f"{run['run']}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
