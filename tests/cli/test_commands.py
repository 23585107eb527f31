# SPDX-License-Identifier: Apache-2.0
"""The command line as its users and their programs meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.project import Project, kill_at, make_project, wait_for
from tests.support.stand_ins import slurm_of_stand_ins

HEAVY = ("langchain", "torch", "matplotlib", "numpy", "tensorboard", "paramiko", "git", "submitit", "openai")


def ade(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``ade-hpc`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ade_hpc.cli", *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A healthy project of a user whose registry and site file are their own."""
    site = tmp_path / "site.yaml"
    site.write_text("scheduler: local\nheartbeat_interval: 1s\n")
    monkeypatch.setenv("ADE_SITE", str(site))
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    return make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 60})


def test_the_story_in_commands(project: Project) -> None:
    """submit, status, logs, tick, history, cancel, each as text and as JSON where it reads."""
    submitted = json.loads(ade("submit", "experiment.yaml", "--json", cwd=project.path).stdout)
    assert submitted["name"] == "tiny"
    assert submitted["attempt"] == 1
    project.wait_for_exit(1)

    status = json.loads(ade("status", "--json").stdout)
    row = status["experiments"][0]
    assert (row["name"], row["health"], row["cause"], row["attempt"]) == ("tiny", "ended", "completed", 1)
    assert Path(row["output"]).is_dir()
    assert "tiny" in ade("status").stdout

    assert "finished at step 60" in ade("logs", "tiny").stdout
    assert "finished at step 60" in ade("logs", "tiny", "--follow").stdout
    logged = json.loads(ade("logs", "tiny", "--json").stdout)
    assert (logged["schema"], logged["name"], logged["attempt"]) == (1, "tiny", 1)
    assert {Path(one["path"]).parent for one in logged["files"]} == {project.folder.attempt(1).logs}
    assert "\n".join(line for one in logged["files"] for line in one["lines"]) + "\n" == ade("logs", "tiny").stdout
    assert all(one["whole"] for one in logged["files"])
    assert ade("logs", "tiny", "--json", "--follow").returncode == 2

    ticked = ade("tick", "--json")
    assert ticked.returncode == 0
    assert json.loads(ticked.stdout)["experiments"][0]["health"]["verdict"] == "ended"

    history = json.loads(ade("history", "tiny", "--json").stdout)
    assert [attempt["outcome"] for attempt in history["attempts"]] == ["completed"]
    assert "attempt 1 is job" in ade("history", "tiny", "-v").stdout

    assert ade("cancel", "tiny").returncode == 0


def test_follow_stays_until_the_end_and_prints_everything(project: Project) -> None:
    done = ade("submit", "experiment.yaml", "--follow", cwd=project.path)
    assert done.returncode == 0, done.stderr
    assert "starts at step 0" in done.stdout
    assert "finished at step 60" in done.stdout


def test_dry_run_prints_the_script_and_creates_nothing(project: Project, tmp_path: Path) -> None:
    done = ade("submit", "experiment.yaml", "--dry-run", cwd=project.path)
    assert done.stdout.startswith("#!/bin/bash")
    assert not (project.path / ".ade").exists()
    assert not (tmp_path / "registry").exists()


def test_the_caps_of_the_site_hold_for_people_too(project: Project, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("scheduler: local\nheartbeat_interval: 1s\nmax_submissions_per_hour: 1\n")
    assert ade("submit", "experiment.yaml", cwd=project.path).returncode == 0
    project.wait_until_over(1)
    again = ade("submit", "experiment.yaml", cwd=project.path)
    assert again.returncode == 2
    assert "the site allows 1" in again.stderr


def test_a_cancelled_experiment_stays_ended_until_it_is_submitted_again(tmp_path: Path, project: Project) -> None:
    project.write("config.yaml", (project.path / "config.yaml").read_text().replace("steps: 60", "steps: 100000"))
    project.commit("a long run")
    ade("submit", "experiment.yaml", cwd=project.path)
    wait_for(lambda: list(project.folder.attempt(1).checkpoints.glob("*.pt")), 60, "it never trained")

    again = ade("submit", "experiment.yaml", cwd=project.path)
    assert again.returncode == 2
    assert "ade-hpc cancel tiny" in again.stderr

    assert ade("cancel", "tiny").returncode == 0
    assert project.wait_until_over(1) == "cancelled"
    assert ade("tick").returncode == 0
    assert project.ledger.of_kind("cancel")
    assert len(project.folder.attempts()) == 1

    assert ade("submit", "experiment.yaml", cwd=project.path).returncode == 0
    assert len(project.folder.attempts()) == 2
    ade("cancel", "tiny")


def test_who_cancels_a_run_that_has_crashed_has_decided_about_it(tmp_path: Path, project: Project) -> None:
    project.write("config.yaml", (project.path / "config.yaml").read_text() + "exit_at: 5\nexit_with: 3\n")
    project.commit("it crashes")
    ade("submit", "experiment.yaml", cwd=project.path)
    project.wait_until_over(1)
    assert ade("cancel", "tiny").returncode == 0
    ticked = ade("tick")
    assert ticked.returncode == 0, ticked.stdout
    assert len(project.folder.attempts()) == 1


def test_commands_of_slurm_without_a_cluster_are_said_at_once(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login node whose module is not loaded: nothing was sent, so nothing is unclear and nobody has to wait."""
    slurm = slurm_of_stand_ins(tmp_path / "bin")
    for name in ("sbatch", "squeue", "sacct"):
        slurm.program(name, f"echo '{name}: fatal: Could not establish a configuration source' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{slurm.folder}:{os.environ['PATH']}")
    (tmp_path / "site.yaml").write_text("heartbeat_interval: 1s\n")
    begun = time.monotonic()
    done = ade("submit", "experiment.yaml", cwd=project.path)
    assert time.monotonic() - begun < 40
    assert done.returncode == 1
    assert "SLURM_CONF" in done.stderr
    assert "not submitted: Slurm's commands find no slurm.conf here" in ade("status").stdout


def test_a_submission_that_was_cut_off_is_no_old_refusal(project: Project) -> None:
    """What was refused before it is not what `status` has to say of it."""
    (project.path / "notes").write_text("not committed")
    project.git("add", "notes")
    assert "notes" in ade("submit", "experiment.yaml", cwd=project.path).stderr
    project.commit()
    kill_at(project, "submit", "sbatch:before")
    assert "attempt 2 is being submitted: `ade-hpc tick tiny` finishes that" in ade("status").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["status"], 3, "no registry of experiments"),
        (["tick"], 3, "no registry of experiments"),
        (["status", "nobody"], 3, "no registry"),
        (["submit", "absent.yaml"], 1, "absent.yaml"),
        (["submit", "."], 1, "is a folder: give the file in it, such as experiment.yaml"),
        (["submit", "config.yaml"], 1, "this is no experiment.yaml"),
        (["diagnose", "absent"], 2, "is no folder"),
        (["diagnose", "."], 1, "holds no scalars"),
        (["plot", ".", "-o", "x.png"], 1, "holds no scalars"),
        (["diagnose", ".", "--objective", "loss"], 1, "holds no scalars"),
        (["submit", "experiment.yaml", "--unknown"], 2, "No such option"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_an_exit_code(
    tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    (tmp_path / "config.yaml").write_text("optimizer: {lr: 0.1}\n")
    done = ade(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert sentence in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_init_writes_files_that_pass_check(tmp_path: Path) -> None:
    assert ade("init", cwd=tmp_path).returncode == 0
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True, timeout=30)
    done = ade("check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    (tmp_path / "experiment.yaml").write_text("name: x\ncomand: [a]\n")
    wrong = ade("check", "--json", cwd=tmp_path)
    assert wrong.returncode == 1
    assert any("did you mean `command`" in problem["message"] for problem in json.loads(wrong.stdout)["problems"])


@pytest.mark.parametrize("arguments", [["--help"], ["status"]])
def test_light_commands_import_nothing_heavy(project: Project, arguments: list[str]) -> None:
    """`--help` and `status` run on login nodes and in watch loops: none of the heavy packages may be imported."""
    project.submit()
    project.wait_for_exit(1)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ade_hpc.cli", *arguments],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "ade_hpc" in imported
    assert not imported & set(HEAVY)
