# SPDX-License-Identifier: Apache-2.0
"""A start that is asked to go, by a Slurm of stand-ins: in which order it tells whom, and when it is queued again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ade_hpc.store.files import read_json
from ade_hpc.store.records import load_exits, load_heartbeats
from tests.support.project import Project, make_project, wait_for
from tests.support.stand_ins import StandIns, slurm_of_stand_ins

LONG = {"optimizer": {"lr": 0.05}, "steps": 100_000, "step_s": 0.01, "checkpoint_every": 10_000}
SHOWS = "echo 'JobId=7 JobName=tiny JobState={} PreemptTime={}'"
CANCELLED = SHOWS.format("COMPLETING", "None")


def under_slurm(root: Path, scontrol: str, config: Mapping[str, Any] | None = None, **experiment: Any) -> Project:
    """A project whose job takes itself for Slurm's job 7; ``scontrol`` is a body for that program."""
    stand_ins_of(root).program("scontrol", scontrol)
    setup = ["unset ADE_JOB_ID", f"export SLURM_JOB_ID=7 PATH={root}/bin:$PATH"]
    return make_project(root, config={**LONG, **(config or {})}, experiment={"setup": setup, **experiment})


def stand_ins_of(root: Path) -> StandIns:
    return StandIns(root / "bin") if (root / "bin").exists() else slurm_of_stand_ins(root / "bin")


def trains(project: Project) -> None:
    attempt = project.folder.attempt(1)
    wait_for(lambda: any(beat.last_step for beat in load_heartbeats(attempt)), 20, "it never trained")


def ask_to_go(project: Project, number: int) -> None:
    """As Slurm does: a signal to the payload."""
    job = read_json(project.folder.attempt(1).path / "local" / "job.json")
    assert job is not None
    os.kill(int(job["pid"]), number)


def test_trainer_and_record_do_not_wait_for_a_slow_slurm(tmp_path: Path) -> None:
    """Between TERM and KILL there may be 30 s, and scontrol may take most of them."""
    project = under_slurm(tmp_path, f"sleep 5; {CANCELLED}")
    project.submit()
    trains(project)
    attempt = project.folder.attempt(1)
    before = time.monotonic()
    ask_to_go(project, signal.SIGTERM)

    saved = wait_for(lambda: list(attempt.checkpoints.glob("*.pt")), 4, "the trainer was told nothing")

    assert time.monotonic() - before < 4
    assert [(record.cause, record.final) for record in load_exits(attempt)] == [("cancelled", False)]
    assert project.wait_for_exit(1) == "cancelled"
    assert load_exits(attempt)[-1].returncode == 85
    assert list(attempt.checkpoints.glob("*.pt")) == saved, "it was told twice"
