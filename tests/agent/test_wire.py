# SPDX-License-Identifier: Apache-2.0
"""A question that travels arrives as it was: the model reads the same words, the guard says the same."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ade_hpc.agent import wire
from ade_hpc.agent.budget import Allowance
from ade_hpc.agent.curves import digest
from ade_hpc.agent.prompt import Fence, bounds, system_prompt
from ade_hpc.agent.redact import redactor
from ade_hpc.agent.situation import Situation
from ade_hpc.errors import RemoteError
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Change, Heartbeat, Proposal
from ade_hpc.policy.guard import judge
from ade_hpc.policy.snapshot import Past
from ade_hpc.spec.request import Request
from ade_hpc.spec.site import Price, Site
from tests.agent.situations import situation

ASKED = Request({"nodes": 2, "gres": "gpu:1", "exclusive": True}, ("time",))
LEFT = Allowance(3, 9_000, 1.5, {"scripted": Price(input=1.0, output=2.0)})


def rich(picture: Path) -> Situation:
    """Numbers that JSON has none for, text that is no ASCII, every kind of field."""
    steps = np.arange(50)
    values = np.where(steps == 7, np.nan, np.where(steps == 9, np.inf, 1.0 / (steps + 1)))
    curves = Curves({"val/løss": Series("val/løss", steps, 1e9 + steps, values)}, ("a file was torn",))
    past = Past(attempts=2, changes=(Change("optimizer.lr", 0.2, 0.1),), rule_uses={"a": 1}, gpu_hours=math.inf)
    one = situation(picture, curves=curves, past=past, memory="# née\n", log="\x1b[31mred")
    beat = Heartbeat(1, "7", 1, 0, "n1", 3, 30.0, 1990.0)
    return replace(one, snapshot=replace(one.snapshot, beats=(beat,), changes=past.changes, silent=True, request=ASKED))


def sent(one: Situation, site: Site | None = None) -> Any:
    return json.loads(json.dumps(wire.to_json(one, LEFT, site or Site())))


def test_what_arrives_is_what_was_sent(tmp_path: Path) -> None:
    one, site = rich(tmp_path / "a.png"), Site(max_live_attempts=3, max_submissions_per_hour=5)

    asked = wire.from_json(sent(one, site), tmp_path / "a.png")

    again, fence = asked.situation, Fence(redactor({}), "data")
    assert (asked.left, asked.site) == (LEFT, site)
    assert system_prompt(again, fence, 6) == system_prompt(one, fence, 6)
    assert digest(again, ["val/løss"]) == digest(one, ["val/løss"])
    assert bounds(again) == bounds(one)
    for name in vars(one.snapshot).keys() - {"curves", "before"}:
        assert getattr(again.snapshot, name) == getattr(one.snapshot, name)
    for name in ("question", "health", "findings", "preferences", "memory", "log", "picture"):
        assert getattr(again, name) == getattr(one, name)
    wanted = Proposal("change", "model:x", "why", (Change("optimizer.lr", 0.1, 0.05),), "last-healthy")
    words = [
        judge(wanted, each.snapshot, each.health, each.findings, each.preferences, Site()) for each in (one, again)
    ]
    assert words[0] == words[1]


def test_of_too_many_numbers_the_relevant_curves_travel_and_the_rest_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_POINTS", 150)
    ramp = np.arange(100)
    names = ["a", "accuracy/val", "b"]
    many = Curves({name: Series(name, ramp, 1.0 * ramp, 1.0 * ramp) for name in names})

    arrived = wire.from_json(sent(situation(tmp_path / "a.png", curves=many)), tmp_path / "a.png").situation

    assert list(arrived.snapshot.curves.series) == ["accuracy/val"]
    assert arrived.snapshot.curves.notes == ("2 curves stayed on the cluster",)


def bomb(value: Any) -> None:
    packed = base64.b64encode(zlib.compress(bytes(50_000_000))).decode()
    value["curves"]["series"][0]["steps"] = packed


DAMAGE: list[Callable[[Any], object]] = [
    bomb,
    lambda value: value.pop("left"),
    lambda value: value["snapshot"].update(attempt="1"),
    lambda value: value["snapshot"].update(more=1),
    lambda value: value["curves"]["series"][0].update(points=-1),
    lambda value: value["curves"]["series"][0].update(points=10**12),
    lambda value: value["curves"]["series"][0].update(values="!"),
    lambda value: value["preferences"].update(limits={"mode": "all of it"}),
    lambda value: value.update(findings=[{"kind": "nan"}]),
]


@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_anything_else_is_one_clear_error(tmp_path: Path, damage: Callable[[Any], object]) -> None:
    value = sent(rich(tmp_path / "a.png"))
    damage(value)

    with pytest.raises(RemoteError, match="same version"):
        wire.from_json(value, tmp_path / "a.png")
