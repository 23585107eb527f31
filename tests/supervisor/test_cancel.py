# SPDX-License-Identifier: Apache-2.0
"""What was ended for good is called cancelled by whoever tells of it; superseded is what another took over from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ade_hpc.launch.cancel import cancel
from ade_hpc.model import JobTruth
from ade_hpc.policy.health import judge_health
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.report.history import attempts
from ade_hpc.report.night import gather
from ade_hpc.report.page import render
from ade_hpc.report.status import gather as statuses
from ade_hpc.spec.preferences import load_preferences
from ade_hpc.store.records import load_exits, superseded_by
from ade_hpc.supervisor.backtest import replay
from ade_hpc.supervisor.recorded import recorded
from tests.support.listener import Listener, listening
from tests.support.project import PREFERENCES, Project, make_project, wait_for

Told = tuple[Project, Listener]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    """A long run whose end is told."""
    with listening() as listener:
        project = make_project(tmp_path, config={"steps": 100_000})
        address = tmp_path / "address"
        address.write_text(listener.address("token") + "\n")
        address.chmod(0o600)
        wishes = PREFERENCES.replace("MODE", "auto").replace("rules:", f"notify: [{{file: {address}}}]\nrules:")
        project.write("preferences.md", wishes)
        project.commit("who is told")
        yield project, listener


def by_hand(project: Project) -> None:
    project.submit()
    wait_for(lambda: any(project.folder.attempt(1).checkpoints.glob("*.pt")), 30, "it never trained")
    cancel(project.folder, project.scheduler, who="ada")


def by_a_rule(project: Project) -> None:
    text = (project.path / "preferences.md").read_text()
    stop = text.replace("do: {scale: {optimizer.lr: 0.1}, resume: last-healthy}", "do: {stop: true}")
    project.write("preferences.md", stop)
    project.commit("no second try")
    project.submit()
    wait_for(lambda: project.tick().done == "stopped", 30, "the rule never stopped it")


@pytest.mark.parametrize("ended", [by_hand, by_a_rule])
def test_a_run_that_was_ended_for_good_is_called_cancelled_by_everybody(
    told: Told, ended: Callable[[Project], None]
) -> None:
    project, listener = told

    ended(project)
    assert project.wait_until_over(1) == "cancelled"
    report = project.tick()

    assert (report.health.verdict, report.health.cause) == ("ended", "cancelled")
    (row,) = statuses([project.folder], lambda kind: project.scheduler)
    assert (row.health, row.cause) == ("ended", "cancelled")
    assert [one.outcome for one in attempts(project.folder)] == ["cancelled"]
    page = render([gather(project.folder, project.site, now=time.time())], now=time.time())
    assert '<span class="badge still">cancelled</span>' in page
    assert ">replaced<" not in page
    assert any("attempt 1 has ended: cancelled" in text for text in listener.texts)
    steps = replay(recorded(project.folder), load_preferences(project.path / "preferences.md"), project.site).steps
    assert steps[-1].health.cause == "cancelled"


def test_what_was_cancelled_before_it_left_a_record_is_told_from_what_is_open(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.submit()
    project.wait_until_over(1)
    for path in project.folder.attempt(1).exits.iterdir():
        path.unlink()
    assert [one.outcome for one in attempts(project.folder)] == ["open"]

    cancel(project.folder, project.scheduler, who="ada")

    assert superseded_by(project.folder.attempt(1)) == "cancel"
    assert load_exits(project.folder.attempt(1)) == []
    assert [one.outcome for one in attempts(project.folder)] == ["cancelled"]


@pytest.mark.parametrize(
    ("state", "by", "cause"),
    [
        ("COMPLETED", "cancel", "cancelled"),  # it came to the fence after that
        ("COMPLETED", "rule:hopeless", "cancelled"),
        ("COMPLETED", "attempt 2", "completed"),
        ("COMPLETED", None, "completed"),
        ("NODE_FAIL", "cancel", "node-fail"),
    ],
)
def test_without_a_record_the_tombstone_tells_how_a_job_ended_that_never_began(
    state: str, by: str | None, cause: str
) -> None:
    snapshot = Snapshot("x", 1e4, 1, JobTruth("ended", state, said_by="accounting"), superseded_by=by)
    assert judge_health(snapshot).cause == cause
