# SPDX-License-Identifier: Apache-2.0
"""Logs whose clock says nothing of which record came first: converted ones, and those written tag after tag."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ade_hpc.metrics.clock import ordered
from ade_hpc.metrics.detect import find
from ade_hpc.metrics.objective import Guess
from ade_hpc.metrics.series import Curves, Series
from tests.metrics.detect_curves import curves, decay, kinds, series

TRAIN = series("loss/train", 2.3 * np.exp(-np.arange(400) / 40))
VAL = series("loss/val", np.r_[decay(15, low=0.5), np.linspace(0.7, 2.0, 25)], every=10)
STOPPED = np.full(400, 5000.0)


def at(one: Series, times: np.ndarray) -> Series:
    return replace(one, wall_times=times[: len(one)])


@pytest.mark.parametrize(
    "run",
    [
        curves(at(TRAIN, 1e9 + np.arange(400) / 1e4), at(VAL, 1e9 + 5 + np.arange(40) / 1e4)),
        curves(at(TRAIN, 1e9 + 5 + np.arange(400) / 1e4), at(VAL, 1e9 + np.arange(40) / 1e4)),
        curves(at(TRAIN, STOPPED), at(VAL, STOPPED)),
        curves(at(TRAIN, STOPPED), at(replace(VAL, steps=VAL.steps // 10), STOPPED)),
    ],
    ids=["training first", "validation first", "one time for all", "one time, and epochs"],
)
def test_a_log_whose_clock_says_nothing_is_related_by_steps(run: Curves) -> None:
    """Over-fitting is seen in it as it would have been in the log of the trainer."""
    expected = kinds(find(curves(TRAIN, VAL), Guess("loss/val", "min")))
    assert expected == ["overfitting"]
    assert kinds(find(run, Guess("loss/val", "min"))) == expected


def test_a_log_with_a_clock_is_left_as_it_is() -> None:
    """Also one whose validation counts epochs, or was logged only at the end."""
    epochs = replace(VAL, steps=VAL.steps // 10)
    late = series("test/acc", np.array([0.9]))
    for run in (curves(TRAIN, VAL), curves(TRAIN, epochs), curves(TRAIN, replace(late, wall_times=np.array([1e9])))):
        assert ordered(run) is run
