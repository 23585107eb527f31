# SPDX-License-Identifier: Apache-2.0
"""How answers about labelled runs are counted: kinds by F1, interventions on runs that need none, delays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ade_hpc.metrics.detect import DETECTORS, WITNESSES
from curves_lab.recipe import UNHARMED

# Witnesses explain a kind and are none themselves: no run is labelled so.
KINDS = tuple(detector.kind for detector in DETECTORS if detector.kind not in WITNESSES)


@dataclass(frozen=True)
class Answer:
    """What some rules say of some curves: the kinds that they name, and whether they would intervene."""

    kinds: frozenset[str]
    intervenes: bool


@dataclass
class Score:
    """One set of rules over one split."""

    right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    wrong: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    missed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    unharmed: int = 0
    false_end: int = 0
    false_prefix: list[str] = field(default_factory=list)
    harmed: int = 0
    silent: list[str] = field(default_factory=list)
    delays: dict[str, list[float]] = field(default_factory=dict)
    pairs: dict[tuple[str, str], int] = field(default_factory=dict)

    def f1(self, kind: str) -> float:
        right = self.right[kind]
        return 2 * right / max(2 * right + self.wrong[kind] + self.missed[kind], 1)

    def row(self, kind: str) -> list[object]:
        """Runs of this kind, precision, recall, F1, median delay."""
        right, wrong, missed = self.right[kind], self.wrong[kind], self.missed[kind]
        late = self.median_delays.get(kind, "")
        rates = (right / max(right + wrong, 1), right / max(right + missed, 1), self.f1(kind))
        return [right + missed, *(f"{rate:.2f}" for rate in rates), late]

    @property
    def named(self) -> list[str]:
        """The columns of the confusion: every kind that was named at least once, and ``nothing``."""
        return [kind for kind in (*KINDS, "nothing") if any(kind == named for _, named in self.pairs)]

    def confusion(self) -> list[list[object]]:
        """One row a label, one column a kind: its own where that was named, else another; counts, empty for none."""
        labels = [label for label in ("healthy", *KINDS) if any(label == is_ for is_, _ in self.pairs)]
        return [[label, *(self.pairs.get((label, kind), "") for kind in self.named)] for label in labels]

    @property
    def macro_f1(self) -> float:
        """The mean over the kinds that some run has, or that were named of one."""
        met = [kind for kind in KINDS if self.right[kind] + self.wrong[kind] + self.missed[kind]]
        return float(np.mean([self.f1(kind) for kind in met])) if met else 0.0

    @property
    def median_delays(self) -> dict[str, int]:
        """Over the runs of a kind that were called failing, in training steps after the fault."""
        return {kind: round(float(np.median(self.delays[kind]))) for kind in KINDS if kind in self.delays}


def add(score: Score, run: dict[str, Any], seen: Sequence[tuple[int, Answer]]) -> None:
    """Count one run, from its answers at all prefixes; the last one is the answer at the end."""
    end = seen[-1][1]
    wanted = frozenset() if run["label"] == "healthy" else frozenset([run["label"]])
    for kind in wanted:
        (score.right if kind in end.kinds else score.missed)[kind] += 1
    others = end.kinds - wanted - frozenset(run["allowed"])
    for kind in others:
        score.wrong[kind] += 1
    pair = (run["label"], next(iter([*(wanted & end.kinds), *sorted(others), "nothing"])))
    score.pairs[pair] = score.pairs.get(pair, 0) + 1
    if run["label"] in UNHARMED:
        score.unharmed += 1
        score.false_end += end.intervenes
        if any(answer.intervenes for _, answer in seen):
            score.false_prefix.append(run["run"])
        return
    score.harmed += 1
    first = next((step for step, answer in seen if answer.intervenes and step >= run["since"]), None)
    if not end.intervenes:
        score.silent.append(run["run"])
    if first is not None:
        score.delays.setdefault(run["label"], []).append(first - run["since"])


def summary(score: Score) -> dict[str, Any]:
    return {
        "macro_f1": round(score.macro_f1, 3),
        "false_interventions": score.false_end,
        "false_interventions_at_any_prefix": len(score.false_prefix),
        "unharmed": score.unharmed,
        "missed": len(score.silent),
        "harmed": score.harmed,
    }
