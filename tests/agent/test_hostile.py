# SPDX-License-Identifier: Apache-2.0
"""No model, however wrong or hostile, has an effect outside the bounds: judged by what was done, not by the guard."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from langchain_core.tools import ToolException
from pydantic import ValidationError

from ade_hpc.agent.budget import Allowance, Meter
from ade_hpc.agent.deadline import Deadline
from ade_hpc.agent.model import Caller
from ade_hpc.agent.prompt import Fence
from ade_hpc.agent.redact import Redactor
from ade_hpc.agent.tools import Desk, make_tools
from ade_hpc.repo.edit import set_scalar
from tests.agent.hostile import TOOLS_EXAMPLES, check_config, sequences
from tests.agent.situations import guard, situation
from tests.support.chat_server import KEY

CONFIG = "# mine\noptimizer:\n  lr: 0.1  # start here\n  clip: 1.0\nseed: 0\n"


@pytest.mark.timeout(120 + TOOLS_EXAMPLES)
@settings(
    max_examples=TOOLS_EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
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
        check_config(CONFIG, _edited(proposal.changes), lr=0.1, factor=10)


def _edited(changes: Any) -> str:
    text = CONFIG
    for change in changes:
        text = set_scalar(text, change.key, change.new)
    return text
