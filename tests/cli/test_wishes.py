# SPDX-License-Identifier: Apache-2.0
"""`revert` does what it says, or says why not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from ade_hpc.store.inbox import drop
from ade_hpc.store.records import load_attempt
from tests.cli.test_commands import ade
from tests.support.project import CONFIG, Project, make_project, wait_for


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A rule has made 0.05 out of 0.5, and that run has ended."""
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    project = make_project(tmp_path)
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    project.submit()
    project.run_to_end()
    assert rates(project) == [0.5, 0.05]
    return project


def rates(project: Project) -> list[object]:
    records = [load_attempt(attempt) for attempt in project.folder.attempts()]
    return [record.config["optimizer.lr"] for record in records if record is not None]


def submit_with(project: Project, rate: float) -> None:
    """By hand, a run too short for a rule to say anything about."""
    project.write("config.yaml", yaml.safe_dump({**CONFIG, "optimizer": {"lr": rate}, "steps": 30}, sort_keys=False))
    project.commit("my own rate")
    project.submit()
    project.wait_until_over(3)


def test_revert_refuses_where_a_person_has_submitted_another_value_since(changed: Project) -> None:
    submit_with(changed, 0.02)

    answer = ade("revert", "tiny")

    assert answer.returncode == 2
    said = "optimizer.lr of tiny is 0.02 now, and no longer 0.05 as attempt 2 made it, so there is nothing to take back"
    assert said in answer.stderr
    assert changed.tick().decision is None
    assert rates(changed) == [0.5, 0.05, 0.02]


def test_a_wish_that_came_another_way_changes_no_value_of_a_person_either(changed: Project) -> None:
    submit_with(changed, 0.02)
    drop(changed.folder, "revert", {"attempt": 3, "by": "ada"}, now=time.time())

    assert changed.tick().decision is None
    assert rates(changed) == [0.5, 0.05, 0.02]


def test_revert_takes_back_what_a_person_has_submitted_again_as_it_was(changed: Project) -> None:
    submit_with(changed, 0.05)

    answer = ade("revert", "tiny")

    assert answer.returncode == 0, answer.stderr
    assert "tiny: takes back optimizer.lr: 0.05 -> 0.5 of attempt 2" in answer.stdout
    wait_for(lambda: changed.tick().done, 30, "it was not taken back")
    assert rates(changed) == [0.5, 0.05, 0.05, 0.5]
    changed.wait_until_over(4)
