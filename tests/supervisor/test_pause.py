# SPDX-License-Identifier: Apache-2.0
"""pause, resume and HOLD: a paused experiment is watched, diagnosed and has proposals, and nothing is done to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ade_hpc.errors import AdeError
from ade_hpc.metrics.series import Curves
from ade_hpc.model import Proposal
from ade_hpc.spec.preferences import Preferences
from ade_hpc.supervisor.act import Actor
from ade_hpc.supervisor.experiment import load_supervised
from ade_hpc.supervisor.observe import look
from tests.cli.test_commands import ade
from tests.support.project import Project, assert_no_overlap, kill_at, make_project


@pytest.fixture
def diverging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A run that has exploded and whose rule would have it replaced at the next tick."""
    site = tmp_path / "site.yaml"
    site.write_text("scheduler: local\nheartbeat_interval: 1s\n")
    monkeypatch.setenv("ADE_SITE", str(site))
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    project = make_project(tmp_path)
    project.submit()
    project.wait_for_exit(1)
    return project


def status() -> dict[str, object]:
    return dict(json.loads(ade("status", "--json").stdout)["experiments"][0])


def test_pause_holds_it_until_resume(diverging: Project) -> None:
    assert ade("pause", "tiny").returncode == 0
    assert status()["paused_by"], "it counts before a tick has recorded it"

    report = diverging.tick()
    assert [finding.kind for finding in report.findings]
    assert report.decision is not None
    assert report.decision.outcome == "refuse"
    assert report.decision.refusals[0].startswith("paused by ")
    assert len(diverging.folder.attempts()) == 1
    assert [entry.kind for entry in diverging.ledger.of_kind("pause")] == ["pause"]
    told = ade("history", "tiny", "-v").stdout
    assert "paused by " in told
    assert "paused by " in ade("status").stdout
    assert diverging.tick().decision is not None
    assert len(diverging.folder.attempts()) == 1, "it stays paused"

    assert "act on it again" in ade("resume", "tiny").stdout
    assert status()["paused_by"] == ""
    assert "resubmitted" in diverging.tick().done
    assert "resumed by " in ade("history", "tiny", "-v").stdout
    diverging.wait_for_exit(2)


@pytest.mark.parametrize("where", ["experiment", "registry"])
def test_the_existence_of_a_hold_file_is_enough(diverging: Project, where: str) -> None:
    hold = diverging.folder.hold if where == "experiment" else diverging.registry.parent / "HOLD"
    hold.touch()
    done = ade("tick", "--json")
    decision = json.loads(done.stdout)["experiments"][0]["decision"]
    assert decision["refusals"][0] == f"paused by the file {hold}"
    assert len(diverging.folder.attempts()) == 1
    assert str(hold) in ade("status").stdout.replace("\n", "")
    assert "still paused" in ade("resume", "tiny").stdout


def test_a_hold_counts_for_a_tick_that_is_at_work_already(diverging: Project) -> None:
    """A model may think for minutes between the look and the deed."""
    one = load_supervised(diverging.folder)
    snapshot = look([one], lambda kind: diverging.scheduler).snapshot(one, lambda *_: Curves())
    assert snapshot is not None
    diverging.folder.hold.touch()
    actor = Actor(one, diverging.site, diverging.scheduler, lambda step: None)
    for act in (
        lambda: actor.replace_attempt(snapshot, Proposal("restart", "rule:x", ""), Preferences(), tick="1"),
        lambda: actor.stop(snapshot, Proposal("stop", "rule:x", ""), now=snapshot.now),
    ):
        with pytest.raises(AdeError, match="paused by the file"):
            act()
    assert len(diverging.folder.attempts()) == 1
    assert diverging.ledger.of_kind("stop") == []


def test_what_was_begun_waits_under_a_hold_and_goes_on_after_it(tmp_path: Path) -> None:
    """A tick that died between its plan and sbatch: the plan stays open, and no job is submitted."""
    project = make_project(tmp_path, config={"steps": 160, "hot_from": 60, "checkpoint_every": 10})
    project.submit()
    kill_at(project, "tick", "sbatch:before")
    project.folder.hold.touch()

    report = project.tick()
    assert "attempt 2 was begun and waits: paused by the file" in report.problems[0]
    assert project.ledger.of_kind("submitted")[-1].data["attempt"] == 1

    project.folder.hold.unlink()
    assert project.run_to_end()[-1].health.cause == "completed"
    assert_no_overlap(project)
