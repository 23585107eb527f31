# SPDX-License-Identifier: Apache-2.0
"""Invariant 1 on a real Slurm: killed at every boundary, and behind an sbatch that lies, never two trainers at once.

The judge is not our own word: accounting's rows (`sacct -D`) and the exit records of the compute nodes.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from ade_hpc.errors import SubmitUnclear
from ade_hpc.launch.lineage import job_of
from ade_hpc.store.files import read_json
from tests.support.lab import Lab
from tests.support.lies import SBATCH, liar
from tests.support.project import Project, assert_no_overlap, kill_at, lives, make_project, wait_for

SUBMIT = ("mkdir", "intent", "commit", "snapshot", "sbatch", "fact")
REPLACE = (*SUBMIT, "tombstone", "scancel", "replaced")
QUICK = {"steps": 200, "hot_from": 60, "checkpoint_every": 10}
LEARNS = {**QUICK, "optimizer": {"lr": 0.05}}
RESOURCES = {"partition": "main", "time": "10", "mem": "300M"}


def on_slurm(root: Path, **changes: object) -> Project:
    return make_project(
        root, kind="slurm", experiment=RESOURCES, config=changes.pop("config", QUICK), site={"slurm_timeout": "4s"}
    )


@pytest.fixture
def lying_sbatch(in_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the lying sbatch in front; write a word into the returned file to make its next call lie."""
    lying = liar(tmp_path / "bin", "sbatch", SBATCH, in_lab.env["PATH"])
    monkeypatch.setenv("PATH", lying.path)
    return lying.plan


def ended_lives(lab: Lab, job: str) -> list[tuple[str, str]]:
    """From when until when each life of a job took; empty until accounting knows of the end of the last one."""
    rows = lab.run(["sacct", "-D", "-X", "-n", "-P", "-o", "Start,End", "-j", job]).stdout.split()
    spans = [(start, end) for start, _, end in (row.partition("|") for row in rows)]
    return spans if all(end[:1].isdigit() for _, end in spans) else []


def assert_one_story(project: Project, lab: Lab) -> None:
    """No overlap by the exit records, none by accounting, and at most one job of an attempt ever trained."""
    assert_no_overlap(project)
    spans: list[tuple[str, str]] = []
    for attempt in project.folder.attempts():
        job = job_of(project.folder, project.ledger, attempt.number)
        if job is not None and any(name.startswith(f"{attempt.number}.") for _, _, name in lives(project)):
            spans += wait_for(lambda job=job: ended_lives(lab, job.job_id), 30, "accounting does not say how it ended")
    spans.sort()
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end <= start, f"jobs overlap in accounting: {spans}"


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("step", SUBMIT)
def test_a_submission_killed_anywhere_ends_in_one_run(in_lab: Lab, tmp_path: Path, step: str, place: str) -> None:
    project = on_slurm(tmp_path, config=LEARNS)
    kill_at(project, "submit", f"{step}:{place}")

    if not project.ledger.of_kind("intent"):
        project.submit()
    reports = project.run_to_end(90)

    assert reports[-1].health.cause == "completed"
    assert len(lives(project)) == 1
    assert_one_story(project, in_lab)


def test_a_job_is_adopted_whatever_its_user_did_before_the_next_tick(in_lab: Lab, tmp_path: Path) -> None:
    """The next tick finds a commit of the user's and a dirty tree: neither is the job's."""
    project = on_slurm(tmp_path, config=LEARNS)
    kill_at(project, "submit", "sbatch:after")
    attempt = project.folder.attempt(1)
    frozen = attempt.record.read_bytes()
    project.write("config.yaml", (project.path / "config.yaml").read_text().replace("lr: 0.05", "lr: 0.5"))
    project.commit()
    project.write("train.py", "half of an idea")

    reports = project.run_to_end(90)

    assert reports[-1].health.cause == "completed"
    assert attempt.record.read_bytes() == frozen
    assert not attempt.superseded.exists()
    assert_one_story(project, in_lab)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("step", REPLACE)
def test_a_replacement_killed_anywhere_is_finished(in_lab: Lab, tmp_path: Path, step: str, place: str) -> None:
    project = on_slurm(tmp_path)
    project.submit()
    kill_at(project, "tick", f"{step}:{place}")

    reports = project.run_to_end(90)

    assert reports[-1].health.cause == "completed"
    assert project.git("rev-list", "--count", "HEAD..ade/tiny") == "1"
    assert_one_story(project, in_lab)


@pytest.mark.parametrize("plan", ["hang", "submit-then-hang", "submit-then-die", "refuse"])
def test_a_replacement_through_an_sbatch_that_lies(in_lab: Lab, lying_sbatch: Path, tmp_path: Path, plan: str) -> None:
    """Whatever the client said: if the job exists it is adopted, if not it is submitted again."""
    project = on_slurm(tmp_path)
    project.submit()
    lying_sbatch.write_text(plan)

    reports = project.run_to_end(120)

    assert not lying_sbatch.exists(), "the lie was never told"
    assert reports[-1].health.cause == "completed"
    assert_one_story(project, in_lab)


def test_a_submission_waits_until_an_unclear_sbatch_is_clear(in_lab: Lab, lying_sbatch: Path, tmp_path: Path) -> None:
    """`submit` itself adopts the job that its killed client had submitted."""
    project = on_slurm(tmp_path, config=LEARNS)
    lying_sbatch.write_text("submit-then-hang")

    project.submit()

    assert project.wait_for_exit(1) == "completed"
    assert len(project.ledger.of_kind("trying")) == 1
    assert_one_story(project, in_lab)


def test_a_job_that_lands_long_after_its_client_died_is_fenced(in_lab: Lab, lying_sbatch: Path, tmp_path: Path) -> None:
    """It comes 30 s late, when the retry has long been running: it finds the owner and ends without training."""
    project = on_slurm(tmp_path, config={**LEARNS, "steps": 3000})
    lying_sbatch.write_text("submit-late")
    until = time.monotonic() + 80
    try:
        project.submit()
    except SubmitUnclear:  # pragma: no cover - only on a machine that is slower than the patience of `submit`
        wait_for(lambda: project.tick().attempt, until - time.monotonic(), "no tick could submit it")

    attempt = project.folder.attempt(1)
    assert project.wait_for_exit(1) == "completed"
    fenced = wait_for(lambda: list(attempt.exits.glob("fenced-*")), until - time.monotonic(), "the late job never came")
    record = read_json(fenced[0])
    assert record is not None
    assert record["cause"] == "fenced"
    assert record["trainer_started_at"] is None
    assert in_lab.wait_state(record["job_id"], ["COMPLETED"]) == "COMPLETED"
    assert len(lives(project)) == 1
    assert_one_story(project, in_lab)
