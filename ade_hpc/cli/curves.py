# SPDX-License-Identifier: Apache-2.0
"""diagnose and plot: for any TensorBoard folder, with nothing else set up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ade_hpc.errors import AdeError, UsageError
from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.detect import diagnose as judge
from ade_hpc.metrics.detect import find
from ade_hpc.metrics.objective import guess
from ade_hpc.metrics.panels import Run
from ade_hpc.metrics.plot import draw
from ade_hpc.metrics.series import Curves
from ade_hpc.metrics.text import printable
from ade_hpc.spec.preference_fields import Objective


def diagnose(logdir: Path, objective: str | None, until_step: int | None, *, as_json: bool) -> None:
    answer = judge(_until(_read(logdir), until_step), parse_objective(objective))
    print(json.dumps(answer) if as_json else _words(answer))


def plot(logdir: Path, output: Path, objective: str | None) -> None:
    curves = _read(logdir)
    wanted = parse_objective(objective) or guess(curves)
    target = wanted.target if wanted else None
    tags = draw(
        [Run(logdir.resolve().name, curves)],
        output,
        objective=wanted.tag if wanted else None,
        findings=find(curves, wanted),
        thresholds={wanted.tag: target} if wanted and target is not None else {},
        title=logdir.resolve().name,
    )
    print(f"{output}: {', '.join(printable(tag) for tag in tags)}")


def _read(logdir: Path) -> Curves:
    """Raises AdeError where there is nothing to read."""
    if not logdir.is_dir():
        raise UsageError(f"{logdir}: is no folder; give the folder that TensorBoard would be pointed at")
    curves = collect([logdir], None)
    if not curves.series:
        why = f" ({curves.notes[0]})" if curves.notes else ""
        raise AdeError(
            f"{logdir}: holds no scalars in TensorBoard event files{why}; give the one that TensorBoard is pointed at"
        )
    return curves


def parse_objective(objective: str | None) -> Objective | None:
    """``TAG:max`` or ``TAG:min``; tags may hold colons, so the last one counts."""
    if objective is None:
        return None
    tag, _, goal = objective.rpartition(":")
    if goal == "max" and tag:
        return Objective(tag=tag, goal="max")
    if goal == "min" and tag:
        return Objective(tag=tag, goal="min")
    raise UsageError(f"--objective {objective!r}: write TAG:max or TAG:min, for example accuracy/val:max")


def _until(curves: Curves, step: int | None) -> Curves:
    """The curves as they were when ``step`` was the last that had been logged."""
    if step is None:
        return curves
    cut = {}
    for tag, series in curves.series.items():
        keep = series.steps <= step
        cut[tag] = replace(
            series, steps=series.steps[keep], wall_times=series.wall_times[keep], values=series.values[keep]
        )
    return replace(curves, series=cut)


def _words(answer: dict[str, Any]) -> str:
    wanted = answer["objective"]
    lines = [f"verdict: {answer['verdict']}"]
    if wanted:
        guessed = " (guessed; say --objective TAG:max or TAG:min)" if wanted.get("guessed") else ""
        lines.append(f"objective: {printable(wanted['tag'])}, {wanted['goal']}{guessed}")
    for one in answer["findings"]:
        evidence = ", ".join(f"{key} {value}" for key, value in one["evidence"].items())
        where = f"{printable(one['tag'])}, steps {one['first_step']} to {one['last_step']}"
        lines.append(f"{one['severity']}: {one['kind']} in {where}{f' ({evidence})' if evidence else ''}")
    return "\n".join([*lines, *(f"note: {printable(note, 300)}" for note in answer["notes"])])
