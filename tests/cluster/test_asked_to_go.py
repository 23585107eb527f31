# SPDX-License-Identifier: Apache-2.0
"""A job that is asked to go, on a real Slurm: what it calls that, and whether it comes back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ade_hpc.store.records import load_exits, load_heartbeats
from tests.support.lab import Lab
from tests.support.project import Project, make_project, wait_for

RESOURCES = {"partition": "main", "time": "10", "mem": "300M"}
LEARNS = {"optimizer": {"lr": 0.05}, "steps": 100_000, "step_s": 0.02}


def on_slurm(root: Path, **experiment: Any) -> Project:
    return make_project(root, kind="slurm", config=LEARNS, experiment={**RESOURCES, **experiment})


def trains(project: Project, restart: int = 0) -> None:
    """Wait until this start has logged."""
    attempt = project.folder.attempt(1)

    def logs() -> bool:
        return any(beat.restart == restart and beat.last_step for beat in load_heartbeats(attempt))

    wait_for(logs, 60, f"start {restart} does not train")


def test_a_term_from_anybody_is_no_preemption(in_lab: Lab, tmp_path: Path) -> None:
    """`scancel -s TERM`, or a site's reaper of idle GPUs: the job is RUNNING then, as in the grace of a preemption."""
    project = on_slurm(tmp_path)
    _, job = project.submit()
    trains(project)
    in_lab.run(["scancel", "--signal=TERM", job])

    assert project.wait_until_over(1) == "cancelled"

    assert not load_exits(project.folder.attempt(1))[-1].requeued
    assert in_lab.wait_state(job, ["FAILED"]) == "FAILED"
    assert project.tick().decision is None
    assert len(in_lab.states(job)) == 1


def test_a_preempted_job_comes_back_and_a_term_is_none_later_either(in_lab: Lab, tmp_path: Path) -> None:
    """Slurm says when it preempts, and forgets it with the requeue."""
    project = on_slurm(tmp_path, partition="spot", sbatch={"nodelist": "n3"})
    _, job = project.submit()
    attempt = project.folder.attempt(1)
    trains(project)
    in_lab.sbatch("sleep 1", "-w", "n3", "-c", "8", "-p", "main")

    trains(project, restart=1)

    first = load_exits(attempt)[0]
    assert (first.cause, first.requeued) == ("preempted", True)
    in_lab.run(["scancel", "--signal=TERM", job])
    assert project.wait_until_over(1) == "cancelled"
    time.sleep(1)
    assert len(in_lab.states(job)) == 2


def test_a_job_that_an_administrator_queues_again_goes_on(in_lab: Lab, tmp_path: Path) -> None:
    project = on_slurm(tmp_path)
    _, job = project.submit()
    trains(project)
    in_lab.run(["scontrol", "requeue", job])

    trains(project, restart=1)

    assert load_exits(project.folder.attempt(1))[0].cause == "cancelled"
    in_lab.run(["scancel", job])
    assert project.wait_until_over(1) == "cancelled"
    assert len(project.folder.attempts()) == 1
