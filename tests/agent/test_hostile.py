# SPDX-License-Identifier: Apache-2.0
"""No model, however wrong or hostile, has an effect outside the bounds: judged by what was done, not by the guard."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from langchain_core.tools import ToolException
from pydantic import ValidationError

from ade_hpc.agent.budget import Allowance, Meter
from ade_hpc.agent.deadline import Deadline
from ade_hpc.agent.model import Caller
from ade_hpc.agent.prompt import Fence
from ade_hpc.agent.redact import Redactor
from ade_hpc.agent.tools import Desk, make_tools
from ade_hpc.model import JobRef, Lookup, Observation, Submission
from ade_hpc.repo.edit import set_scalar
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.supervisor.tick import Ticker
from tests.agent.hostile import EXAMPLES, sequences, written
from tests.agent.situations import guard, situation
from tests.agent.test_story import PREFERENCES
from tests.support.chat_server import KEY, ChatServer, call, chat_server, say
from tests.support.project import Project, make_project

CONFIG = "# mine\noptimizer:\n  lr: 0.1  # start here\n  clip: 1.0\nseed: 0\n"


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=sequences)
def test_whatever_tools_are_called_at_most_one_bounded_line_would_change(tmp_path: Path, calls: list[Any]) -> None:
    one = situation(tmp_path / "x.png")
    redact = Redactor((KEY,))
    caller = Caller(Meter(Allowance()), Deadline.after(60), 5.0, redact)
    desk = Desk(one, guard(one), Fence(redact), redact, caller, "model:hostile", None, drawn=True)
    tools = {tool.name: tool for tool in make_tools(desk)}
    for name, arguments in calls:
        if name in tools:
            with contextlib.suppress(ValidationError, ToolException):
                tools[name].invoke({"name": name, "args": arguments, "id": "1", "type": "tool_call"})
    passed = [decision.proposal for decision in desk.decisions if decision.outcome != "refuse"]
    assert len(passed) <= 1
    assert len(desk.notes) <= 2
    assert all(note == " ".join(note.split()) and len(note) <= 600 for note in desk.notes)
    for proposal in passed:
        assert proposal.action in ("change", "restart")
        assert not proposal.resources
        assert not proposal.exclude_nodes
        _check_config(CONFIG, _edited(proposal.changes), lr=0.1, factor=10)


def _edited(changes: Any) -> str:
    text = CONFIG
    for change in changes:
        text = set_scalar(text, change.key, change.new)
    return text


def _check_config(before: str, after: str, *, lr: float, factor: float) -> None:
    """At most one line differs; it is one of the two that may, and its value is within the person's bounds."""
    old, new = before.splitlines(), after.splitlines()
    assert len(old) == len(new)
    changed = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
    assert len(changed) <= 1
    config, start = yaml.safe_load(after), yaml.safe_load(before)
    value = config["optimizer"]["lr"]
    assert isinstance(value, float)
    assert max(1e-4, lr / factor * 0.999) <= value <= min(1.0, lr * factor * 1.001)
    assert config["optimizer"].get("clip") in (None, 0.5, 1.0, 5.0)
    rest = {key: item for key, item in config.items() if key != "optimizer"}
    assert rest == {key: item for key, item in start.items() if key != "optimizer"}


# --- the same, through the model's server, the tick, git and a scheduler -------------------------------------------


@dataclass
class Recorder:
    """A scheduler that answers like the real one and only writes down what it would do."""

    real: Scheduler
    kind: str = "local"
    settle_s: float = 0.0
    submitted: list[Submission] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def submit(self, submission: Submission) -> str:
        self.submitted.append(submission)
        return f"recorded.{len(self.submitted)}"

    def observe(self, jobs: list[JobRef]) -> Observation:
        return self.real.observe(jobs)

    def find(self, name: str, since: float) -> Lookup:
        return Lookup(True)

    def cancel(self, job: JobRef) -> None:
        self.cancelled.append(job.job_id)

    def script(self, submission: Submission) -> str:
        return self.real.script(submission)


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


@pytest.fixture
def troubled(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A run that exploded and ended, with no rule for it; and a copy of everything, to begin anew from."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    project = make_project(
        tmp_path / "live", site={"llm": {"base_url": server.url}}, config={"step_s": 0.0, "steps": 300}
    )
    wanted = PREFERENCES.replace("MODE", "auto").replace("ASK", "on-finding").replace("WHERE", "tick")
    (project.path / "preferences.md").write_text(wanted.replace(", vision_model: scripted-vision", ""))
    project.commit("no rules")
    project.submit()
    project.wait_for_exit(1)
    shutil.copytree(tmp_path / "live", tmp_path / "copy", symlinks=True)
    return project


@settings(
    max_examples=max(6, EXAMPLES // 40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],  # to shrink one takes minutes
)
@given(calls=sequences)
def test_a_hostile_model_behind_the_whole_loop_has_no_effect_outside_the_bounds(
    troubled: Project, server: ChatServer, calls: list[Any]
) -> None:
    live = troubled.path.parent
    shutil.rmtree(live)
    shutil.copytree(live.with_name("copy"), live, symlinks=True)
    before = {path.name: path.read_bytes() for path in troubled.path.iterdir() if path.is_file()}
    head = troubled.git("rev-parse", "HEAD")
    recorder = Recorder(troubled.scheduler)
    server.says(*[call((name, written(arguments))) for name, arguments in calls], say("That is all."))

    report = Ticker(troubled.site, lambda kind: recorder, lambda step: None).tick([troubled.folder])[0]

    assert report.question or report.decision or troubled.ledger.of_kind("answered")
    assert len(recorder.submitted) <= 1
    assert len(troubled.folder.attempts()) == 1 + len(recorder.submitted)
    first = troubled.ledger.of_kind("submitted")[0].data["job_id"]
    assert set(recorder.cancelled) <= {first}
    for submission in recorder.submitted:
        assert re.fullmatch(r"ade-tiny-0002-[0-9a-f]{8}", submission.name)
        assert submission.attempt_dir == troubled.folder.attempt(2).path
        assert set(submission.directives) == {"signal"} | set(troubled.experiment.directives())
    assert {path.name: path.read_bytes() for path in troubled.path.iterdir() if path.is_file()} == before
    assert troubled.git("rev-parse", "HEAD") == head
    assert troubled.git("diff", "--name-only", "HEAD", "ade/tiny") in ("", "config.yaml")
    _check_config(before["config.yaml"].decode(), troubled.git("show", "ade/tiny:config.yaml"), lr=0.5, factor=20)
    memory = troubled.folder.memory.read_text() if troubled.folder.memory.exists() else ""
    authors = set(re.findall(r"^## .* · (.*)$", memory, re.MULTILINE))
    assert authors <= {"model:scripted"}
