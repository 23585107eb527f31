# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc watch`: a job that nobody told ade-hpc about, on a real Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.launch.schedulers import open_scheduler
from ade_hpc.spec.site import Site
from ade_hpc.supervisor.watch import EVERY_S, follow
from tests.support.counting import counted, wrap
from tests.support.lab import Lab
from tests.support.project import TRAINER, wait_for

REAL_SLEEP = time.sleep
CONFIG = {"steps": 500, "hot_from": 100_000, "checkpoint_every": 1000, "step_s": 0.01}


def trainer(lab: Lab, root: Path, *options: str, **config: Any) -> tuple[str, Path]:
    """A plain sbatch of a trainer with TensorBoard, whose orders lie in ``root``; returns its job id and log folder."""
    logdir = root / "runs"
    logdir.mkdir()
    lines = [f"{key}: {json.dumps(value)}" for key, value in {**CONFIG, **config}.items()]
    (root / "config.yaml").write_text("\n".join(["optimizer:", "  lr: 0.05", *lines, ""]))
    argv = f"{sys.executable} {TRAINER} --config {root / 'config.yaml'} --tensorboard {logdir} --checkpoints {root}"
    return lab.sbatch(f"TMPDIR={root} exec {argv}", *options), logdir


def watch(lab: Lab, job_id: str, logdir: Path, *more: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ade_hpc.cli", "watch", job_id, "--logdir", str(logdir), *more]
    env = {**lab.env, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)


def seen(lab: Lab, job_id: str, logdir: Path) -> tuple[dict[str, Any], int]:
    done = watch(lab, job_id, logdir, "--json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.returncode


def test_a_job_of_somebody_elses_making_is_watched_from_its_first_event_to_its_end(in_lab: Lab, tmp_path: Path) -> None:
    """Running with its curves, then completed; every source says what it saw, and nothing is written anywhere."""
    job_id, logdir = trainer(in_lab, tmp_path, steps=100_000)

    def running() -> dict[str, Any] | None:
        answer, _ = seen(in_lab, job_id, logdir)
        return answer if answer["health"] == "running" and answer["step"] else None

    answer = wait_for(running, 60, "it never ran")
    assert {one["source"] for one in answer["sources"]} == {"queue", "accounting", "event files"}
    assert answer["verdict"] in ("healthy", "insufficient")
    assert answer["would"] is None

    (tmp_path / "order").write_text("finish")
    in_lab.wait_state(job_id, ["COMPLETED"], 60)
    followed = watch(in_lab, job_id, logdir, "--follow")
    assert followed.returncode == 0, followed.stdout
    assert "ended (completed)" in followed.stdout
    assert not (Path(in_lab.env["HOME"]) / ".local").exists()


def test_following_a_job_is_a_call_a_minute(in_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look asks both and lasts for two minutes; then they are asked in turn, and its end is seen."""
    job_id, logdir = trainer(in_lab, tmp_path, steps=1000)
    monkeypatch.setenv("PATH", wrap(tmp_path / "calls", in_lab.env["PATH"]))
    minutes = 0.0

    def sleep(seconds: float) -> None:
        nonlocal minutes
        minutes += seconds / EVERY_S
        REAL_SLEEP(0.5)

    monkeypatch.setattr("ade_hpc.supervisor.watch.time.sleep", sleep)
    healths = []
    for sight in follow(job_id, logdir, open_scheduler("slurm", Site()), None):
        assert sum(counted(tmp_path / "calls").values()) <= max(minutes, 1) + 1
        healths.append((sight.health.verdict, sight.health.cause))
    assert healths[-1] == ("ended", "completed")
    assert minutes > 3
    assert set(counted(tmp_path / "calls")) == {"squeue", "sacct"}


def test_a_watched_job_that_crashed_needs_a_person_and_hears_what_would_be_done(in_lab: Lab, tmp_path: Path) -> None:
    job_id, logdir = trainer(in_lab, tmp_path, exit_at=20, exit_with=3)
    in_lab.wait_state(job_id, ["FAILED"], 60)
    answer, code = seen(in_lab, job_id, logdir)
    assert (answer["health"], answer["cause"], answer["domain"], code) == ("ended", "failed", "workload", 4)
    assert answer["would"]["action"] == "restart"
    assert "step 20" in answer["would"]["reason"]


def test_a_watched_job_that_can_never_start_says_what_to_change(in_lab: Lab, tmp_path: Path) -> None:
    job_id, logdir = trainer(in_lab, tmp_path, "--time=5:00:00")

    def waits() -> tuple[dict[str, Any], int] | None:
        found = seen(in_lab, job_id, logdir)
        return found if found[0]["reason"] else None

    answer, code = wait_for(waits, 60, "no reason was given")
    in_lab.run(["scancel", job_id])
    assert (answer["health"], code) == ("pending", 4)
    assert "time" in answer["would"]["reason"]


def test_a_job_that_nobody_knows_is_unknown_and_not_fine(in_lab: Lab, tmp_path: Path) -> None:
    done = watch(in_lab, "99999", tmp_path)
    assert done.returncode == 3
    assert "another cluster" in done.stdout
    assert watch(in_lab, "1; id", tmp_path).returncode == 2
    assert watch(in_lab, "1", tmp_path / "gone").returncode == 2
