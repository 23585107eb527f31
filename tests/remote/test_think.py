# SPDX-License-Identifier: Apache-2.0
"""`tick` from a laptop: the cluster observes, guards and acts; the model is asked from the laptop, with its key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.agent.budget import spent
from ade_hpc.remote.connect import connect
from ade_hpc.remote.far import Far
from ade_hpc.remote.send import pack, send
from ade_hpc.remote.think import tick
from ade_hpc.spec.site import Llm
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import read_ledger
from ade_hpc.store.records import load_attempt
from tests.support.chat_server import KEY, ChatServer, call, chat_server, say, tool_answers
from tests.support.project import make_project, wait_for
from tests.support.sshd import Laptop, LoginNode, login_node

pytestmark = pytest.mark.sshd
SITE = "scheduler: local\nheartbeat_interval: 1s\nmax_submissions_per_hour: 100\n"
PREFERENCES = """# What I want

When the loss explodes, lower the learning rate.

```yaml
objective: {tag: accuracy/val, goal: max}
tunables: {optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 20, tag: lr}}
limits: {mode: auto, max_attempts: 6, cooldown: 0s}
agent: {model: scripted, vision_model: scripted-vision, where: laptop}
```
"""
LOOK = call(("analyze_metric", {"tag": "loss/val", "question": "Where does it explode?"}))
TOO_FAR = call(("modify_config", {"key": "optimizer.lr", "value": 1.0e-6, "reason": "the loss explodes"}))
DOWN = call(("modify_config", {"key": "optimizer.lr", "value": 0.05, "reason": "the loss explodes"}))


@pytest.fixture
def login(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoginNode]:
    with login_node(more={"GIT_CONFIG_NOSYSTEM": "1"}) as node:
        settings = node.home / ".config" / "ade-hpc"
        settings.mkdir(parents=True, mode=0o700)
        (settings / "site.yaml").write_text(SITE)
        Laptop.at(isolated, monkeypatch).add("login", node)
        yield node


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with chat_server(LOOK, say("It explodes after step 150."), TOO_FAR, DOWN) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        yield running


def begin(root: Path) -> ExperimentDir:
    """A run that explodes and has ended; no rule is written for it."""
    project = make_project(root, config={"steps": 160, "hot_from": 60, "checkpoint_every": 10})
    project.write("preferences.md", PREFERENCES)
    project.commit("no rules")
    wanted = {"local": False, "dry_run": False, "allow_dirty": False}
    parcel = pack("login", project.path / "experiment.yaml", environ=os.environ, **wanted)
    with connect("login") as transport:
        sent = send(Far(transport), parcel)
    folder = ExperimentDir(Path(sent.receipt["run_dir"]))
    wait_for(lambda: list(folder.attempt(1).exits.glob("*.json")), 60, "the first attempt does not end")
    return folder


def think(*names: str, **more: Any) -> dict[str, Any]:
    with connect("login") as transport:
        (row,) = tick(Far(transport), names, dry_run=False, think=True, llm=Llm(), environ=os.environ, **more)
    return row


def test_the_model_is_asked_here_and_its_bounded_change_runs_there(
    tmp_path: Path, login: LoginNode, server: ChatServer
) -> None:
    folder = begin(tmp_path)
    with connect("login") as transport:
        scheduled = transport.run(["ade-hpc", "tick"], timeout_s=60)
    assert scheduled.returncode == 0
    assert server.asked == []
    assert [entry.kind for entry in read_ledger(folder.ledger).of_kind("question", "answered")] == ["question"]

    row = think()

    assert "resubmitted" in row["sentence"]
    assert row["report"]["code"] == 0
    record = load_attempt(folder.attempt(2))
    assert record is not None
    assert [(one.key, one.old, one.new) for one in record.changes] == [("optimizer.lr", 0.5, 0.05)]
    assert record.author == "model:scripted"
    assert "max_factor" in " ".join(tool_answers(server.asked)), "the model reads the guard's own refusal"
    ledger = read_ledger(folder.ledger)
    (answered,) = ledger.of_kind("answered")
    assert [one["outcome"] for one in answered.data["decisions"]] == ["refuse", "allow"]
    assert spent(ledger)["scripted"].calls == 3
    assert server.asked[1].images == [Path(answered.data["picture"]).read_bytes()]
    assert not list(folder.inbox.iterdir())
    wait_for(lambda: list(folder.attempt(2).exits.glob("*.json")), 60, "the second attempt does not end")
    told = (
        login.told
        + login.said
        + "".join(path.read_text(errors="replace") for path in login.home.rglob("*") if path.is_file())
    )
    assert KEY not in told
