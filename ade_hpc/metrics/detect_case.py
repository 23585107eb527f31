# SPDX-License-Identifier: Apache-2.0
"""The case before the detectors: curves, objective, thresholds, and the witnesses that tag names give away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from ade_hpc.metrics.detect_thresholds import Thresholds
from ade_hpc.metrics.detect_trace import Trace, trace
from ade_hpc.metrics.objective import Direction, Objective, Role, Split, role
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Finding, Scalar, Severity


@dataclass(frozen=True, eq=False)
class Case:
    """Everything a detector may look at. ``objective`` is None where nobody said and no tag name told."""

    curves: Curves
    objective: Objective | None
    limits: Thresholds

    @cached_property
    def roles(self) -> dict[str, Role]:
        return {tag: role(tag) for tag in self.curves.series}

    def direction(self, tag: str) -> Direction | None:
        """The good direction of ``tag``: the objective's own word first, then its name."""
        if self.objective and self.objective.tag == tag:
            return self.objective.goal
        if any(loss is not None and loss.tag == tag for loss in (self.training_loss, self.validation_loss)):
            return "min"
        return self.roles[tag].goal

    @cached_property
    def target_series(self) -> Series | None:
        """The objective as logged, or None where its tag never appeared."""
        return self.curves.series.get(self.objective.tag) if self.objective else None

    @cached_property
    def goal(self) -> Trace | None:
        """The objective's finite points, or None where there are none."""
        return trace(self.target_series, self.objective.goal) if self.objective else None

    @cached_property
    def course(self) -> Trace | None:
        """The objective condensed, where there is enough of it to judge how it learns."""
        enough = self.goal is not None and len(self.goal) >= self.limits.judge_points
        return self.goal.condensed() if self.goal is not None and enough else None

    @cached_property
    def by_return(self) -> bool:
        """Is this reinforcement learning? Then losses say little: a critic's grows because the returns do.

        So it is judged, too, where what is to rise has no known name, and leaves the range that a score has.
        """
        if any(said.family == "return" for said in self.roles.values()):
            return True
        unknown = self.goal is not None and self.goal.sign < 0 and not self.roles[self.goal.tag].family
        return (
            unknown
            and self.goal is not None
            and (float(self.goal.cost.max()) > 0 or float(self.goal.cost.min()) < -100)
        )

    @cached_property
    def resumed(self) -> bool:
        """Does the log begin in the middle of a run? Then its start is not that of an untrained model."""
        steps = self.goal.steps if self.goal is not None else np.zeros(0)
        return len(steps) > 1 and int(steps[0]) > 2 * max(1, int(np.median(np.diff(steps))))

    @property
    def held_out(self) -> bool:
        """Is the objective measured on data of its own? A training loss has the noise of its batches."""
        return self.target_series is not None and self._is_held_out(self.target_series)

    def _is_held_out(self, series: Series) -> bool:
        """Its name tells; where it does not, it is if it is logged as often as a validation loss is."""
        split = self.roles[series.tag].split
        if split or self.validation_loss is None:
            return split in ("val", "test")
        return len(series) == len(self.validation_loss)

    @cached_property
    def cyclic(self) -> bool:
        """Does the learning rate rise again after it fell? Then the schedule throws the curves back, by design."""
        rate = self.witness("rate")
        if rate is None:
            return False
        after_top = np.where(np.arange(len(rate)) >= int(np.argmax(rate.cost)), rate.cost, np.inf)
        return bool((rate.cost > 2 * np.minimum.accumulate(after_top)).any())

    @property
    def by_epoch(self) -> bool:
        """Is the training loss logged as often as a held-out objective? Then each of its points is an epoch's mean."""
        if not self.held_out or self.goal is None or self.training_loss is None:
            return False
        return len(self.training_loss) <= 2 * len(self.goal)

    def main_loss(self, *splits: Split) -> Series | None:
        """The loss that is trained, measured on one of ``splits``, the one with most points; None where none is known.

        Its name tells; else that of the objective, where that is the same loss on other data; else that it is alone.
        """
        measured = [series for tag, series in self.curves.series.items() if self.roles[tag].split in splits]
        named = [s for s in measured if self.roles[s.tag].family == "loss" and self.roles[s.tag].main]
        twins = [s for s in measured if self._is_objective_elsewhere(s.tag)]
        terms = [s for s in measured if self.roles[s.tag].family == "loss"]
        return max(named or twins or (terms if len(terms) == 1 else []), key=len, default=None)

    def _is_objective_elsewhere(self, tag: str) -> bool:
        """Is ``tag`` what a falling objective measures, perhaps on other data?"""
        objective = self.objective
        return objective is not None and objective.goal == "min" and role(objective.tag).stem == self.roles[tag].stem

    @cached_property
    def training_loss(self) -> Series | None:
        return self.main_loss("train", "")

    @cached_property
    def validation_loss(self) -> Series | None:
        return self.main_loss("val", "test")

    @cached_property
    def losses(self) -> list[Trace]:
        """The losses that tell how a run learns, best witness first: objective, held-out, trained."""
        named = [self.validation_loss, self.training_loss]
        if self.target_series is not None and self.direction(self.target_series.tag) == "min":
            named = [self.target_series, *(s for s in named if s is not self.target_series)]
        known = [self.goal if s is self.target_series else trace(s, "min") for s in named if s is not None]
        return [found for found in known if found is not None]

    @cached_property
    def held_out_score(self) -> Trace | None:
        """The score that was measured on data of its own, if any, the one with most points."""
        named = [self.curves.series[tag] for tag, said in self.roles.items() if said.family == "score" and said.main]
        held_out = [series for series in named if self._is_held_out(series)]
        return trace(max(held_out, key=len, default=None), "max")

    @cached_property
    def training(self) -> Trace | None:
        """The training loss, condensed."""
        found = trace(self.training_loss, "min")
        return found.condensed() if found else None

    @cached_property
    def validation(self) -> Trace | None:
        """The validation loss, condensed."""
        found = trace(self.validation_loss, "min")
        return found.condensed() if found else None

    def witness(self, family: str) -> Trace | None:
        """What a trainer may log of its health: ``gradient``, ``dead``, ``update``, ``rate``; else None."""
        found = [series for tag, series in self.curves.series.items() if self.roles[tag].family == family]
        return trace(max(found, key=len, default=None), "min")

    def witnesses(self) -> dict[str, Scalar]:
        """The present level of each witness that was logged, as evidence."""
        names = {"gradient": "grad_norm", "dead": "dead_fraction", "update": "update_ratio", "rate": "lr"}
        return {name: found.end for family, name in names.items() if (found := self.witness(family))}


def finding(
    kind: str,
    series: Series | Trace,
    first: int,
    last: int,
    severity: Severity,
    onset: float | None,
    **evidence: Scalar,
) -> Finding:
    """A Finding on ``series`` between two indices; its evidence is strict JSON, numbers to six digits."""
    safe = {name: _six_digits(json_safe(value)) for name, value in evidence.items()}
    return Finding(kind, series.tag, int(series.steps[first]), int(series.steps[last]), severity, onset, safe)


def json_safe(value: Scalar) -> Scalar:
    """JSON has no NaN and no infinity: they become the words ``nan``, ``inf`` and ``-inf``; numpy scalars Python's."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if np.isfinite(value) else str(float(value))


def _six_digits(value: Scalar) -> Scalar:
    return float(f"{value:.6g}") if isinstance(value, float) else value


Judge: TypeAlias = Callable[[Case], Iterable[Finding]]


@dataclass(frozen=True)
class Detector:
    """One kind of trouble and the pure function that looks for it."""

    kind: str
    judge: Judge
