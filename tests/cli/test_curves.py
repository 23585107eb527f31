# SPDX-License-Identifier: Apache-2.0
"""``diagnose`` and ``plot`` on any folder: what they say where there is nothing to judge or nowhere to write."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from ade_hpc.cli import curves
from ade_hpc.errors import AdeError, UsageError

CLOCK = 1.7e9


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    """Three hundred steps and, as Keras counts them, twenty epochs; it over-fits from the tenth on."""
    folder = tmp_path / "run"
    with SummaryWriter(str(folder / "train")) as train, SummaryWriter(str(folder / "validation")) as val:
        for step in range(300):
            train.add_scalar("batch_loss", 2.3 * np.exp(-step / 40), step, walltime=CLOCK + step)
        for epoch, loss in enumerate(np.r_[2.3 * np.exp(-np.arange(10) / 4), np.linspace(0.4, 2.0, 10)]):
            val.add_scalar("epoch_loss", loss, epoch, walltime=CLOCK + 15 * epoch)
    return folder


def answer(capsys: pytest.CaptureFixture[str], logdir: Path, objective: str | None, until: int | None) -> dict:
    curves.diagnose(logdir, objective, until, as_json=True)
    return json.loads(capsys.readouterr().out)


def test_until_step_cuts_epochs_by_the_clock(logdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At step 100 seven epochs had ended, though all twenty have numbers below 100."""
    objective = "validation/epoch_loss:min"
    assert answer(capsys, logdir, objective, 100)["objective"]["points"] == 7
    assert answer(capsys, logdir, objective, 100)["verdict"] == "healthy"
    assert answer(capsys, logdir, objective, None)["verdict"] == "failing"


def test_why_there_is_no_verdict(logdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for objective, until, sentence in (
        ("nonsense:max", None, "nonsense is not in this log, which holds train/batch_loss, validation/epoch_loss"),
        ("validation/epoch_loss:min", 20, "the objective has 2 values so far"),
        ("validation/epoch_loss:min", -1, "no step up to -1"),
    ):
        curves.diagnose(logdir, objective, until, as_json=False)
        assert sentence in capsys.readouterr().out


def test_a_single_event_file_will_do(logdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """People point at the file as well as at its folder."""
    file = next((logdir / "validation").iterdir())
    assert answer(capsys, file, None, None)["objective"]["tag"] == "epoch_loss"


def test_a_file_name_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "\x1b[31mred.tfevents.1").symlink_to("/nowhere")
    with pytest.raises(AdeError, match="holds no scalars") as caught:
        curves.diagnose(tmp_path, None, None, as_json=False)
    assert "\x1b" not in str(caught.value)
    assert "red.tfevents.1: a symbolic link, not followed" in str(caught.value)


def test_a_plot_is_written_and_replaced(logdir: Path, tmp_path: Path) -> None:
    target = tmp_path / "curves.png"
    for _ in range(2):
        curves.plot(logdir, target, None)
        assert target.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["curves.pdf", "curves", "folder.png", "pipe.png", "device.png"])
def test_a_plot_replaces_no_folder_and_no_device(name: str, logdir: Path, tmp_path: Path) -> None:
    """``-o /dev/null`` as root would have taken the device away from everybody."""
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/null")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="give -o"):
        curves.plot(logdir, tmp_path / name, None)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert stat.S_ISCHR(os.stat(tmp_path / "device.png").st_mode)


def test_a_plot_that_cannot_be_written_says_why(logdir: Path, tmp_path: Path) -> None:
    with pytest.raises(AdeError, match="No such file or directory"):
        curves.plot(logdir, tmp_path / "nowhere" / "curves.png", None)
