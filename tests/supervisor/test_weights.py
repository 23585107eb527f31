# SPDX-License-Identifier: Apache-2.0
"""``resume: weights``: the weights of the chosen checkpoint, and a fresh optimizer that knows no old value."""

from __future__ import annotations

from pathlib import Path

import pytest

from ade_hpc.job.identity import JobIdentity
from ade_hpc.job.launchline import build_launch_line
from ade_hpc.launch.parent import last_healthy
from ade_hpc.metrics.collect import collect
from ade_hpc.report.history import attempts
from ade_hpc.store.records import load_attempt
from tests.conftest import isolate
from tests.support.project import Project, make_project

CHECKPOINT = {"pattern": "step-{step}.pt", "resume": "--resume {path}", "signal": "SIGUSR1"}


def make(root: Path, *, weights: bool, **config: object) -> Project:
    """A run that explodes, and a rule that goes on with the weights alone."""
    checkpoint = {**CHECKPOINT, **({"weights": "--weights {path}"} if weights else {})}
    project = make_project(root, experiment={"checkpoint": checkpoint}, config=config)
    path = project.path / "preferences.md"
    path.write_text(path.read_text().replace("last-healthy", "weights"))
    project.commit("with the weights alone")
    return project


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Its trainer takes the learning rate from what it resumes, whatever the config says."""
    with pytest.MonkeyPatch.context() as patch:
        isolate(tmp_path_factory.mktemp("home"), patch)
        project = make(tmp_path_factory.mktemp("weights"), weights=True, ignore_config=True)
        project.submit()
        assert project.run_to_end()[-1].health.cause == "completed"
    return project


def test_a_change_takes_effect_though_the_trainer_clings_to_its_checkpoint(mended: Project) -> None:
    record = load_attempt(mended.folder.attempt(2))
    assert record is not None
    assert record.parent is not None
    assert record.parent.weights_only
    assert 0 < (record.parent.step or 0) <= 150
    curves = collect(mended.folder.attempt(2).starts(), None)
    assert curves.series["lr"].values[0] == pytest.approx(0.05)
    assert curves.series["lr"].steps[0] == 1, "a fresh optimizer counts from the beginning"
    assert curves.series["loss/val"].values[0] < 1.0, "and the weights are not fresh: those would have a loss of 2"
    assert curves.series["accuracy/val"].values[-1] > 0.97
    assert len(mended.folder.attempts()) == 2
    assert attempts(mended.folder)[1].parent.startswith("the weights of step-")
    assert "from the weights only" in mended.folder.memory.read_text()


def test_a_restart_resumes_what_the_attempt_itself_has_saved(mended: Project) -> None:
    """Only the first start takes the weights alone; a requeue goes on where it was."""
    attempt = mended.folder.attempt(2)
    record = load_attempt(attempt)
    assert record is not None
    job = JobIdentity("1", 1, "node", leader=True, slurm=False, tasks=1)
    argv = build_launch_line(attempt, job, record, mended.experiment, {}).argv
    assert argv[-2:] == ["--resume", str(attempt.checkpoints / "step-000400.pt")]
    for path in attempt.checkpoints.iterdir():
        path.rename(path.with_suffix(".away"))
    argv = build_launch_line(attempt, job, record, mended.experiment, {}).argv
    assert record.parent is not None
    assert argv[-2:] == ["--weights", str(attempt.start / record.parent.name)]
    again = last_healthy(attempt, "step-{step}.pt", None, None)
    assert again is not None
    assert again.weights_only, "an attempt that saved nothing is begun again as it was begun"
    for path in attempt.checkpoints.iterdir():
        path.rename(path.with_suffix(".pt"))


def test_a_trainer_that_can_not_take_the_weights_alone_is_never_asked_to(tmp_path: Path) -> None:
    project = make(tmp_path, weights=False)
    project.submit()
    project.wait_for_exit(1)
    report = project.tick()
    assert report.decision is not None
    assert report.decision.outcome == "refuse"
    assert "`checkpoint: weights:` in experiment.yaml" in report.decision.refusals[0]
    assert report.code == 4
    assert len(project.folder.attempts()) == 1
