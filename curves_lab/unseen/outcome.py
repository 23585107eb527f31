# SPDX-License-Identifier: Apache-2.0
"""By which outcome a run of the test split was admitted: ``python -m curves_lab.unseen.outcome [--out DIR]``.

One plain criterion for each kind, which takes nothing from the detectors and knows what they don't: how good a healthy
run gets (``good``), and the whole run to its end. A run must show the kind of its label, and no other but those that
its recipe allows; a recipe whose runs did not was mended or dropped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ade_hpc.metrics.series import Series
from curves_lab.__main__ import build, default_folder
from curves_lab.recipe import Recipe
from curves_lab.record import read
from curves_lab.unseen.book import BOOK, TRAINERS

TRAINED = {trainer.names.train_loss.replace(":", "/") for trainer in TRAINERS}
HELD_OUT = {trainer.names.val_loss.replace(":", "/") for trainer in TRAINERS}
Floats = np.ndarray


@dataclass(frozen=True)
class Outcome:
    """What is looked at. signed: the objective, upwards is better. trained, held_out: losses, perhaps empty.

    goal: ``good``, signed as well. gap_s: the longest silence of the log.
    """

    signed: Floats
    trained: Floats
    held_out: Floats
    goal: float
    gap_s: float
    tuned: bool  # no returns: a trained loss must agree


def outcome(recipe: Recipe, series: Mapping[str, Series]) -> Outcome:
    """The outcome of one run; ``series`` by tag, with ``values`` and ``wall_times``."""

    def values(tags: set[str]) -> Floats:
        return next((np.asarray(one.values) for tag, one in series.items() if tag in tags), np.zeros(0))

    sign = 1.0 if recipe.goal == "max" else -1.0
    times = np.unique(np.concatenate([one.wall_times for one in series.values()]))
    trained = values(TRAINED)
    return Outcome(
        sign * values({recipe.tag.replace(":", "/")}), trained, values(HELD_OUT), sign * recipe.good,
        float(np.diff(times).max()), bool(len(trained)),
    )  # fmt: skip


def smooth(values: Floats, share: float = 0.05) -> Floats:
    """Medians over a window of a share of the run; what is not finite left out."""
    values = values[np.isfinite(values)]
    half = max(1, int(share * len(values) / 2))
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def start(values: Floats) -> float:
    """The level at which an untrained model begins; of single batches, the middle of three."""
    values = values[np.isfinite(values)]
    return float(np.median(values[:3]) if len(values) > 200 else values[0])


def end(values: Floats, share: float = 0.1) -> float:
    """The level of the last tenth, of five values at least."""
    values = values[np.isfinite(values)]
    return float(np.median(values[-max(5, int(share * len(values))) :]))


def nan(run: Outcome) -> bool:
    """The objective or the trained loss is not finite at its end."""
    return any(len(v) > 0 and not np.isfinite(v[-3:]).any() for v in (run.signed, run.trained))


def diverging(run: Outcome) -> bool:
    """A loss ends above three times its start, and not below a fifth of where it was a tenth of the run before."""
    losses = [v for v in (run.trained, run.held_out) if np.isfinite(v).sum() > 20]
    return any(end(v) > 3 * start(v) > 0 and end(v) > 0.2 * end(v[: -len(v) // 10]) for v in losses)


def overfitting(run: Outcome) -> bool:
    """The held-out loss ends a quarter above its lowest level, the trained loss a fifth below its own at that time.

    A twentieth of all that it fell is the least: what a quarter of next to nothing is means little.
    """
    if len(run.held_out) < 6 or len(run.trained) < 6:
        return False
    held_out, trained = smooth(run.held_out), smooth(run.trained)
    if not len(held_out) or not len(trained):
        return False
    lowest = held_out.argmin() / len(held_out)
    then = float(trained[int(lowest * len(trained))])
    least = held_out.min()
    rise = max(0.25 * abs(least), 0.05 * (start(run.held_out) - least))
    return end(run.held_out) > least + rise and end(run.trained) < 0.8 * then


def collapse(run: Outcome) -> bool:
    """Six tenths of the objective's gain, and half of the trained loss's, are lost over the last sixth of the run."""

    def lost(signed: Floats, share: float) -> bool:
        level = smooth(signed)
        gain = level.max() - start(signed)
        last = signed[np.isfinite(signed)][-max(5, len(signed) // 6) :]
        return bool(np.median(last) < level.max() - share * gain and np.quantile(last, 0.9) < level.max() - 0.3 * gain)

    clear = smooth(run.signed).max() - start(run.signed) > 0.3 * (run.goal - start(run.signed))
    return bool(clear and lost(run.signed, 0.6) and (not run.tuned or lost(-run.trained, 0.5)))


def oscillating(run: Outcome) -> bool:
    """In its second half the objective swings over 0.3 of its gain, to and fro, with no trend; the trained loss too.

    What is logged more than two hundred times is smoothed before: the noise of batches is no swing.
    """

    def calmed(signed: Floats) -> Floats:
        return smooth(signed, 0.02) if len(signed) > 200 else signed[np.isfinite(signed)]

    def swings(signed: Floats) -> bool:
        signed = calmed(signed)
        half = signed[len(signed) // 2 :]
        gain = np.quantile(signed, 0.98) - start(signed)
        width = np.quantile(half, 0.95) - np.quantile(half, 0.05)
        middle = (np.quantile(half, 0.95) + np.quantile(half, 0.05)) / 2
        turns = int((np.diff(half > middle) != 0).sum())
        drift = abs(np.median(half[len(half) // 2 :]) - np.median(half[: len(half) // 2]))
        return bool(width > 0.3 * abs(gain) and turns >= 4 and drift < 0.4 * width)

    learned = np.quantile(calmed(run.signed), 0.98) - start(run.signed) > 0.25 * (run.goal - start(run.signed))
    return bool(learned and swings(run.signed) and (not run.tuned or swings(-run.trained)))


def never_learns(run: Outcome) -> bool:
    """The objective never gains a fifth of what a healthy run does, and the trained loss not a tenth."""
    if len(run.signed) < 10:
        return False
    gained = smooth(run.signed, 0.1).max() - start(run.signed)
    flat = not run.tuned or end(run.trained) > 0.9 * np.median(run.trained[: max(5, len(run.trained) // 20)])
    return bool(gained < 0.2 * (run.goal - start(run.signed)) and flat and not diverging(run))


def slow(run: Outcome) -> bool:
    """A loss ends between 0.7 and 0.985 of its start, a third of that came in the second half, and the goal is far."""

    def creeps(loss: Floats) -> bool:
        if len(loss) < 10 or not np.isfinite(loss).all():
            return False
        loss = smooth(loss, 0.15)
        first, middle, last = loss[0], loss[len(loss) // 2], loss[-1]
        return bool(0.7 < last / first < 0.985 and (middle - last) > 0.33 * (first - last))

    return (creeps(run.trained) or creeps(run.held_out)) and end(run.signed) < run.goal


def plateau(run: Outcome) -> bool:
    """Gained a third of the way to the goal, and stands still: a tenth at most came in the last third.

    Short of the goal by a twelfth of the way, or for a loss at 1.4 of the goal.
    """
    level = smooth(run.signed, 0.15)
    if len(level) < 10 or not np.isfinite(run.signed).all():
        return False
    way, gained = run.goal - start(run.signed), level[-1] - start(run.signed)
    late = np.median(level[-len(level) // 6 :]) - np.median(level[len(level) // 2 : 2 * len(level) // 3])
    wide = np.quantile(run.signed[len(level) // 2 :], 0.95) - np.quantile(run.signed[len(level) // 2 :], 0.05)
    short = gained < 0.92 * way or level[-1] < 1.4 * run.goal < 0
    return bool(0.33 * way < gained and short and abs(late) < 0.1 * gained and wide < 0.3 * gained)


def spike(run: Outcome) -> bool:
    """A loss jumps by a third of all it has gained and six times its usual stir, once, and is back within a tenth."""

    def jumped(values: Floats) -> bool:
        values = values[np.isfinite(values)]
        if len(values) < 20:
            return False
        level, window = smooth(values), max(3, len(values) // 10)
        above = values - level
        above[: len(values) // 10] = 0
        at = int(above.argmax())
        stir, gain = np.quantile(abs(above), 0.9), start(values) - level.min()
        others = np.concatenate([above[: max(0, at - window // 2)], above[at + window // 2 :]])
        alone = above[at] > 2 * others.max() and gain > 0.1 * abs(start(values))
        after = values[at + window // 2 : at + 3 * window // 2]
        before = values[max(0, at - window) : at]
        calm = np.median(after) < np.median(before) + 0.15 * gain if len(after) > 2 else False
        return bool(alone and above[at] > max(4 * stir, 0.33 * gain) and calm)

    return jumped(run.trained) or jumped(run.held_out) or jumped(-run.signed)


def stalled(run: Outcome) -> bool:
    """Nothing is logged for half an hour."""
    return run.gap_s >= 1800


CRITERIA = {
    "nan": nan, "diverging": diverging, "overfitting": overfitting, "collapse": collapse, "oscillating": oscillating,
    "never-learns": never_learns, "slow": slow, "plateau": plateau, "spike": spike, "stalled": stalled,
}  # fmt: skip


def shown(run: Outcome) -> set[str]:
    """The kinds whose criterion the run meets; what follows from the gravest trouble is left out."""
    if nan(run):
        return {"nan"} | ({"stalled"} if stalled(run) else set())
    found = {kind for kind, met in CRITERIA.items() if met(run)}
    lost = found & {"diverging", "collapse"}
    if "diverging" in found:
        found.discard("overfitting")
    return found - {"oscillating", "spike", "never-learns", "plateau", "slow"} if lost else found


def main() -> int:
    """Say of each run what it shows, where that is not what its recipe says; how many runs are as they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=default_folder(), help="default: %(default)s")
    out = parser.parse_args().out
    rows = [row for row in build(out) if row["split"] == BOOK.split]
    odd = 0
    for row in rows:
        recipe = BOOK.recipes[str(row["run"]).rpartition("-")[0]]
        series = read(out / str(row["path"])).series
        found, wanted = shown(outcome(recipe, series)), {recipe.label} - {"healthy"}
        reached = recipe.as_labelled(list(series[recipe.tag.replace(":", "/")].values))
        if found - recipe.allowed != wanted or not reached:
            odd += 1
            print(f"{row['run']}: {recipe.label}, shows {' '.join(sorted(found)) or 'nothing'}, {reached=}")
    print(f"{len(rows) - odd} of {len(rows)} runs show what their recipes say")
    return min(odd, 1)


if __name__ == "__main__":
    sys.exit(main())
