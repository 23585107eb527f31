# SPDX-License-Identifier: Apache-2.0
"""Curves as a model can take them in: a few lines of numbers, and a picture."""

from __future__ import annotations

import numpy as np

from ade_hpc.agent.situation import Situation
from ade_hpc.metrics.panels import Run, choose
from ade_hpc.metrics.series import Series
from ade_hpc.metrics.text import printable

TAGS_SHOWN = 6
POINTS_SHOWN = 8
TAGS_LISTED = 30


def relevant_tags(situation: Situation, limit: int = TAGS_SHOWN) -> list[str]:
    """The tags worth showing, most relevant first: those that the preferences name, then as for a plot."""
    preferences, curves = situation.preferences, situation.snapshot.curves
    objective = preferences.objective.tag if preferences.objective else None
    named = [objective, *(metric.tag for metric in preferences.metrics)]
    drawn = choose([Run("", curves)], objective, situation.findings, limit)
    wanted = [tag for tag in named if tag is not None and tag in curves.series]
    return list(dict.fromkeys([*wanted, *drawn]))[:limit]


def digest(situation: Situation, tags: list[str]) -> str:
    """One line a tag; what is not there is said, with what is."""
    series = situation.snapshot.curves.series
    lines = [_line(series[tag]) for tag in tags if tag in series]
    if len(lines) < len(tags) or not lines:
        known = ", ".join(printable(tag, 60) for tag in list(series)[:TAGS_LISTED])
        lines.append(f"there are these tags: {known or 'none yet'}")
    return "\n".join(lines)


def draw_picture(situation: Situation) -> list[str]:
    """Draw the curves into the situation's PNG; returns the tags drawn."""
    from ade_hpc.metrics.plot import draw

    preferences, snapshot = situation.preferences, situation.snapshot
    objective = preferences.objective
    levels = {metric.tag: metric.threshold for metric in preferences.metrics if metric.threshold is not None}
    if objective is not None and objective.target is not None:
        levels[objective.tag] = objective.target
    return draw(
        [Run(f"attempt {snapshot.attempt}", snapshot.curves)],
        situation.picture,
        objective=objective.tag if objective else None,
        findings=situation.findings,
        thresholds=levels,
        title=snapshot.experiment,
    )


def _line(series: Series) -> str:
    values, steps = series.values, series.steps
    name = printable(series.tag, 60)
    finite = np.isfinite(values)
    if not finite.any():
        return f"{name}: {len(values)} points, none of them a finite number"
    low, high = np.where(finite, values, np.inf).argmin(), np.where(finite, values, -np.inf).argmax()
    chosen = np.unique(np.linspace(0, len(values) - 1, POINTS_SHOWN).astype(int))
    shown = " ".join(f"{steps[index]}:{values[index]:.4g}" for index in chosen)
    missing = f", {int((~finite).sum())} not finite" if not finite.all() else ""
    return (
        f"{name}: {len(values)} points{missing}, min {values[low]:.4g} at step {steps[low]}, "
        f"max {values[high]:.4g} at step {steps[high]}; step:value {shown}"
    )
