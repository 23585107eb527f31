# SPDX-License-Identifier: Apache-2.0
"""diagnose and plot: for any TensorBoard folder, with nothing else set up."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

from ade_hpc.errors import AdeError, UsageError
from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.detect import diagnose as judge
from ade_hpc.metrics.detect import find
from ade_hpc.metrics.event_files import why
from ade_hpc.metrics.objective import guess
from ade_hpc.metrics.panels import Run
from ade_hpc.metrics.series import Curves
from ade_hpc.metrics.text import printable
from ade_hpc.spec.preference_fields import Objective


def diagnose(logdir: Path, objective: str | None, until_step: int | None, *, as_json: bool) -> None:
    curves = _until(_read(logdir), until_step)
    answer = judge(curves, parse_objective(objective))
    print(json.dumps(answer) if as_json else _words(answer, _logged(curves, until_step)))


def plot(logdir: Path, output: Path, objective: str | None) -> None:
    from ade_hpc.metrics.plot import draw  # matplotlib: a diagnosis needs none

    _check_output(output)
    curves = _read(logdir)
    wanted = parse_objective(objective) or guess(curves)
    name = logdir.resolve().name
    try:
        tags = draw(
            [Run(name, curves)],
            output,
            objective=wanted.tag if wanted else None,
            findings=find(curves, wanted),
            title=name,
        )
    except OSError as error:
        raise AdeError(f"{output}: can't be written ({why(error)}); give -o a file in a folder of yours") from None
    print(f"{output}: {', '.join(printable(tag) for tag in tags)}")


def _check_output(output: Path) -> None:
    """A plot replaces its file, which must not be a device, say /dev/null, or a folder. Raises UsageError."""
    if output.suffix.lower() != ".png":
        raise UsageError(f"{output}: a plot is a PNG; give -o a name that ends in .png")
    try:
        regular = stat.S_ISREG(os.stat(output).st_mode)
    except OSError:
        return  # not there yet, or not writable either: then writing says so
    if not regular:
        raise UsageError(f"{output}: is there already and no regular file; give -o another name")


def _read(logdir: Path) -> Curves:
    """Raises AdeError where there is nothing to read."""
    if not os.path.isdir(logdir) and not os.path.isfile(logdir):
        raise UsageError(f"{logdir}: is no folder; give the folder that TensorBoard would be pointed at")
    curves = collect([logdir], None)
    if not curves.series:
        why = f" ({printable(curves.notes[0], 300)})" if curves.notes else ""
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
    """The curves as they were when ``step`` was the last that had been logged.

    A tag that counts epochs beside others that count steps is cut by the clock: its twentieth value is no prefix.
    """
    if step is None:
        return curves
    last = {tag: int(series.steps[-1]) for tag, series in curves.series.items()}
    finest = curves.series[max(last, key=lambda tag: last[tag])]
    later = finest.wall_times[finest.steps > step]
    cut = {}
    for tag, series in curves.series.items():
        keep = series.steps <= step
        if len(later) and 2 * last[tag] < last[finest.tag]:
            keep &= series.wall_times < later[0]
        cut[tag] = replace(
            series, steps=series.steps[keep], wall_times=series.wall_times[keep], values=series.values[keep]
        )
    return replace(curves, series=cut)


def _words(answer: dict[str, Any], logged: str) -> str:
    wanted = answer["objective"]
    lines = [f"verdict: {answer['verdict']}"]
    if wanted:
        guessed = " (guessed; say --objective TAG:max or TAG:min)" if wanted.get("guessed") else ""
        lines.append(f"objective: {printable(wanted['tag'])}, {wanted['goal']}{guessed}")
    if answer["verdict"] == "insufficient":
        lines.append(f"too little to judge: {_too_little(wanted, logged)}")
    for one in answer["findings"]:
        evidence = ", ".join(f"{key} {value}" for key, value in one["evidence"].items())
        where = f"{printable(one['tag'])}, steps {one['first_step']} to {one['last_step']}"
        lines.append(f"{one['severity']}: {one['kind']} in {where}{f' ({evidence})' if evidence else ''}")
    return "\n".join([*lines, *(f"note: {printable(note, 300)}" for note in answer["notes"])])


def _logged(curves: Curves, until_step: int | None) -> str:
    """What there is, in words: a few tags, or that there is no step so early."""
    tags = [printable(tag) for tag, series in curves.series.items() if len(series)]
    more = f" and {len(tags) - 8} more" if len(tags) > 8 else ""
    return f"which holds {', '.join(tags[:8])}{more}" if tags else f"which has no step up to {until_step}"


def _too_little(wanted: dict[str, Any] | None, logged: str) -> str:
    """Why there is no verdict, and what would help."""
    if wanted is None:
        return f"no tag tells what counts in this log, {logged}; say --objective TAG:max or TAG:min"
    if not wanted["points"]:
        return f"{printable(wanted['tag'])} is not in this log, {logged}"
    return f"the objective has {wanted['points']} values so far"
