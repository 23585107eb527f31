# SPDX-License-Identifier: Apache-2.0
"""The agent's place on the command line: what to set where no model can be reached, and what its demo writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ade_hpc.cli.demo import instead_of_the_rule
from ade_hpc.cli.main import app
from ade_hpc.errors import UsageError
from ade_hpc.spec.preferences import parse_preferences

REPOSITORY = Path(__file__).parents[2]


def test_the_demo_with_an_agent_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(app, ["demo", "--agent"])
    assert isinstance(result.exception, UsageError)
    assert "OPENAI_BASE_URL" in str(result.exception)


def test_the_preferences_of_that_demo_have_a_model_in_place_of_the_rule() -> None:
    text = instead_of_the_rule("my/model:8b", (REPOSITORY / "preferences.md").read_text())
    wanted = parse_preferences(text, "preferences.md")
    assert wanted.rules == ()
    assert wanted.agent is not None
    assert wanted.agent.model == wanted.agent.vision_model == "my/model:8b"
    assert "factor of ten" in wanted.prose
    assert "the rule above" not in wanted.prose


@pytest.mark.parametrize("command", ["approve", "reject", "revert"])
def test_a_word_about_an_unknown_experiment_is_a_usage_error(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path))
    result = CliRunner().invoke(app, [command, "nobody"])
    assert isinstance(result.exception, UsageError)
