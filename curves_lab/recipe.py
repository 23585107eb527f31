# SPDX-License-Identifier: Apache-2.0
"""What a recipe is: a way to train, the one kind of trouble it must show (or none), and how to tell that it does.

The label is checked against the outcome and never against a detector: a healthy run has to reach ``good``, a faulty
one has to miss it. A run that does neither is no evidence and is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import numpy as np

from curves_lab.log import Log

Split = Literal["tuning", "validation", "test"]
Train = Callable[[Log, np.random.Generator], None]
UNHARMED = ("healthy", "spike", "stalled")  # labels of runs that still reach their goal


@dataclass(frozen=True)
class Recipe:
    """One labelled way to train.

    label: the kind that a diagnosis must name, or ``healthy``.
    tag, goal, target: the objective (target None: not told to the detectors).
    good: the objective's value that a healthy run reaches at its end (median of the last five values).
    since: the step at which the trouble is put in.
    allowed: further kinds that are true of the run too, so that naming them is no error.
    parts: modules of nets and data that the split has for itself.
    """

    name: str
    split: Split
    label: str
    train: Train
    tag: str
    goal: Literal["min", "max"]
    good: float
    target: float | None = None
    since: int = 0
    allowed: frozenset[str] = frozenset()
    seeds: int = 2
    parts: tuple[ModuleType, ...] = ()

    def as_labelled(self, values: Sequence[float]) -> bool:
        """Does the objective's curve end where the label says?"""
        return reaches(values, self.goal, self.good) == (self.label in UNHARMED)


def reaches(values: Sequence[float], goal: str, good: float) -> bool:
    """Is the median of the last five values, as far as they are finite, as good as ``good``?"""
    finite = [value for value in values[-5:] if np.isfinite(value)]
    end = float(np.median(finite)) if finite else float("nan")
    return end >= good if goal == "max" else end <= good


class Book:
    """The recipes of one split, by name."""

    def __init__(self, split: Split, *parts: ModuleType) -> None:
        self.split, self.parts = split, parts
        self.recipes: dict[str, Recipe] = {}

    def add(
        self,
        label: str,
        objective: str,
        good: float,
        *,
        target: float | None = None,
        since: int = 0,
        allowed: str = "",
        seeds: int = 2,
    ) -> Callable[[Train], Train]:
        """Enter the decorated function under its own name; ``objective`` is ``TAG:min`` or ``TAG:max``."""
        tag, _, word = objective.rpartition(":")
        goal: Literal["min", "max"] = "max" if word == "max" else "min"

        def enter(train: Train) -> Train:
            name, kinds = train.__name__, frozenset(allowed.split())
            about = (tag, goal, good, target, since, kinds, seeds, self.parts)
            self.recipes[name] = Recipe(name, self.split, label, train, *about)
            return train

        return enter
