# SPDX-License-Identifier: Apache-2.0
"""The node ends a run for its numbers only where the tick that follows calls for an intervention as well."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest

from ade_hpc.job import nonfinite
from ade_hpc.job.progress import Logged
from ade_hpc.metrics.detect import find
from ade_hpc.metrics.detect_thresholds import Thresholds
from ade_hpc.metrics.objective import Guess
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.store.records import FastPath
from tests.support.tiny_trainer import Events

FAST = FastPath("/registry", "", True, "accuracy/val", "max")
Points = list[tuple[float, float]]


def points(*values: float, every: float = 1.0) -> Points:
    return [(1000.0 + every * index, value) for index, value in enumerate(values)]


def lost(objective: Points, loss: Points = [], fast: FastPath = FAST) -> str:  # noqa: B006 - never changed
    found = nonfinite.since_when({fast.objective: objective, "loss/train": loss}, fast)
    return found[0] if found else ""


LEARNS = [0.1 + 0.02 * step for step in range(40)]
FALLS = [2.0 * 0.95**step for step in range(40)]


def test_the_thresholds_are_those_of_the_detector() -> None:
    limits = Thresholds()
    own = (nonfinite.OBJECTIVE_RUN, nonfinite.OBJECTIVE_ALONE, nonfinite.LOSS_RUN)
    assert own == (limits.nan_run, limits.nan_alone, limits.nan_loss_run)
    assert limits.lost_gain < nonfinite.LOST_GAIN


def test_an_objective_that_is_no_number_three_times() -> None:
    assert lost(points(*LEARNS, math.nan, math.inf)) == ""
    assert lost(points(*LEARNS, math.nan, math.inf, math.nan)) == "accuracy/val"
    assert lost(points(*[math.nan] * 9)) == ""  # it never was one: nothing may have been evaluated yet
    assert lost(points(*[math.nan] * 10)) == "accuracy/val"


def test_a_return_may_be_no_number_for_a_while() -> None:
    fast = FastPath("/registry", "", True, "episode/return", "max", by_return=True)
    assert lost(points(*LEARNS, *[math.nan] * 9), fast=fast) == ""
    assert lost(points(*LEARNS, *[math.nan] * 10), fast=fast) == "episode/return"


def test_a_loss_counts_where_the_objective_was_not_heard_of_since() -> None:
    assert lost(points(*LEARNS), points(*FALLS, *[math.nan] * 19)) == ""
    assert lost(points(*LEARNS), points(*FALLS, *[math.nan] * 20)) == "loss/train"


def test_a_loss_that_is_nan_beside_a_good_objective_is_nobody_s_trouble() -> None:
    """The healthy twin: an auxiliary loss, or a scaler that has lost its way, and a run that goes on well."""
    good = [*LEARNS, *[0.88] * 40]
    assert lost(points(*good), points(*FALLS, *[math.nan] * 40)) == ""


def test_a_loss_whose_objective_fell_with_it() -> None:
    assert lost(points(*LEARNS, *[0.1] * 4), points(*FALLS, *[math.nan] * 4)) == "loss/train"


def test_other_losses_and_runs_without_an_objective_are_left_to_the_tick() -> None:
    assert nonfinite.since_when({"accuracy/val": points(*LEARNS), "loss/aux": points(*[math.nan] * 99)}, FAST) is None
    assert nonfinite.since_when({"loss/train": points(*[math.nan] * 99)}, FastPath("/r", "", True)) is None


def series(tag: str, values: Points) -> Series:
    times, numbers = zip(*values, strict=True)
    return Series(tag, np.arange(len(values)), np.array(times), np.array(numbers))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_node_ends_the_tick_would_have_ended(seed: int) -> None:
    """Over hundreds of noisy runs with gaps, blow-ups, recoveries and NaN of every length."""
    dice, ended = random.Random(seed), 0
    for _ in range(250):
        cut, run, every = dice.randint(8, 60), dice.randint(1, 40), dice.choice([1.0, 3.0])
        noise = dice.choice([0.002, 0.02, 0.1])
        goal = [min(1.0, 0.1 + 0.8 * (1 - 0.93**step) + dice.gauss(0, noise)) for step in range(cut)]
        after = dice.choice([goal[-1], 0.1, (0.1 + goal[-1]) / 2, math.nan])
        goal += [after + dice.gauss(0, noise) for _ in range(dice.choice([0, 1, 4, run]))]
        loss = [2 * 0.95 ** (step / every) + abs(dice.gauss(0, noise)) for step in range(int(cut * every))]
        loss += [math.nan] * run
        objective, trained = points(*goal, every=every), points(*loss)
        if lost(objective, trained):
            ended += 1
            curves = Curves(
                {"accuracy/val": series("accuracy/val", objective), "loss/train": series("loss/train", trained)}
            )
            found = find(curves, Guess("accuracy/val", "max"))
            assert any(one.severity == "intervene" for one in found), (
                goal, loss)  # fmt: skip
    assert ended > 20


def test_what_is_read_from_a_growing_file(tmp_path: Path) -> None:
    """The newest values of the wanted tags, and the step, whatever else is logged between two looks."""
    logged = Logged(tmp_path, ["accuracy/val", "loss/train"])
    assert not logged.look()
    events = Events(str(tmp_path))
    events.scalars(1, accuracy__val=0.5, other=math.nan)
    assert logged.look()
    assert not logged.look()
    for step in range(2, 500):
        events.scalars(step, loss__train=1 / step, noise=0.0)
    events.scalars(500, accuracy__val=math.nan)
    assert logged.look()
    assert logged.last_step == 500
    assert [value for _, value in logged.values["loss/train"]] == pytest.approx([1 / step for step in range(437, 500)])
    assert [math.isnan(value) for _, value in logged.values["accuracy/val"]] == [False, True]
    sub = tmp_path / "accuracy"
    sub.mkdir()
    Events(str(sub)).scalars(501, val=0.75)
    assert logged.look()
    assert logged.values["accuracy/val"][-1][1] == 0.75
