# SPDX-License-Identifier: Apache-2.0
"""The published default rules of SageMaker Debugger and AutoTrainer, as far as scalars can tell.

Written from their documentation (docs/detectors.md has the tables); rules over whole tensors have no scalar form and
are left out. Their rules do not know an objective: they are given the tags of the losses, accuracies and witnesses.
Each function takes the curves as they were at some moment and gives the kinds that have fired until then; both tools
stop or repair the training when a rule fires, so each counts as an intervention.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ade_hpc.metrics.objective import Role, role
from ade_hpc.metrics.series import Curves, Series

Rules = Callable[[Curves, float], frozenset[str]]


def _one(curves: Curves, wanted: Callable[[Role], bool]) -> Series | None:
    found = [series for tag, series in curves.series.items() if wanted(role(tag))]
    return max(found, key=len, default=None)


def _loss(curves: Curves, held_out: bool) -> Series | None:
    return _one(curves, lambda r: r.family == "loss" and r.main and (r.split in ("val", "test")) == held_out)


def _score(curves: Curves, held_out: bool) -> Series | None:
    return _one(curves, lambda r: r.family in ("score", "return") and (r.split in ("val", "test")) == held_out)


def _witness(curves: Curves, family: str) -> np.ndarray:
    series = _one(curves, lambda r: r.family == family)
    return series.values[np.isfinite(series.values)] if series is not None else np.zeros(0)


def sagemaker(curves: Curves, finished: float) -> frozenset[str]:
    """ExplodingTensor, LossNotDecreasing, Overfit, Overtraining, StalledTrainingRule, VanishingGradient, DeadRelu,
    WeightUpdateRatio, with the defaults of the developer guide; a logged point is a saved step.
    """
    fired = set()
    losses = [s for s in curves.series.values() if role(s.tag).family == "loss"]
    if any(not np.isfinite(s.values).all() for s in losses):
        fired.add("nan")
    train, val = _loss(curves, False), _loss(curves, True)
    watched = train if train is not None else (losses[0] if losses else None)
    if watched is not None and _not_decreasing(watched.values, 10):
        fired.add("never-learns")
    if train is not None and val is not None and _overfit(train, val, 0.1):
        fired.add("overfitting")
    if any(s is not None and _no_better(s.values, wait, 0.1) for s, wait in ((train, 5), (val, 10))):
        fired.add("plateau")
    if any((np.diff(s.wall_times) > 1800).any() for s in curves.series.values()):
        fired.add("stalled")
    if (_witness(curves, "gradient") < 1e-7).any() or (_witness(curves, "dead") > 0.5).any():
        fired.add("never-learns")
    ratio = _witness(curves, "update")
    if (ratio > 10).any():
        fired.add("diverging")
    if (ratio < 1e-8).any():
        fired.add("slow")
    return frozenset(fired)


def _not_decreasing(values: np.ndarray, steps: int) -> bool:
    """Some value is not below the one ``steps`` points before it."""
    return len(values) > steps and bool((values[steps:] >= values[:-steps]).any())


def _overfit(train: Series, val: Series, ratio: float) -> bool:
    """(validation - training) / training above ``ratio`` at two validations in a row (patience 1)."""
    at = np.clip(np.searchsorted(train.wall_times, val.wall_times), 1, len(train)) - 1
    above = (val.values - train.values[at]) / np.maximum(np.abs(train.values[at]), 1e-12) > ratio
    return bool((above[1:] & above[:-1]).any())


def _no_better(values: np.ndarray, patience: int, delta: float) -> bool:
    """No new optimum by at least ``delta`` for more than ``patience`` points, once there has been one."""
    best, since, ever = np.inf, 0, False
    for value in values:
        if value < best - delta:
            ever, best, since = ever or np.isfinite(best), float(value), 0
        else:
            since += 1
        if ever and since > patience:
            return True
    return False


def autotrainer(curves: Curves, finished: float) -> frozenset[str]:
    """Exploding loss, dying ReLU, vanishing gradient, oscillating, slow convergence, over-fitting.

    Judged, as published, from 0.3 of the planned epochs on (``finished`` is the share that has passed).
    """
    fired = set()
    losses = [s for s in curves.series.values() if role(s.tag).family == "loss" and role(s.tag).main]
    if any(np.isnan(s.values).any() for s in losses):
        fired.add("nan")
    if any((s.values >= 1e3).any() for s in losses):
        fired.add("diverging")
    score = _score(curves, True)
    score = score if score is not None else _score(curves, False)
    if finished < 0.3 or score is None or len(score) < 3:
        return frozenset(fired)
    steps = np.diff(score.values)
    turned = (np.abs(steps[1:]) >= 0.03) & (np.sign(steps[1:]) != np.sign(steps[:-1]))
    if turned.mean() >= 0.2:
        fired.add("oscillating")
    if steps.max() < 0.01 and score.values[-1] < 0.7:
        fired.add("slow")
    if (_witness(curves, "dead")[-1:] >= 0.7).any() or (_witness(curves, "gradient")[-1:] < 1e-4).any():
        fired.add("never-learns")
    train = _one(curves, lambda r: r.family == "score" and r.split == "train")
    if train is not None and score is not train:
        gap = float(train.values[-1] - score.values[-1])
        if gap >= (0.1 if train.values[-1] <= 0.9 else 0.07):
            fired.add("overfitting")
    return frozenset(fired)
