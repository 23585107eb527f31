# SPDX-License-Identifier: Apache-2.0
"""How well the detectors judge the labelled laboratory, beside SageMaker Debugger's and AutoTrainer's default rules.

Macro-F1 over the kinds of a split, interventions on runs that need none (at the end, and at any prefix), and how many
steps after the fault a run is called failing. The last line is ``{"macro_f1", "false_interventions",
"false_interventions_at_any_prefix", "unharmed", "missed", "harmed", "delays", "sagemaker_f1", "sagemaker_false",
"autotrainer_f1", "autotrainer_false"}`` for the last split; delays are medians in steps, by kind.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ade_hpc.metrics.detect import find
from ade_hpc.metrics.objective import Guess
from ade_hpc.metrics.series import Curves, Series
from benchmarks.curves_rules import Rules, autotrainer, sagemaker
from benchmarks.curves_score import KINDS, Answer, Score, add, summary
from benchmarks.measuring import table
from curves_lab.__main__ import build, default_folder
from curves_lab.recipe import UNHARMED, Split, reaches
from curves_lab.record import read

# SageMaker's LossNotDecreasing and Overtraining, and AutoTrainer's slow convergence, are less specific than our kinds:
# they get the benefit of the doubt, and count as whichever of these the run really has.
VAGUE = {"never-learns", "plateau", "slow", "diverging", "collapse", "oscillating"}


def ours(curves: Curves, run: dict[str, Any]) -> Answer:
    """The detectors with the objective that the run's user would have named."""
    found = find(curves, Guess(run["tag"], run["goal"], run["target"]))
    return Answer(frozenset(f.kind for f in found if f.kind in KINDS), any(f.severity == "intervene" for f in found))


def theirs(rules: Rules, curves: Curves, run: dict[str, Any], finished: float) -> Answer:
    """A peer's rules, their vague kinds read in their favour."""
    fired = rules(curves, finished)
    if fired & VAGUE and run["label"] in VAGUE:
        fired = fired - VAGUE | {run["label"]}
    return Answer(fired, bool(fired))


def prefixes(curves: Curves, most: int) -> Iterator[tuple[float, Curves]]:
    """What a supervisor would have seen, moment by moment: (share of the run, curves); the whole run is the last."""
    times = np.unique(np.concatenate([s.wall_times for s in curves.series.values()]))
    every = times if len(times) <= most else times[np.linspace(0, len(times) - 1, most).astype(int)]
    for time in every:
        yield (time - times[0]) / max(times[-1] - times[0], 1e-9), _until(curves, float(time))


def _until(curves: Curves, time: float) -> Curves:
    cut = {}
    for tag, s in curves.series.items():
        seen = s.wall_times <= time
        if seen.any():
            cut[tag] = Series(tag, s.steps[seen], s.wall_times[seen], s.values[seen])
    return Curves(cut)


def last_step(curves: Curves) -> int:
    """The highest step of any tag: training steps, also where validation counts epochs."""
    return max(int(s.steps[-1]) for s in curves.series.values())


def judge(runs: Sequence[dict[str, Any]], folder: Path, most: int) -> tuple[dict[str, Score], list[str]]:
    """Every set of rules over ``runs``; and the names of runs that did not turn out as labelled."""
    scores = {"ours": Score(), "sagemaker": Score(), "autotrainer": Score()}
    left_out = []
    for run in runs:
        curves = read(folder / run["path"])
        values = list(curves.series[run["tag"]].values)
        if reaches(values, run["goal"], run["good"]) != (run["label"] in UNHARMED):
            left_out.append(run["run"])
            continue
        seen = [
            (
                last_step(part),
                {
                    "ours": ours(part, run),
                    "sagemaker": theirs(sagemaker, part, run, share),
                    "autotrainer": theirs(autotrainer, part, run, share),
                },
            )
            for share, part in prefixes(curves, most)
        ]
        for name, score in scores.items():
            add(score, run, [(step, answers[name]) for step, answers in seen])
    return scores, left_out


def show(split: str, scores: dict[str, Score], left_out: Sequence[str]) -> None:
    names = list(scores)
    print(f"\n{split} split: {scores['ours'].unharmed + scores['ours'].harmed} runs, not as labelled: {len(left_out)}")
    rows = [[key, *(summary(scores[name])[key] for name in names)] for key in summary(scores["ours"])]
    print(table([split, *names], rows), end="\n\n")
    score = scores["ours"]
    heads = ["ours by kind", "runs", "precision", "recall", "F1", "delay (steps)"]
    print(table(heads, [[kind, *score.row(kind)] for kind in KINDS]), end="\n\n")
    print(table(["is / named", *score.named], score.confusion()), end="\n\n")
    for title, runs in (("interventions on", score.false_prefix), ("no intervention on", score.silent)):
        if runs:
            print(f"{title}: {', '.join(runs)}")
    if left_out:
        print(f"not as labelled: {', '.join(left_out)}")


def main() -> None:
    """Train what is missing, judge and print split after split, end with the last as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=default_folder(), help="the laboratory (default: %(default)s)")
    parser.add_argument("--split", choices=get_args(Split), help="only this one")
    parser.add_argument("--prefixes", type=int, default=150, help="at most so many per run (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one seed of each recipe")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    runs = build(args.folder, args.quick)
    scores: dict[str, Score] = {}
    for split in [args.split] if args.split else dict.fromkeys(str(run["split"]) for run in runs):
        scores, left_out = judge([run for run in runs if run["split"] == split], args.folder, args.prefixes)
        show(split, scores, left_out)
    peers = {name: score for name, score in scores.items() if name != "ours"}
    figures = {f"{name}_f1": round(score.macro_f1, 3) for name, score in peers.items()}
    figures |= {f"{name}_false": score.false_end for name, score in peers.items()}
    print(json.dumps(summary(scores["ours"]) | {"delays": scores["ours"].median_delays} | figures))


if __name__ == "__main__":
    main()
