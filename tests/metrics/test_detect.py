# SPDX-License-Identifier: Apache-2.0
"""The detectors' entry point: findings, verdicts, the JSON of ``diagnose``, and that nothing makes them fall over."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ade_hpc.metrics.detect import diagnose, find, verdict
from ade_hpc.metrics.objective import Guess
from ade_hpc.metrics.series import Curves, Series
from tests.metrics.detect_curves import curves, decay, series

TAGS = ["loss/train", "loss/val", "accuracy/val", "reward", "lr", "grad_norm", "what is this?"]


def test_a_healthy_run_has_no_findings() -> None:
    """Loss falls, accuracy rises, nothing to say."""
    run = curves(series("loss/train", decay(300)), series("accuracy/val", 1 - decay(30) / 2.5, every=10))
    assert find(run) == ()
    assert verdict((), run, None) == "healthy"


def test_one_trouble_is_one_intervention() -> None:
    """What blew up has also collapsed and stands still; only the cause is named, dated by the earliest sign."""
    loss = np.r_[decay(200), np.geomspace(1, 1e6, 100), np.full(100, np.nan)]
    accuracy = np.r_[1 - decay(20) / 2.5, np.full(20, 0.1)]
    run = curves(
        series("loss/train", loss),
        series("loss/val", loss[::10], every=10),
        series("accuracy/val", accuracy, every=10),
    )
    found = find(run, Guess("accuracy/val", "max"))
    assert [f.kind for f in found if f.severity == "intervene"] == ["nan"]
    assert found[0].onset is not None
    assert found[0].onset <= 1200


def test_all_nan_from_the_first_step_is_failing() -> None:
    """There is no finite value at all to compare with."""
    run = curves(series("loss/train", [np.nan] * 40), series("loss/val", [np.nan] * 4, every=10))
    assert diagnose(run)["verdict"] == "failing"


@pytest.mark.parametrize(
    ("run", "objective"),
    [
        (curves(series("loss", [2.3, 2.2])), None),
        (Curves(), None),
        (Curves(), Guess("reward", "max")),
        (curves(series("loss", decay(300))), Guess("no such tag", "max")),
        (curves(series("temperature", decay(300))), None),
        (curves(series("loss", [0.5])), Guess("loss", "min")),
    ],
    ids=[
        "two points",
        "no tags",
        "no tags but an objective",
        "a tag never seen",
        "a tag that says nothing",
        "one point",
    ],
)
def test_too_little_is_insufficient(run: Curves, objective: Guess | None) -> None:
    """Neither healthy nor failing can be said."""
    assert diagnose(run, objective)["verdict"] == "insufficient"


def test_sparse_validation_beside_a_long_training_loss_is_enough() -> None:
    """Three validations and a thousand batches tell."""
    run = curves(series("loss/train", decay(1000)), series("loss/val", decay(3), every=400))
    assert diagnose(run, Guess("loss/val", "min"))["verdict"] == "healthy"


def test_a_constant_series_is_judged_without_a_division_by_zero() -> None:
    """No noise, no gain, no trouble but that."""
    run = curves(series("loss/train", np.zeros(500)), series("loss/val", np.zeros(50), every=10))
    assert diagnose(run)["verdict"] in {"healthy", "failing"}


def test_the_report_is_strict_json_and_says_what_it_judged_by() -> None:
    """NaN and infinities become words: other languages read it too."""
    loss = decay(100)
    loss[60:] = np.inf
    answer = json.loads(json.dumps(diagnose(curves(series("loss", loss))), allow_nan=False))
    assert answer["verdict"] == "failing"
    assert answer["findings"][0]["evidence"]["value"] == "inf"
    assert answer["objective"] == {"tag": "loss", "goal": "min", "target": None, "guessed": True, "points": 100}


values = arrays(
    np.float64,
    st.integers(0, 80),
    elements=st.floats(width=32) | st.sampled_from([0.0, 1.0, 1e30, -1e30, 1e300, float("nan"), float("inf")]),
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(TAGS), values), st.sampled_from([None, "min", "max"]), st.integers(0, 2**31))
def test_no_curve_makes_it_fall_over(data: dict[str, np.ndarray], goal: str | None, seed: int) -> None:
    """Any numbers, any clock, any steps that do not go back: an answer in strict JSON, the same each time."""
    rng = np.random.default_rng(seed)
    run = Curves(
        {
            tag: Series(tag, np.cumsum(rng.integers(0, 3, len(v))), rng.choice([1.0, 1e9]) * rng.random(len(v)), v)
            for tag, v in data.items()
        }
    )
    objective = Guess("loss/val", "min" if goal == "min" else "max", target=0.5) if goal else None
    answer = json.dumps(diagnose(run, objective), allow_nan=False)
    assert answer == json.dumps(diagnose(run, objective), allow_nan=False)
