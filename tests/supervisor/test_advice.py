# SPDX-License-Identifier: Apache-2.0
"""An answer from a laptop is one more model's word: guarded, charged, and bound to the question that was asked."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.agent.budget import Usage, spent
from ade_hpc.errors import UsageError
from ade_hpc.store.records import load_attempt
from ade_hpc.supervisor.advice import Advice, Suggestion, put_down
from tests.support.project import Project, make_project

PREFERENCES = """Lower the learning rate when the loss explodes.

```yaml
objective: {tag: accuracy/val, goal: max}
tunables: {optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 20, tag: lr}}
limits: {mode: auto, max_attempts: 6, cooldown: 0s}
agent: {model: scripted, where: laptop}
```
"""
PNG = b"\x89PNG\r\n\x1a\n and more"


@pytest.fixture
def asked(tmp_path: Path) -> tuple[Project, Advice]:
    """A project with an open question, and an answer to it that tries the bounds first."""
    project = make_project(tmp_path, config={"steps": 160, "hot_from": 60, "checkpoint_every": 10})
    project.write("preferences.md", PREFERENCES)
    project.commit()
    project.submit()
    project.wait_until_over(1)
    project.tick()
    question = project.ledger.of_kind("question")[-1].data
    wishes = (
        Suggestion("change", "why not", "last-healthy", (("steps", 1),)),
        Suggestion("change", "all the way", "last-healthy", (("optimizer.lr", 1e-9),)),
        Suggestion("change", "the loss\x1b[2J explodes", "last-healthy", (("optimizer.lr", 0.05),)),
        Suggestion("restart", "and again", "none"),
    )
    usage = {"scripted": Usage(3, 2000, 100)}
    return project, Advice("tiny", str(question["evidence"]), "answered", "Lower it.", wishes, ("It was hot.",), usage)


def test_the_guard_here_decides_and_an_answer_counts_once(asked: tuple[Project, Advice]) -> None:
    project, advice = asked
    late = replace(advice, evidence="another")
    put_down(project.folder, late, PNG, now=time.time())
    project.tick()
    assert [one.data["text"] for one in project.ledger.of_kind("unanswered")] == [
        "an answer came when the question was no longer open; it was not looked at"
    ]
    assert spent(project.ledger)["scripted"] == Usage(3, 2000, 100)
    assert not project.ledger.of_kind("answered")
    assert not list(project.folder.plots.glob("*another*"))

    put_down(project.folder, replace(advice, outcome="failed", text="HTTP status 500", suggestions=()), b"", now=1.0)
    failed = project.tick()
    assert failed.code == 3
    assert "no judgement this time: HTTP status 500" in failed.problems

    put_down(project.folder, advice, PNG, now=time.time())
    put_down(project.folder, advice, PNG, now=time.time())
    report = project.tick()
    again = project.tick()

    assert "resubmitted" in report.done
    assert not again.done
    (answered,) = project.ledger.of_kind("answered")
    assert [one["outcome"] for one in answered.data["decisions"]] == ["refuse", "refuse", "allow"]
    assert Path(answered.data["picture"]).read_bytes() == PNG
    record = load_attempt(project.folder.attempt(2))
    assert record is not None
    assert (record.author, record.reason) == ("model:scripted", "the loss explodes")
    assert record.config == {**record.config, "optimizer.lr": 0.05, "steps": 160}
    assert len(project.folder.attempts()) == 2
    assert spent(project.ledger)["scripted"] == Usage(12, 8000, 400)
    assert "Note" in project.folder.memory.read_text()
    project.wait_until_over(2)


def good() -> dict[str, Any]:
    return Advice("tiny", "e", "answered", "yes", (Suggestion("restart", "why"),), (), {"m": Usage(1, 1, 1)}).to_json()


BAD = [
    {"outcome": "done"}, {"suggestions": [{"action": "stop", "reason": ""}]}, {"usage": {"m": {"calls": -1}}},
    {"usage": {"m": {"calls": "1"}}}, {"notes": ["n"] * 9}, {"text": 1}, {"suggestions": [{"action": "ask"}]},
]  # fmt: skip


@pytest.mark.parametrize("change", BAD, ids=range(len(BAD)))
def test_what_is_no_answer_is_refused(change: dict[str, Any]) -> None:
    assert Advice.from_json(json.dumps(good()).encode()).to_json() == good()

    with pytest.raises(UsageError, match="answer"):
        Advice.from_json(json.dumps({**good(), **change}).encode())
