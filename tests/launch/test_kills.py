# SPDX-License-Identifier: Apache-2.0
"""Killed at every boundary of a submission and of a replacement, the story still comes to its one right end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ade_hpc.store.ledger import append
from ade_hpc.store.records import load_attempt, superseded_by
from tests.support.full_disk import room_for
from tests.support.killed import REQUEST
from tests.support.project import Project, assert_no_overlap, kill_at, lives, make_project

SUBMIT = ("mkdir", "intent", "commit", "snapshot", "sbatch", "fact")
REPLACE = (*SUBMIT, "tombstone", "scancel", "replaced")
QUICK = {"steps": 160, "hot_from": 60, "checkpoint_every": 10}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("step", SUBMIT)
def test_a_submission_killed_anywhere_ends_in_one_run(tmp_path: Path, step: str, place: str) -> None:
    """The next tick finishes what had been announced; what had not been announced is simply submitted again."""
    project = make_project(tmp_path, config={**QUICK, "optimizer": {"lr": 0.05}})
    kill_at(project, "submit", f"{step}:{place}")

    announced = bool(project.ledger.of_kind("intent"))
    if not announced:
        project.submit()
    reports = project.run_to_end()

    assert reports[-1].health.cause == "completed"
    assert len(lives(project)) == 1
    assert_no_overlap(project)
    assert len([attempt for attempt in project.folder.attempts() if load_attempt(attempt)]) == 1


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("step", REPLACE)
def test_a_replacement_killed_anywhere_is_finished_by_the_next_tick(tmp_path: Path, step: str, place: str) -> None:
    """One commit, one successor that learns, and at no time two trainers."""
    project = make_project(tmp_path, config=QUICK)
    project.submit()
    kill_at(project, "tick", f"{step}:{place}")

    reports = project.run_to_end()

    assert_no_overlap(project)
    assert reports[-1].health.cause == "completed"
    assert project.git("rev-list", "--count", "HEAD..ade/tiny") == "1"
    record = load_attempt(project.folder.attempt(reports[-1].attempt or 0))
    assert record is not None
    assert record.config["optimizer.lr"] == 0.05


@pytest.mark.parametrize("boundary", ["mkdir:after", "sbatch:before", "sbatch:after"])
def test_a_request_that_is_repeated_gets_the_attempt_that_it_made(tmp_path: Path, boundary: str) -> None:
    """Whoever asked may have got no answer; what had been announced is finished, and nothing is begun anew."""
    project = make_project(tmp_path, config={**QUICK, "optimizer": {"lr": 0.05}})
    kill_at(project, "submit", boundary)

    number, job = project.submit(request=REQUEST)

    assert project.submit(request=REQUEST) == (number, job)
    assert project.wait_until_over(number) == "completed"
    assert len(lives(project)) == 1
    assert project.submit(request="another wish") == (
        number + 1,
        project.ledger.of_kind("submitted")[-1].data["job_id"],
    )


def edit(project: Project) -> None:
    """The user works on: another learning rate, not committed."""
    path = project.path / "config.yaml"
    path.write_text(path.read_text().replace("lr: 0.05", "lr: 0.5"))


def commit(project: Project) -> None:
    edit(project)
    project.commit("a rate of my own")


def assert_what_ran_is_on_record(project: Project, number: int) -> None:
    """Invariant 7: the record says what lies in the code that the attempt has."""
    record, code = load_attempt(project.folder.attempt(number)), project.folder.attempt(number).code
    assert record is not None
    assert record.config["optimizer.lr"] == yaml.safe_load((code / "config.yaml").read_text())["optimizer"]["lr"]
    assert project.git("rev-parse", f"{record.commit}^{{tree}}") == record.tree == code.resolve().name


# From here on there is a record, and from `sbatch:after` on a job that trains
CUT_OFF = [("record:after", edit), ("trying:after", commit), ("sbatch:after", edit), ("sbatch:after", commit)]


@pytest.mark.parametrize(("boundary", "change"), CUT_OFF)
def test_a_submission_that_was_cut_off_runs_what_it_had_frozen(
    tmp_path: Path, boundary: str, change: Callable[[Project], None]
) -> None:
    """Whatever its user does to their checkout before the next tick: the job lives, and its record stays as it was."""
    project = make_project(tmp_path, config={**QUICK, "optimizer": {"lr": 0.05}})
    kill_at(project, "submit", boundary)
    attempt = project.folder.attempt(1)
    frozen = attempt.record.read_bytes()
    change(project)

    reports = project.run_to_end()

    assert reports[-1].health.cause == "completed"
    assert superseded_by(attempt) is None
    assert not project.ledger.of_kind("refused")
    assert attempt.record.read_bytes() == frozen
    assert [life for _, _, life in lives(project)] == ["1.0"]
    assert_what_ran_is_on_record(project, 1)


@pytest.mark.parametrize("boundary", ["sbatch:before", "sbatch:after"])
def test_a_replacement_that_was_cut_off_runs_what_it_had_frozen(tmp_path: Path, boundary: str) -> None:
    """Also where the experiment's own branch has moved on, as after a `git pull`."""
    project = make_project(tmp_path, config=QUICK)
    project.submit()
    kill_at(project, "tick", boundary)
    attempt = project.folder.attempts()[-1]
    frozen = attempt.record.read_bytes()
    project.write("notes.md", "work goes on")
    project.commit()
    project.git("update-ref", "refs/heads/ade/tiny", "HEAD")

    project.run_to_end()

    assert superseded_by(attempt) is None
    assert attempt.record.read_bytes() == frozen
    assert f"{attempt.number}.0" in [life for _, _, life in lives(project)]
    assert_no_overlap(project)


@pytest.mark.parametrize("boundary", ["commit:after", "snapshot:after"])
def test_what_was_cut_off_before_its_record_is_frozen_anew_as_a_whole(tmp_path: Path, boundary: str) -> None:
    """No job can be there yet: the commit of now is run, and what is on record is what runs."""
    project = make_project(tmp_path, config={**QUICK, "optimizer": {"lr": 0.05}, "steps": 40})
    kill_at(project, "submit", boundary)
    commit(project)

    project.tick()

    assert project.wait_until_over(1) == "completed"
    assert_what_ran_is_on_record(project, 1)


def test_a_dirty_tree_gives_up_what_had_no_record_and_later_it_is_submitted(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={**QUICK, "optimizer": {"lr": 0.05}})
    kill_at(project, "submit", "snapshot:after")
    edit(project)
    assert "attempt 1 was given up: uncommitted changes" in project.tick().problems[0]
    project.git("checkout", "config.yaml")

    assert project.submit()[0] == 2
    assert project.wait_until_over(2) == "completed"
    assert [life for _, _, life in lives(project)] == ["2.0"]


def test_a_job_that_could_not_be_put_on_record_is_adopted(tmp_path: Path) -> None:
    """The ledger has no room for the fact: the job that has just been submitted is not one to be given up."""
    project = make_project(tmp_path, config={**QUICK, "optimizer": {"lr": 0.05}})
    kill_at(project, "submit", "sbatch:after")
    append(project.folder.ledger, "note", {"text": "x" * 200_000}, now=0.0)  # nothing else is as big

    with room_for(project.folder.ledger.stat().st_size + 20):
        (problem,) = project.tick().problems
    assert "could not be put on record" in problem

    assert project.run_to_end()[-1].health.cause == "completed"
    assert [life for _, _, life in lives(project)] == ["1.0"]
