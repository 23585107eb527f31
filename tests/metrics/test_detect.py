# SPDX-License-Identifier: Apache-2.0
"""The detectors' entry point: findings, verdicts and the JSON of ``diagnose``, on hand-made curves."""

from __future__ import annotations

import json

import numpy as np

from ade_hpc.metrics.detect import diagnose, find, verdict
from ade_hpc.metrics.objective import Guess
from ade_hpc.metrics.series import Curves, Series


def series(tag: str, values, *, every: int = 1, start: float = 1000.0, pace: float = 1.0) -> Series:
    array = np.asarray(values, dtype=np.float64)
    steps = np.arange(len(array), dtype=np.int64) * every
    return Series(tag, steps, start + pace * steps, array)


def curves(*every: Series) -> Curves:
    return Curves({s.tag: s for s in every})


def decay(n: int, low: float = 0.2, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return low + 2.1 * np.exp(-np.arange(n) / (n / 6)) + noise * rng.standard_normal(n)


def kinds(found, severity: str = "intervene") -> list[str]:
    return [f.kind for f in found if f.severity == severity]


def test_a_healthy_run_has_no_findings():
    """Loss falls, accuracy rises, nothing to say."""
    run = curves(series("loss/train", decay(300)), series("accuracy/val", 1 - decay(30) / 2.5, every=10))
    assert find(run) == ()
    assert verdict((), run, None) == "healthy"


def test_nan_in_the_training_loss_intervenes_and_its_onset_is_the_start_of_the_blow_up():
    """The checkpoint that is chosen has to be from before the rise, not from before the first NaN."""
    loss = decay(300)
    loss[200:220] = np.geomspace(0.5, 1e6, 20)
    loss[220:] = np.nan
    run = curves(series("loss/train", loss), series("loss/val", decay(20), every=10))
    first = find(run, Guess("loss/val", "min"))[0]
    assert (first.kind, first.severity, first.tag, first.first_step) == ("nan", "intervene", "loss/train", 220)
    assert 1190 <= first.onset <= 1201


def test_nan_in_an_auxiliary_loss_beside_a_perfect_policy_is_a_note():
    """Measured on real runs: the return is what counts."""
    aux = decay(300)
    aux[50:] = np.nan
    run = curves(series("losses/aux_loss", aux), series("episode_return", 500 - 200 * decay(300)))
    found = find(run)
    assert kinds(found) == []
    assert kinds(found, "note") == ["nan"]


def test_a_critic_loss_that_grows_while_the_return_improves_is_not_an_intervention():
    """It predicts returns, and the returns grow."""
    run = curves(
        series("losses/value_loss", np.geomspace(1, 1e4, 300)), series("charts/episodic_return", 500 - 200 * decay(300))
    )
    assert kinds(find(run)) == []


def test_a_loss_that_blows_up_while_accuracy_falls_to_chance_diverges():
    """Onset is the last good minimum before the rise."""
    loss = decay(400)
    loss[250:] = np.geomspace(0.4, 1e5, 150)
    accuracy = 1 - decay(40) / 2.5
    accuracy[27:] = 0.1
    run = curves(series("loss/train", loss), series("accuracy/val", accuracy, every=10))
    first = find(run)[0]
    assert (first.kind, first.severity) == ("diverging", "intervene")
    assert 1200 <= first.onset <= 1252


def test_one_huge_value_is_not_a_divergence():
    """One bad batch of 1e30 says nothing of the run."""
    loss = decay(300)
    loss[150] = 1e30
    assert "diverging" not in [f.kind for f in find(curves(series("loss", loss)))]


def test_all_nan_from_the_first_step_is_failing():
    """There is no finite value at all to compare with."""
    run = curves(series("loss/train", [np.nan] * 40), series("loss/val", [np.nan] * 4, every=10))
    assert diagnose(run)["verdict"] == "failing"


def test_too_little_is_insufficient():
    """Two points are no run, no tags are no run."""
    assert diagnose(curves(series("loss", [2.3, 2.2])))["verdict"] == "insufficient"
    assert diagnose(Curves())["verdict"] == "insufficient"
    assert diagnose(Curves(), Guess("reward", "max"))["verdict"] == "insufficient"


def test_the_report_is_strict_json():
    """NaN and infinities become words: other languages read it too."""
    loss = decay(100)
    loss[60:] = np.inf
    text = json.dumps(diagnose(curves(series("loss", loss))), allow_nan=False)
    assert json.loads(text)["findings"][0]["evidence"]["value"] == "inf"
