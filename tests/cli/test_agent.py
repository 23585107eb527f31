# SPDX-License-Identifier: Apache-2.0
"""The agent's place on the command line: what to set where no model can be reached, and what its demo writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ade_hpc.cli.demo import instead_of_the_rule
from ade_hpc.cli.main import app
from ade_hpc.errors import UsageError
from ade_hpc.spec.preferences import parse_preferences
from tests.support.chat_server import KEY, Reply, call, chat_server, say
from tests.support.project import CONFIG, TRAINER

REPOSITORY = Path(__file__).parents[2]


def test_the_demo_with_an_agent_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(app, ["demo", "--agent"])
    assert isinstance(result.exception, UsageError)
    assert "OPENAI_BASE_URL" in str(result.exception)


@pytest.mark.timeout(240)
def test_the_demo_whose_model_never_answers_ends_with_one_sentence(tmp_path: Path) -> None:
    """Its run is over, and nobody will judge it: there is nothing to wait five minutes for."""
    env = {**os.environ, "OPENAI_API_KEY": KEY}
    with chat_server(Reply(b"{}", 500)) as server:
        argv = [sys.executable, "-m", "ade_hpc.cli", "demo", "--agent", "--model", "m", "--keep", str(tmp_path / "d")]
        env["OPENAI_BASE_URL"] = server.url
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("ade-hpc: the demo can't go on: no judgement this time")
    assert str(tmp_path) in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert len(server.asked) >= 3


@pytest.mark.timeout(240)
def test_the_demo_with_an_agent_tells_its_story_to_the_end(tmp_path: Path) -> None:
    """By the same program and preferences, over a trainer of seconds: the real one is trained in other tests."""
    checkout, kept = tmp_path / "checkout", tmp_path / "d"
    shutil.copytree(REPOSITORY / "ade_hpc", checkout / "ade_hpc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "preferences.md", checkout)
    (checkout / "jobs").mkdir()
    shutil.copy(TRAINER, checkout / "jobs" / "train.py")
    (checkout / "jobs" / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "seed": 0}, sort_keys=False))
    experiment = (REPOSITORY / "jobs" / "experiment.yaml").read_text()
    (checkout / "jobs" / "experiment.yaml").write_text(experiment)
    look = call(("analyze_metric", {"tag": "loss/val", "question": "Where does it explode?"}))
    down = call(("modify_config", {"key": "optimizer.lr", "value": 0.05, "reason": "the loss explodes"}))
    with chat_server(look, say("After step 150."), down) as server:
        argv = [sys.executable, "-m", "ade_hpc.cli", "demo", "--agent", "--model", "m", "--keep", str(kept)]
        env = {**os.environ, "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url, "PYTHONPATH": str(checkout)}
        done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(server.asked) == 3
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["attempts"], told["commits"]) == (2, 1)
    assert Path(told["plot"]).read_bytes().startswith(b"\x89PNG")
    assert "Ade-Author: model:m" in done.stdout
    assert "+  lr: 0.05" in done.stdout
    assert KEY not in done.stdout + done.stderr


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
