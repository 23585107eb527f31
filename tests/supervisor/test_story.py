# SPDX-License-Identifier: Apache-2.0
"""The whole loop on the local scheduler: find, change, resubmit, prove."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ade_hpc.cli.tables import sentence
from ade_hpc.metrics.collect import collect
from ade_hpc.report.history import story
from ade_hpc.spec.preferences import load_preferences
from ade_hpc.store.records import load_attempt, owner_of, superseded_by
from ade_hpc.supervisor.backtest import replay
from ade_hpc.supervisor.record import finding_json
from ade_hpc.supervisor.recorded import recorded
from tests.support.project import make_project


def test_a_diverging_run_is_found_changed_resumed_and_proved(tmp_path: Path) -> None:
    """The story: one changed line on ade/tiny, a new attempt from before the explosion, and it learns."""
    project = make_project(tmp_path)
    project.submit()

    reports = project.run_to_end()

    first, second = project.folder.attempts()
    record = load_attempt(second)
    assert record is not None
    assert [(change.key, change.old, change.new) for change in record.changes] == [("optimizer.lr", 0.5, 0.05)]
    assert record.parent is not None
    assert record.parent.step is not None
    assert 0 < record.parent.step <= 150
    curves = collect(second.starts(), None)
    assert curves.series["lr"].values[0] == pytest.approx(0.05)
    assert curves.series["accuracy/val"].steps[0] == record.parent.step + 1
    assert curves.series["accuracy/val"].values[-1] > 0.97
    assert superseded_by(first) == "attempt 2"
    assert reports[-1].health.cause == "completed"
    assert reports[-1].code == 0

    diff = project.git("diff", "--unified=0", "HEAD", "ade/tiny")
    changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-  lr: 0.5", "+  lr: 0.05"]
    assert "diverg" in project.folder.memory.read_text()


def test_mode_observe_says_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    """The twin of the story: the same finding, no commit, no second attempt."""
    project = make_project(tmp_path, mode="observe")
    project.submit()

    reports = project.run_to_end()

    assert len(project.folder.attempts()) == 1
    assert project.git("rev-parse", "ade/tiny") == project.git("rev-parse", "HEAD")
    decisions = [report.decision for report in reports if report.decision]
    assert decisions
    assert {decision.outcome for decision in decisions} == {"observe"}
    assert "would have done" in project.folder.memory.read_text()


def test_a_trainer_that_takes_the_old_value_from_its_checkpoint_is_found_out(tmp_path: Path) -> None:
    """A change that a resume undoes must not be repeated for ever: no further change, and a person is told."""
    project = make_project(tmp_path, config={"ignore_config": True})
    project.submit()

    reports = project.run_to_end()

    assert len(project.folder.attempts()) == 2
    last = reports[-1]
    assert last.findings[0].kind == "change-ineffective"
    assert last.code == 4
    told = project.folder.memory.read_text()
    for word in (
        "0.05 but 0.5 was logged",
        "param_groups",
        "on_train_start",
        "on_train_begin",
        "resume with `weights`",
    ):
        assert word in told, word


def test_a_change_under_a_schedule_is_proved_by_what_the_attempt_before_logged(tmp_path: Path) -> None:
    """A cosine logs another rate at every step: it is half of the committed one, say, and all is well."""
    project = make_project(tmp_path, config={"cosine": True})
    project.submit()

    last = project.run_to_end()[-1]

    assert [len(project.folder.attempts()), last.attempt, last.code] == [2, 2, 0]
    assert [one.kind for one in last.findings if one.kind.startswith("change-")] == []
    rates = collect(project.folder.attempt(2).starts(), None).series["lr"].values
    assert 0.01 < rates[0] < 0.045, "it is not the committed rate, or the test shows nothing"
    ticks = replay(recorded(project.folder), load_preferences(project.path / "preferences.md"), project.site).steps
    live = [entry.data["findings"] for entry in project.ledger.of_kind("observed")]
    assert [[finding_json(finding) for finding in step.findings] for step in ticks] == live, "a backtest finds the same"


def test_an_old_value_that_a_schedule_hides_is_found_out(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={"cosine": True, "ignore_config": True})
    project.submit()

    last = project.run_to_end()[-1]

    assert len(project.folder.attempts()) == 2
    assert (last.findings[0].kind, last.code) == ("change-ineffective", 4)


def test_what_proves_nothing_is_a_note_that_says_what_to_do(tmp_path: Path) -> None:
    """Not what was committed, nor as before: the run goes on, and whoever looks reads how to have it proved."""
    project = make_project(tmp_path, config={"cosine": True, "jitter": True})
    project.submit()

    last = project.run_to_end()[-1]

    assert (len(project.folder.attempts()), last.code) == (2, 0)
    assert [one.severity for one in last.findings if one.kind == "change-unproved"] == ["note"]
    said = "optimizer.lr was committed as 0.05, "
    assert f"\n  note: {said}" in sentence(last)
    told = [line for event in story(project.folder)[0] for line in event.more if said in line]
    assert told
    assert told[0].endswith("the tag seems to follow a schedule; log the base value, or name another tag")


def test_a_healthy_run_is_left_alone(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}})
    project.submit()

    reports = project.run_to_end()

    assert len(project.folder.attempts()) == 1
    assert all(report.decision is None for report in reports)
    assert reports[-1].code == 0


def test_what_was_edited_after_submit_does_not_run(tmp_path: Path) -> None:
    """Editing a file between submit and start changes nothing that is queued (invariant 7)."""
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 40})
    project.submit()
    config = yaml.safe_load((project.path / "config.yaml").read_text())
    project.write("config.yaml", yaml.safe_dump({**config, "steps": 1}))
    project.write("train.py", "raise SystemExit(9)\n")

    assert project.wait_for_exit(1) == "completed"

    curves = collect(project.folder.attempt(1).starts(), None)
    assert curves.series["lr"].steps[-1] == 40


def test_the_job_that_passed_the_fence_is_the_one_that_is_watched(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 20})
    _, job_id = project.submit()
    project.wait_for_exit(1)
    assert owner_of(project.folder.attempt(1)) == job_id
