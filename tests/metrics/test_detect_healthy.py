# SPDX-License-Identifier: Apache-2.0
"""Healthy runs must be left alone, at every prefix: a ticking supervisor would have acted on the first alarm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ade_hpc.metrics.detect import find
from ade_hpc.metrics.objective import Guess
from ade_hpc.metrics.series import Curves
from tests.metrics.detect_curves import curves, decay, healthy_policy, healthy_supervised, kinds, prefixes, series

ACCURACY, VAL_LOSS, REWARD = Guess("accuracy/val", "max"), Guess("loss/val", "min"), Guess("reward", "max")


def assert_left_alone(run: Curves, objective: Guess | None, most: int = 10_000) -> None:
    for seen in prefixes(run, most):
        assert kinds(find(seen, objective)) == []


def test_cosine_warm_restarts() -> None:
    """Each restart of the rate throws the loss back for a while."""
    phase = np.arange(600) % 150 / 150
    back = np.where(np.arange(600) >= 150, 0.9 * np.exp(-phase * 12), 0)
    run = curves(
        series("loss/train", decay(600) + back),
        series("loss/val", (decay(600) + back)[::15], every=15),
        series("lr", 0.5 + 0.5 * np.cos(np.pi * phase)),
    )
    assert_left_alone(run, VAL_LOSS)


def test_warm_up_with_nothing_learned_for_long() -> None:
    """Loss at chance while the rate rises over half of the run."""
    loss = np.r_[np.full(300, 2.303), decay(300)] + 0.01 * np.random.default_rng(0).standard_normal(600)
    run = curves(
        series("loss/train", loss),
        series("loss/val", loss[::10], every=10),
        series("lr", np.minimum(1.0, np.arange(600) / 300)),
    )
    assert_left_alone(run, VAL_LOSS, most=200)


def test_validation_that_counts_epochs() -> None:
    """Step 3 of one tag is later than step 200 of another: only the clock tells."""
    val = series("validation/epoch_loss", decay(20))
    val.wall_times[:] = 1000.0 + 30 * np.arange(20)
    train = series("train/epoch_loss", decay(600))
    assert_left_alone(curves(train, val), Guess("validation/epoch_loss", "min"), most=200)


def test_a_resumed_run_near_its_optimum() -> None:
    """A tiny training loss doubles and triples by chance, and accuracy has nothing left to gain."""
    rng = np.random.default_rng(0)
    run = curves(
        series("loss/train", np.exp(0.8 * rng.standard_normal(400) - 4), first=5000),
        series("accuracy/val", 0.97 + 0.004 * rng.standard_normal(40), every=10, first=5000),
    )
    assert_left_alone(run, ACCURACY, most=200)


def test_an_infinite_perplexity_at_first() -> None:
    """It overflows until the model is any good."""
    run = curves(series("val/perplexity", np.r_[[np.inf] * 4, 1e6 * np.exp(-np.arange(30.0) / 3) + 20]))
    assert_left_alone(run, Guess("val/perplexity", "min"))


def test_a_classifier_on_twenty_validation_samples() -> None:
    """Its accuracy jumps in steps of a twentieth."""
    rng = np.random.default_rng(0)
    run = curves(
        series("loss/train", decay(600)),
        series("accuracy/val", rng.binomial(20, 0.85 - 0.3 * decay(60)) / 20, every=10),
    )
    assert_left_alone(run, ACCURACY, most=200)


@pytest.mark.parametrize("draw", [healthy_supervised, healthy_policy])
def test_healthy_runs_drawn_at_random(draw: Callable[[np.random.Generator], tuple[Curves, Guess | None]]) -> None:
    """Of any shape, cadence and noise, with spikes, aux losses that are NaN, critics that grow, dips."""
    for seed in range(60):
        run, objective = draw(np.random.default_rng(seed))
        for seen in prefixes(run, most=25):
            found = kinds(find(seen, objective))
            assert found == [], f"seed {seed}"
