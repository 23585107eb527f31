# SPDX-License-Identifier: Apache-2.0
"""Killed at every boundary of a submission and of a replacement, the story still comes to its one right end."""

from __future__ import annotations

from pathlib import Path

import pytest

from ade_hpc.store.records import load_attempt
from tests.support.killed import REQUEST
from tests.support.project import assert_no_overlap, kill_at, lives, make_project

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
