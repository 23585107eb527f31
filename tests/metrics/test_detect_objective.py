# SPDX-License-Identifier: Apache-2.0
"""What tag names say: the objective that is guessed, its direction, and the role of every other curve."""

from __future__ import annotations

import numpy as np
import pytest

from ade_hpc.metrics.objective import guess, role
from ade_hpc.metrics.series import Curves
from tests.metrics.detect_curves import curves, decay, series


@pytest.mark.parametrize(
    ("tags", "tag", "goal"),
    [
        ("loss/train loss/val accuracy/val lr", "accuracy/val", "max"),
        ("train_loss val_loss", "val_loss", "min"),
        ("train/epoch_loss validation/epoch_loss", "validation/epoch_loss", "min"),
        ("train/epoch_accuracy validation/epoch_accuracy validation/epoch_loss", "validation/epoch_accuracy", "max"),
        ("rollout/ep_rew_mean rollout/ep_len_mean train/value_loss train/loss", "rollout/ep_rew_mean", "max"),
        ("rollout/ep_rew_mean eval/mean_reward", "eval/mean_reward", "max"),
        ("charts/episodic_return losses/value_loss losses/entropy charts/SPS", "charts/episodic_return", "max"),
        ("train/lm_loss val/perplexity", "val/perplexity", "min"),
        ("trainLoss validLoss", "validLoss", "min"),
        ("test/wer train/ctc_loss", "test/wer", "min"),
        ("eval/bleu eval/loss", "eval/bleu", "max"),
        ("loss", "loss", "min"),
    ],
)
def test_the_objective_is_read_off_the_names(tags: str, tag: str, goal: str) -> None:
    """Validation before training, scores and returns before losses; and it says that it guessed."""
    found = guess(curves(*(series(one, decay(30)) for one in tags.split())))
    assert found is not None
    assert (found.tag, found.goal, found.guessed) == (tag, goal, True)


@pytest.mark.parametrize(
    "tags", ["losses/value_loss losses/policy_loss losses/entropy", "lr epoch", "weights/mean", ""]
)
def test_where_no_name_tells_nothing_is_guessed(tags: str) -> None:
    """A term of a loss is not what a run is for."""
    assert guess(curves(*(series(one, decay(30)) for one in tags.split()))) is None


def test_a_tag_without_values_is_no_objective() -> None:
    """One evaluation says nothing yet: the loss that has been logged is judged meanwhile."""
    found = guess(curves(series("loss/train", decay(30)), series("accuracy/val", [0.1])))
    assert found is not None
    assert found.tag == "loss/train"
    assert guess(Curves()) is None


def test_a_tag_that_is_all_nan_may_be_the_objective() -> None:
    """A validation loss that never was a number is what a run fails by."""
    found = guess(curves(series("loss/train", decay(30)), series("loss/val", np.full(30, np.nan))))
    assert found is not None
    assert found.tag == "loss/val"


@pytest.mark.parametrize(
    ("tag", "family", "split", "main"),
    [
        ("loss/train", "loss", "train", True),
        ("Loss/Train (total)", "loss", "train", True),
        ("train_loss_epoch", "loss", "train", True),
        ("cross_entropy/val", "loss", "val", True),
        ("losses/value_loss", "loss", "", False),
        ("loss/aux", "loss", "", False),
        ("losses/entropy", "loss", "", False),
        ("error_rate", "loss", "", True),
        ("eval/mean_reward", "return", "val", True),
        ("reward_std", "", "", False),
        ("grad_norm", "gradient", "", False),
        ("optim/learning_rate", "rate", "", False),
        ("update_ratio", "update", "", False),
        ("dead_frac", "dead", "", False),
        ("\x1b[31mloss", "", "", False),
        ("", "", "", False),
    ],
)
def test_roles(tag: str, family: str, split: str, main: bool) -> None:
    """What is measured, on which data, and whether it is the quantity that is trained."""
    said = role(tag)
    assert (said.split, said.main) == (split, main)
    assert said.family == family or tag.startswith("\x1b")
