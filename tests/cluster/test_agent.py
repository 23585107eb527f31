# SPDX-License-Identifier: Apache-2.0
"""The agent on a real Slurm, by the real commands: what it saw, what was let through, and a night without a model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ade_hpc.store.records import load_attempt, load_exits
from tests.agent.test_story import DOWN, LOOK, TOO_FAR
from tests.support.chat_server import KEY, ChatServer, chat_server, fail, say
from tests.support.lab import Lab
from tests.support.project import Project, assert_no_overlap, make_project, wait_for

RESOURCES = {"partition": "main", "time": "10", "mem": "400M", "cpus_per_task": 1}
WANTED = """# What I want

Get the accuracy up. When the loss explodes, go down with the learning rate.

```yaml
objective: {tag: accuracy/val, goal: max, target: 0.97}
tunables: {optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 20, tag: lr}}
limits: {mode: auto, max_attempts: 4, cooldown: 0s}
agent: {ask: on-finding, model: scripted, vision_model: scripted-vision}
```
"""
RULE = "```yaml\nrules: [{name: hot, when: [nan, diverging], do: {scale: {optimizer.lr: 0.1}}}]\n```\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with chat_server(LOOK, say("It explodes after step 150."), TOO_FAR, DOWN) as running:
        yield running


@pytest.fixture
def site(in_lab: Lab, server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the commands find in the environment of a user of this lab."""
    settings: dict[str, object] = {"heartbeat_interval": "1s", "llm": {"base_url": server.url}}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump({"scheduler": "slurm", **settings}))
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    return settings


def submitted(root: Path, registry: Path, site: dict[str, object], *, name: str = "tiny", more: str = "") -> Project:
    """A run that will explode."""
    made = make_project(root, kind="slurm", config={"steps": 280}, experiment={"name": name, **RESOURCES}, site=site)
    project = replace(made, registry=registry)
    (project.path / "preferences.md").write_text(WANTED + more)
    project.commit("what I want")
    project.submit()
    return project


def ade(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ade_hpc.cli", *arguments]
    return subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False)


def kinds(project: Project) -> list[str]:
    return [entry.kind for entry in project.ledger.entries]


def log_of(project: Project, attempt: int) -> str:
    return "".join(path.read_text() for path in project.folder.attempt(attempt).logs.iterdir())


def test_it_sees_the_curves_is_bounded_and_its_change_runs(
    in_lab: Lab, site: dict[str, object], server: ChatServer, tmp_path: Path
) -> None:
    """One changed line, a new job from the checkpoint before the explosion, and the whole story to read."""
    project = submitted(tmp_path / "a", tmp_path / "registry", site)

    def changed() -> bool:
        done = ade("tick")
        assert done.returncode == 0, done.stdout + done.stderr
        return "resubmitted" in done.stdout

    wait_for(changed, 60, "the model's change was never made")
    assert project.wait_for_exit(2) == "completed"

    answered = project.ledger.of_kind("answered")[0].data
    assert [asked.images for asked in server.asked][1] == [Path(answered["picture"]).read_bytes()]
    assert [one["outcome"] for one in answered["decisions"]] == ["refuse", "allow"]
    assert "outside 0.0001 to 1" in answered["decisions"][0]["refusals"][0]
    diff = project.git("diff", "--unified=0", "HEAD", "ade/tiny").splitlines()
    assert [line for line in diff if line[:2] in ("- ", "+ ")] == ["-  lr: 0.5", "+  lr: 0.05"]
    record = load_attempt(project.folder.attempt(2))
    assert record is not None
    assert record.parent is not None
    assert record.author == "model:scripted"
    assert 100 <= (record.parent.step or 0) <= 150
    assert f"starts at step {record.parent.step} with lr 0.05" in log_of(project, 2)
    jobs = {number: load_exits(project.folder.attempt(number))[-1].job_id for number in (1, 2)}
    assert in_lab.wait_state(jobs[2], ["COMPLETED"]) == "COMPLETED"
    assert in_lab.wait_state(jobs[1], ["CANCELLED", "COMPLETED"])
    assert_no_overlap(project)

    memory = project.folder.memory.read_text()
    assert "· model:scripted" in memory
    assert "optimizer.lr: 0.5 -> 0.05" in memory
    assert ade("tick").returncode == 0
    told = ade("history", "tiny", "-v").stdout
    for word in ("a question about attempt 1 waits", "max_factor", answered["picture"], "0.5 -> 0.05", "is job"):
        assert word in told.replace("\n", ""), word
    assert "calls of a model" in ade("status").stdout
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_with_the_model_down_rules_work_and_a_later_tick_answers_the_question(
    site: dict[str, object], server: ChatServer, tmp_path: Path
) -> None:
    """Two experiments explode: a rule mends one at once; the other waits, exit code 3, for a tick that can ask."""
    server.says(fail(503))
    registry = tmp_path / "registry"
    asks = submitted(tmp_path / "a", registry, site, name="asks")
    ruled = submitted(tmp_path / "r", registry, site, name="ruled", more=RULE)
    for project in (asks, ruled):
        project.wait_until_over(1)

    down = ade("tick")

    assert down.returncode == 3, down.stdout + down.stderr
    assert "ruled: ended (completed)" in down.stdout
    assert down.stdout.count("resubmitted") == 1
    assert "HTTP status 503" in down.stdout
    assert "waits for a model" in ade("status").stdout
    assert kinds(asks)[-2:] == ["question", "unanswered"]
    assert [len(project.folder.attempts()) for project in (asks, ruled)] == [1, 2]
    assert ruled.wait_for_exit(2) == "completed"

    assert ade("tick", "--no-llm", "asks").returncode == 0
    assert len(asks.folder.attempts()) == 1
    server.says(DOWN)
    up = ade("tick")

    assert up.returncode == 0, up.stdout + up.stderr
    assert kinds(asks).count("question") == 1
    assert "answered" in kinds(asks)
    assert asks.wait_for_exit(2) == "completed"
