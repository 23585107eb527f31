# SPDX-License-Identifier: Apache-2.0
"""`tick` from a laptop: the pass is made on the cluster, and the questions that it leaves open are thought about here.

The model is reached from here, with the key of this machine, which never leaves it. What the model wants goes back as
an untrusted answer: the cluster's guard decides, its ledger is charged, and it acts. A connection that breaks leaves
the question open, or the answer in the inbox for the next tick.
"""

from __future__ import annotations

import base64
import functools
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ade_hpc.agent.wire import Asked, from_json
from ade_hpc.policy.guard import judge
from ade_hpc.remote.far import Far
from ade_hpc.spec.site import Llm
from ade_hpc.supervisor.advice import Advice
from ade_hpc.supervisor.consult import QUESTION_S, ask_within

TICK_S = 600.0  # it may wait for a lease, a scheduler and a slow filesystem


def tick(
    far: Far, names: Sequence[str], *, dry_run: bool, think: bool, llm: Llm, environ: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One pass over there; for each experiment its report, and the sentence that says it.

    think: False leaves every question open. llm, environ: how a model is reached from here.
    """
    given = json.dumps({"names": list(names), "dry_run": dry_run}).encode()
    seen = far.ask("for-laptop", "tick", given=given, timeout_s=TICK_S)
    rows = {row["report"]["name"]: row for row in seen["experiments"]}
    for question in seen["questions"] if think else ():
        answered = far.ask("for-laptop", "answer", given=_answer(question, llm, environ), timeout_s=TICK_S)
        rows |= {row["report"]["name"]: row for row in answered["experiments"]}
    return list(rows.values())


def _answer(question: Mapping[str, Any], llm: Llm, environ: Mapping[str, str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="ade-") as folder:
        asked = from_json(question, Path(folder) / "curves.png")
        advice = _ask(asked, llm, environ)
        picture = asked.situation.picture
        seen = base64.b64encode(picture.read_bytes()).decode() if picture.exists() else ""
        return json.dumps({"advice": advice.to_json(), "picture": seen}).encode()


def _ask(asked: Asked, llm: Llm, environ: Mapping[str, str]) -> Advice:
    """Within what the cluster allows, by its prices; the address and the key are those of this machine."""
    situation = asked.situation
    guard = functools.partial(
        judge,
        snapshot=situation.snapshot,
        health=situation.health,
        findings=situation.findings,
        preferences=situation.preferences,
        site=asked.site,
    )
    judgement = ask_within(situation, guard, asked.left, llm, environ, seconds=QUESTION_S)
    return Advice.of(situation.snapshot.experiment, situation.question.evidence, replace(judgement, picture=None))
