# SPDX-License-Identifier: Apache-2.0
"""A situation that wants judgement, made in memory: a run whose accuracy stands still."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ade_hpc.agent.budget import Allowance
from ade_hpc.agent.run import ask
from ade_hpc.agent.situation import Guard, Judgement, Situation
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Decision, Finding, Health, JobTruth, Proposal, Scalar
from ade_hpc.policy.guard import judge
from ade_hpc.policy.question import question
from ade_hpc.policy.snapshot import Past, Snapshot
from ade_hpc.spec.preferences import Preferences, parse_preferences
from ade_hpc.spec.site import Llm, Site
from tests.support.chat_server import KEY, ChatServer

TEXT = """# What I want

Only lower the learning rate when the accuracy is flat. If in doubt, wait.

```yaml
objective: {tag: accuracy/val, goal: max, target: 0.97}
tunables:
  optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 10, tag: lr}
  optimizer.clip: {choices: [0.5, 1.0, 5.0]}
limits: {mode: auto, max_attempts: 6, cooldown: 0s}
agent: {ask: on-finding, model: scripted, vision_model: scripted-vision}
```
"""
CONFIG: dict[str, Scalar] = {"optimizer.lr": 0.1, "optimizer.clip": 1.0, "seed": 0}
PLATEAU = Finding("plateau", "accuracy/val", 40, 99, "intervene", onset=1040.0, evidence={"gain": 0.001})


@functools.cache
def preferences(text: str = TEXT) -> Preferences:
    return parse_preferences(text, "preferences.md")


def curves(tag: str = "accuracy/val", points: int = 100) -> Curves:
    steps = np.arange(points)
    values = 0.6 - 0.5 * np.exp(-steps / 10)
    return Curves({tag: Series(tag, steps, 1000.0 + steps, values)})


def situation(picture: Path, *, text: str = TEXT, finding: Finding | None = PLATEAU, **more: Any) -> Situation:
    snapshot = Snapshot(
        "tiny", 2000.0, 1, JobTruth("running", "RUNNING"), curves=curves(), config=CONFIG, past=Past(attempts=1)
    )
    snapshot = replace(snapshot, **{key: more.pop(key) for key in ("curves", "past") if key in more})
    findings = (finding,) if finding else ()
    wanted = preferences(text)
    asked = question(snapshot, Health("running"), findings, wanted)
    assert asked is not None
    return Situation(asked, snapshot, Health("running"), findings, wanted, picture, **more)


def guard(one: Situation) -> Guard:
    """The real one, bound to this situation."""

    def decide(proposal: Proposal) -> Decision:
        return judge(proposal, one.snapshot, one.health, one.findings, one.preferences, Site())

    return decide


def consult(
    one: Situation, server: ChatServer, *, seconds: float = 60.0, allowance: Allowance | None = None, **llm: Any
) -> Judgement:
    settings = Llm.model_validate({"base_url": server.url, **llm})
    environ = {"OPENAI_API_KEY": KEY}
    return ask(one, guard(one), allowance or Allowance(), settings, environ, seconds=seconds)
