# SPDX-License-Identifier: Apache-2.0
"""Curves for the detectors' tests: small builders, healthy runs drawn at random, and prefixes of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ade_hpc.metrics.objective import Guess
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Finding

Values = Sequence[float] | np.ndarray


def series(tag: str, values: Values, *, every: int = 1, pace: float = 1.0, first: int = 0) -> Series:
    """A tag logged ``every`` so many steps of ``pace`` seconds each, from step ``first`` on, from 1000 s on."""
    array = np.asarray(values, dtype=np.float64)
    steps = first + np.arange(len(array), dtype=np.int64) * every
    return Series(tag, steps, 1000.0 + pace * (steps - first), array)


def curves(*every: Series) -> Curves:
    return Curves({one.tag: one for one in every})


def decay(n: int, low: float = 0.2, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    """A loss that falls from 2.3 to ``low``."""
    rng = np.random.default_rng(seed)
    return low + (2.3 - low) * np.exp(-np.arange(n) / (n / 6)) + noise * rng.standard_normal(n)


def kinds(found: Sequence[Finding], severity: str = "intervene") -> list[str]:
    return [f.kind for f in found if f.severity == severity]


def until(run: Curves, time: float) -> Curves:
    """What had been logged at ``time``."""
    cut = {}
    for tag, one in run.series.items():
        seen = one.wall_times <= time
        if seen.any():
            cut[tag] = Series(tag, one.steps[seen], one.wall_times[seen], one.values[seen])
    return Curves(cut)


def prefixes(run: Curves, most: int = 10_000) -> Iterator[Curves]:
    """The run as it was at each moment of its log (at ``most`` of them, evenly spread), the whole run last."""
    times = np.unique(np.concatenate([one.wall_times for one in run.series.values()]))
    for i in np.unique(np.linspace(0, len(times) - 1, min(most, len(times))).astype(int)):
        yield until(run, float(times[i]))


def healthy_supervised(rng: np.random.Generator) -> tuple[Curves, Guess | None]:
    """A run that learns: of any shape, noise, cadence and tag names, with the oddities that healthy runs have."""
    n, points = int(rng.choice([60, 150, 400, 1000])), int(rng.choice([5, 8, 15, 30, 60]))
    every, t, u = int(rng.choice([1, 5, 50])), np.arange(n) / n, np.arange(points + 1) / points
    start = float(rng.choice([0.05, 0.7, 2.3, 10.8]))
    low = start * float(rng.choice([0.001, 0.1, 0.5]))
    fall = _shape(rng, n)
    batch = rng.choice([0.01, 0.1, 0.3]) * rng.standard_t(3, n)
    train = (low + (start - low) * fall(t)) * np.exp(np.clip(batch, -3, 3))
    val = (low + (start - low) * fall(u)) * np.exp(0.02 * rng.standard_normal(points + 1))
    val *= 1 + rng.choice([0, 0.1]) * np.maximum(0, u - 0.5)  # creeps up by a few per cent
    if rng.random() < 0.2:
        train[: n // 20] *= rng.uniform(1, 4)  # a rough start
    if rng.random() < 0.2:
        train[int(rng.integers(10, n))] = rng.choice([np.inf, 1e6])  # one bad batch
    accuracy = rng.binomial(int(rng.choice([50, 1000])), 0.1 + 0.85 * (1 - fall(u))) / 1.0
    accuracy /= max(accuracy.max(), 1) / 0.95
    tags = [("loss/train", "loss/val", "accuracy/val"), ("train_loss", "val_loss", "val_acc")][int(rng.integers(2))]
    at = (u * (n - 1)).astype(np.int64) * every
    run = {
        tags[0]: series(tags[0], train, every=every),
        tags[1]: Series(tags[1], at, 1000.0 + at, val),
        tags[2]: Series(tags[2], at, 1000.0 + at, accuracy),
    }
    if rng.random() < 0.3:
        run["loss/aux"] = series("loss/aux", np.where(t > 0.3, np.nan, 1.0), every=every)
    return Curves(run), [Guess(tags[1], "min"), Guess(tags[2], "max"), None][int(rng.integers(3))]


def _shape(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]  # a function of the share of the run
    rate, knee = rng.uniform(4, 25), rng.uniform(0.02, min(0.15, 120 / n))
    steep = rng.uniform(30, 80)
    return [
        lambda t: np.exp(-rate * t),
        lambda t: (1 + 50 * rate * t) ** -0.7,
        lambda t: 0.1 * np.exp(-10 * t) + 0.9 / (1 + np.exp(steep * (t - knee))),  # takes off late
        lambda t: np.where(t < 0.5, 0.3 + 0.7 * np.exp(-rate * t), 0.1 + 0.05 * np.exp(-20 * (t - 0.5))),  # a step
    ][int(rng.integers(4))]


def healthy_policy(rng: np.random.Generator) -> tuple[Curves, Guess | None]:
    """A policy that learns: its return wanders and dips, its critic's loss grows with what it predicts."""
    n = int(rng.choice([80, 200, 500]))
    t = np.arange(n) / n
    low, high = [(10, 200), (-60, -5), (-21, 20), (0, 1), (-1600, -150)][int(rng.integers(5))]
    grown = 1 / (1 + np.exp(-rng.uniform(8, 40) * (t - rng.uniform(0.05, 0.4))))
    grown = (grown - grown[0]) / (grown[-1] - grown[0])
    wander, keep = np.zeros(n), float(rng.choice([0, 0.5, 0.9]))
    for i, shock in enumerate(rng.standard_normal(n - 1), start=1):
        wander[i] = keep * wander[i - 1] + shock * np.sqrt(1 - keep**2)
    value = low + (high - low) * (grown + rng.choice([0.03, 0.1]) * wander * (0.3 + 0.7 * grown))
    dip = int(rng.integers(n // 3, n))
    value[dip : dip + n // 20] -= 0.5 * (high - low) * grown[dip]
    if rng.random() < 0.3:
        value[0] = high  # an expert's episode
    critic = (0.1 + grown**2 * rng.choice([1, 100, 1e4])) * np.exp(0.3 * rng.standard_normal(n))
    run = curves(
        series("rollout/ep_rew_mean", value, every=2048),
        series("train/value_loss", critic, every=2048),
        series("train/loss", np.where(t > 0.3, np.nan, critic) if rng.random() < 0.2 else critic, every=2048),
    )
    return run, Guess("rollout/ep_rew_mean", "max") if rng.random() < 0.7 else None
