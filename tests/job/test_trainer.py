# SPDX-License-Identifier: Apache-2.0
"""How a trainer is ended."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from ade_hpc.job import proc
from ade_hpc.job.trainer import Trainer
from tests.support.project import wait_for


def state(trainer: Trainer) -> str:
    process = proc.trainer_below(trainer.pid)
    return process.state if process else ""


def test_a_stopped_trainer_dies_of_term_and_need_not_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ade_hpc.job.trainer.LAST_WORDS_S", 60.0)  # KILL is far
    trainer = Trainer(subprocess.Popen(["sleep", "60"], start_new_session=True))
    wait_for(lambda: state(trainer) == "S", 30, "it never slept")
    os.kill(trainer.pid, signal.SIGSTOP)
    wait_for(lambda: state(trainer) == "T", 30, "it was not stopped")

    assert trainer.end() == 128 + signal.SIGTERM
