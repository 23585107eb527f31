# SPDX-License-Identifier: Apache-2.0
"""The fast path: a job that comes to grief names the cause and ends itself, and its successor starts by itself."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.model import ExitRecord
from ade_hpc.report.history import attempts
from ade_hpc.store.files import create_exclusive
from ade_hpc.store.records import load_exits, load_heartbeats
from tests.support.project import Project, assert_no_overlap, make_project, wait_for

COOL = {"optimizer": {"lr": 0.05}, "steps": 4000, "step_s": 0.01, "checkpoint_every": 20}
FLOOR = {"stall_floor": "2s"}


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a project whose jobs find the test's site file."""
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))

    def make(**changes: Any) -> Project:
        changes["config"] = {**COOL, **changes.get("config", {})}
        changes["experiment"] = {**FLOOR, **changes.get("experiment", {})}
        return make_project(tmp_path, fast_path=True, **changes)

    return make


def _trains(project: Project, attempt: int) -> bool:
    beats = load_heartbeats(project.folder.attempt(attempt)) if len(project.folder.attempts()) >= attempt else []
    return any(beat.event_bytes > 200 for beat in beats)


def _end(project: Project, attempt: int) -> ExitRecord:
    return load_exits(project.folder.attempt(attempt))[-1]


def test_a_crash_is_named_and_answered_by_the_job_itself(supervised: Any) -> None:
    project = supervised(config={"raise_at": 150})
    project.submit()

    wait_for(lambda: _trains(project, 2), 60, "no successor")

    end = _end(project, 1)
    assert (end.cause, end.returncode, end.last_step) == ("failed", 1, 150)
    assert end.signature.startswith("ValueError at train.py:")
    assert end.signature.endswith("in break_down")
    words = (project.folder.attempt(1).path / end.evidence).read_text().splitlines()
    assert words[-1] == "ValueError: bad batch at step 150"
    assert len(words) <= 51
    assert not (project.folder.attempt(1).path / "local" / "cancel.json").exists(), "its own tick has cancelled it"
    assert_no_overlap(project)
    project.end()


def test_the_same_crash_again_without_progress_is_a_person_s(supervised: Any) -> None:
    """Every start dies at the step it starts from: the second tick asks, and no third job is made."""
    project = supervised(config={"raise_at": 10})
    project.submit()
    project.wait_until_over(1)

    wait_for(lambda: len(project.folder.attempts()) == 2, 60, "it was not tried once more")
    project.wait_until_over(2)

    asked = project.ledger.of_kind("observed")[-1].data
    assert asked["decision"]["action"] == "ask"
    assert "the same crash" in asked["decision"]["reason"]
    assert asked["evidence"][-1] == "ValueError: bad batch at step 10"
    time.sleep(1)
    assert len(project.folder.attempts()) == 2


def test_a_stalled_trainer_is_asked_for_its_stacks_and_ended(supervised: Any) -> None:
    project = supervised(config={"hang_at": 400})
    project.submit()

    wait_for(lambda: _trains(project, 2), 60, "no successor")

    end = _end(project, 1)
    assert (end.cause, end.last_step) == ("stalled", 400)
    assert end.returncode
    assert end.burnt_s is not None
    assert 2 < end.burnt_s < 30
    kept = (project.folder.attempt(1).path / end.evidence).read_text()
    assert "in wait_for_ever" in kept
    assert "starts at step 0" in kept
    assert attempts(project.folder)[0].burnt_s == end.burnt_s
    assert_no_overlap(project)
    project.end()


def test_no_signal_goes_to_a_trainer_that_did_not_ask_for_it(supervised: Any) -> None:
    """It dies of the TERM that everybody gets, not of a USR2 that it had no handler for."""
    project = supervised(config={"hang_at": 400, "mute": True})
    project.submit()

    wait_for(lambda: _trains(project, 2), 60, "no successor")

    assert _end(project, 1).returncode == 128 + 15
    assert "stacks" not in (project.folder.attempt(1).path / _end(project, 1).evidence).read_text()
    project.end()


def test_a_loss_that_is_no_number_ends_the_run_and_the_rule_lowers_the_rate(supervised: Any) -> None:
    """What was never seen to learn can't be said to have lost it: the run is looked at a few times before it breaks."""
    project = supervised(config={"optimizer": {"lr": 0.5}, "hot_from": 300})
    project.submit()

    wait_for(lambda: _trains(project, 2), 60, "no successor")

    end = _end(project, 1)
    assert end.cause == "non-finite"
    assert end.burnt_s is not None
    assert end.burnt_s < 30
    intent = project.ledger.of_kind("intent")[-1].data
    assert intent["author"] == "rule:diverged"
    assert intent["changes"] == [{"key": "optimizer.lr", "old": 0.5, "new": 0.05}]
    assert_no_overlap(project)
    project.end()


@pytest.mark.parametrize("mode", ["observe", "propose"])
def test_without_the_right_to_act_a_living_trainer_is_left_alone(supervised: Any, mode: str) -> None:
    """Its stall shows in the heartbeat, and it lives on; a crash is told to a tick at once, which only says or asks."""
    project = supervised(mode=mode, config={"hang_at": 400})
    project.submit()

    wait_for(lambda: project.tick().health.verdict == "stalled", 60, "the stall was not seen")

    time.sleep(2)
    assert load_exits(project.folder.attempt(1)) == []
    assert len(project.folder.attempts()) == 1
    project.end()


def test_a_hold_keeps_the_node_from_ending_anything(supervised: Any) -> None:
    project = supervised(config={"hang_at": 400})
    project.submit()
    create_exclusive(project.folder.hold, b"")

    wait_for(lambda: project.tick().health.verdict == "stalled", 60, "the stall was not seen")
    time.sleep(2)
    assert load_exits(project.folder.attempt(1)) == []

    project.folder.hold.unlink()
    assert project.wait_for_exit(1) == "stalled"
    wait_for(lambda: _trains(project, 2), 60, "no successor")
    project.end()


def test_a_tick_that_fails_does_not_change_how_the_job_ends(supervised: Any, tmp_path: Path) -> None:
    project = supervised(config={"exit_at": 50, "exit_with": 3})
    (tmp_path / "site.yaml").write_text("nonsense: true\n")
    project.submit()

    assert project.wait_until_over(1) == "failed"

    assert (_end(project, 1).returncode, _end(project, 1).signature) == (3, "exit code 3")
    assert "site.yaml" in "".join(path.read_text() for path in project.folder.attempt(1).logs.iterdir())
    assert len(project.folder.attempts()) == 1


def test_the_tick_of_a_job_sees_no_secret_of_the_job(supervised: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the node's environment may hold (pass_env, a login shell) is not handed on."""
    project = supervised(experiment={"setup": ["export OF_THE_JOB=canary"]})
    record = project.path.parent / "seen"
    stub = project.path.parent / "bin"
    stub.mkdir()
    (stub / "git").write_text(f'#!/bin/sh\nenv >> {record}\nexec /usr/bin/git "$@"\n')
    (stub / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub}:/usr/bin:/bin")
    project.submit()
    record.unlink()
    (project.folder.attempt(1).scratch / "order").write_text("exit")

    wait_for(lambda: _trains(project, 2), 60, "no successor")

    seen = record.read_text()
    assert "ADE_REGISTRY=" in seen
    assert "canary" not in seen
    assert "ADE_JOB_ID" not in seen
    project.end()


def test_attempts_without_the_fast_path_ask_for_nothing(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={**COOL, "exit_at": 50, "exit_with": 3})
    project.submit()
    assert project.wait_until_over(1) == "failed"
    time.sleep(1)
    assert project.ledger.of_kind("observed") == []
    assert json.loads(project.folder.attempt(1).record.read_text())["fast_path"] is None


def test_a_sidecar_that_breaks_does_not_harm_the_trainer(tmp_path: Path) -> None:
    """Whatever nobody has thought of: here every look at the event files raises."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "from ade_hpc.job.progress import Logged\ndef look(self):\n    raise RuntimeError('boom')\nLogged.look = look\n"
    )
    setup = [f"export PYTHONPATH={broken}"]
    project = make_project(tmp_path, config={**COOL, "steps": 100}, experiment={"setup": setup})
    project.submit()

    assert project.wait_until_over(1) == "completed"

    assert (
        "the sidecar could not look (RuntimeError: boom)" in (project.folder.attempt(1).logs / "local.out").read_text()
    )
