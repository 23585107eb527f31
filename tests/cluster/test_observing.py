# SPDX-License-Identifier: Apache-2.0
"""What it costs to look, and what is said of a job that waits, is unknown, or can't be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from ade_hpc.launch.schedulers import open_scheduler
from ade_hpc.report.status import gather
from ade_hpc.supervisor.tick import Ticker
from tests.support.counting import counted, wrap
from tests.support.lab import Lab
from tests.support.project import Project, make_project, wait_for

LEARNS = {"optimizer": {"lr": 0.05}, "steps": 3000}
RESOURCES = {"partition": "main", "mem": "200M", "time": "10"}


def on_slurm(root: Path, name: str = "tiny", **resources: str) -> Project:
    return make_project(root, kind="slurm", experiment={**RESOURCES, "name": name, **resources}, config=LEARNS)


@pytest.fixture
def calls(in_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every call of a Slurm client leaves a line in this file."""
    monkeypatch.setenv("PATH", wrap(tmp_path / "calls", in_lab.env["PATH"]))
    return tmp_path / "calls"


def test_a_tick_asks_the_queue_once_and_accounting_once_for_all(calls: Path, tmp_path: Path) -> None:
    """Invariant 9, with three experiments that live."""
    projects = [on_slurm(tmp_path / name, name) for name in ("one", "two", "three")]
    for project in projects:
        project.submit()
    calls.write_text("")

    first = projects[0]
    ticker = Ticker(first.site, lambda kind: first.scheduler, lambda step: None)
    reports = ticker.tick([project.folder for project in projects])

    assert all(report.health.verdict in ("pending", "starting", "running") for report in reports)
    assert counted(calls) == {"squeue": 1, "sacct": 1}
    for project in projects:
        project.scheduler.cancel(_job(project))


def test_status_says_why_a_job_waits_and_where_its_output_will_be(in_lab: Lab, tmp_path: Path) -> None:
    project = on_slurm(tmp_path, time="5:00:00")  # more than the partition's MaxTime: accepted, and never started
    project.submit()

    def row() -> object:
        found = gather([project.folder], lambda kind: open_scheduler(kind, project.site))[0]
        return found if found.reason else None

    seen = wait_for(row, 60, "no reason was given")
    assert seen.health == "pending"
    assert "time" in seen.reason
    assert Path(seen.output).is_dir()
    project.scheduler.cancel(_job(project))


def test_without_slurm_s_answer_everything_is_unknown_and_nothing_is_done(
    in_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence is not death: exit code 3, no new attempt (invariant 2)."""
    project = make_project(tmp_path, kind="slurm", experiment=RESOURCES, site={"slurm_timeout": "2s"})
    project.submit()
    wait_for(lambda: project.tick().findings, 60, "it never diverged")  # from here on a rule would act
    attempts = len(project.folder.attempts())
    (tmp_path / "bin").mkdir()
    for name in ("squeue", "sacct"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\nsleep 30\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{in_lab.env['PATH']}")

    report = project.tick()

    assert report.health.verdict == "unknown"
    assert report.code == 3
    assert any("queue" in problem for problem in report.problems)
    assert len(project.folder.attempts()) == attempts
    monkeypatch.setenv("PATH", in_lab.env["PATH"])
    assert project.run_to_end(60)[-1].health.cause == "completed"


def _job(project: Project) -> object:
    from ade_hpc.launch.lineage import job_of

    job = job_of(project.folder, project.ledger, 1)
    assert job is not None
    return job
