# SPDX-License-Identifier: Apache-2.0
"""A start that is asked to go, by a Slurm of stand-ins: in which order it tells whom, and when it is queued again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.model import ExitRecord
from ade_hpc.store.files import read_json
from ade_hpc.store.records import load_exits, load_heartbeats
from tests.support.project import Project, make_project, wait_for
from tests.support.stand_ins import StandIns, slurm_of_stand_ins

LONG = {"optimizer": {"lr": 0.05}, "steps": 100_000, "step_s": 0.01, "checkpoint_every": 10_000}
SHOWS = "echo 'JobId=7 JobName=tiny JobState={} PreemptTime={}'"
CANCELLED = SHOWS.format("COMPLETING", "None")
RUNNING = SHOWS.format("RUNNING", "None")
PREEMPTED = SHOWS.format("RUNNING", "2026-11-30T19:25:48")
RESUMES = {"pattern": "step-{step}.pt", "resume": "--resume {path}"}  # and saves only now and then


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


def start_again(project: Project, restart: int) -> subprocess.Popen[bytes]:
    """As Slurm does with a job that it has queued again."""
    attempt, root = project.folder.attempt(1), project.path.parent
    ours = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restart), "PATH": f"{root}/bin:{os.environ['PATH']}"}
    return subprocess.Popen(
        [sys.executable, "-m", "ade_hpc.job", str(attempt.path)],
        env={**os.environ, **ours},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def last(project: Project) -> ExitRecord:
    return load_exits(project.folder.attempt(1))[-1]


def requeues(project: Project) -> list[str]:
    return [line for line in stand_ins_of(project.path.parent).called("scontrol") if "requeue" in line]


@pytest.mark.parametrize("checkpoint", [None, RESUMES])
def test_near_its_time_limit_a_start_that_has_saved_nothing_is_not_queued_again(
    tmp_path: Path, checkpoint: dict[str, str] | None
) -> None:
    """It has logged steps, but the next start would begin where this one began, and so would all that follow."""
    project = under_slurm(tmp_path, RUNNING, checkpoint=checkpoint)
    project.submit()
    trains(project)
    ask_to_go(project, signal.SIGUSR2)

    assert project.wait_for_exit(1) == "time-limit"

    assert "begin where this one began" in last(project).detail
    assert last(project).further
    assert not requeues(project)


def test_near_its_time_limit_a_start_goes_on_as_long_as_it_saves(tmp_path: Path) -> None:
    """The start after it resumes, and is told to go before it has saved anything."""
    project = under_slurm(tmp_path, RUNNING, {"checkpoint_every": 50, "step_s": 0.05}, checkpoint=RESUMES)
    project.submit()
    attempt = project.folder.attempt(1)
    wait_for(lambda: list(attempt.checkpoints.glob("*.pt")), 30, "nothing was saved")
    ask_to_go(project, signal.SIGUSR2)
    wait_for(lambda: load_exits(attempt) and last(project).requeued, 20, "it was not queued again")

    again = start_again(project, restart=1)
    wait_for(lambda: any(beat.restart == 1 and beat.last_step for beat in load_heartbeats(attempt)), 20, "no start")
    again.send_signal(signal.SIGUSR2)

    assert again.wait(20)
    assert "begin where this one began" in last(project).detail
    assert len(requeues(project)) == 1


def test_preempted_three_times_without_a_new_step_it_is_not_queued_again(tmp_path: Path) -> None:
    """Nor does it run where Slurm queues it again all the same; a person may have it run once more."""
    project = under_slurm(tmp_path, PREEMPTED, command=["sleep", "300"])
    project.submit()
    attempt = project.folder.attempt(1)

    def running(restart: int) -> bool:
        return any(beat.restart == restart and beat.trainer_pid for beat in load_heartbeats(attempt))

    wait_for(lambda: running(0), 20, "it never started")
    ask_to_go(project, signal.SIGTERM)
    wait_for(lambda: load_exits(attempt) and last(project).requeued, 20, "it was not queued again")
    for restart in (1, 2):
        again = start_again(project, restart)
        wait_for(lambda restart=restart: running(restart), 20, f"start {restart} never started")
        again.send_signal(signal.SIGTERM)
        again.wait(20)

    assert [record.further for record in load_exits(attempt)] == [False] * 3
    assert (last(project).cause, last(project).requeued) == ("preempted", False)
    assert "3 starts in a row have brought no new step" in last(project).detail
    assert len(requeues(project)) == 2

    assert start_again(project, 3).wait(20) == 0
    assert (last(project).restart, last(project).trainer_started_at) == (3, None)
    assert "not started again" in last(project).detail
    by_hand = start_again(project, 4)
    wait_for(lambda: running(4), 20, "what a person has queued again does not run")
    by_hand.terminate()
    by_hand.wait(20)
