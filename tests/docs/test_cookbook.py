# SPDX-License-Identifier: Apache-2.0
"""The recipes of docs/cookbook.md do what their headings say: each is put before the real rules and the real guard."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Decision, Finding, Health, JobTruth
from ade_hpc.policy.guard import judge
from ade_hpc.policy.rules import propose
from ade_hpc.policy.snapshot import Past, Snapshot
from ade_hpc.spec.preferences import Preferences, read_preferences
from ade_hpc.spec.request import Request
from ade_hpc.spec.site import Site
from tests.support.pages import TOP

CONFIG = {
    "optimizer.lr": 0.01, "optimizer.weight_decay": 0.001, "optimizer.clip": 1.0, "batch_size": 64, "accumulate": 1,
    "precision": "16-mixed",
}  # fmt: skip
RUNNING = Snapshot("x", 0.0, 2, JobTruth("running", nodes="n1"), config=CONFIG, past=Past(attempts=1), resumable=True)
OK = Health("running")


@cache
def recipes() -> dict[str, Preferences]:
    """By the beginning of their headings; each has been read without an error or a warning."""
    page = (TOP / "docs/cookbook.md").read_text()
    found = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        for block in re.findall(r"```yaml\n.*?```", section, re.DOTALL):
            reading = read_preferences(block, "cookbook.md")
            assert reading.problems == (), reading.problems
            assert reading.preferences is not None
            found[section.partition("\n")[0]] = reading.preferences
    return found


def recipe(beginning: str) -> Preferences:
    (one,) = (preferences for heading, preferences in recipes().items() if heading.startswith(beginning))
    return one


def seen(kind: str, tag: str = "accuracy/val", severity: str = "intervene") -> tuple[Finding, ...]:
    return (Finding(kind, tag, 100, 200, severity, onset=0.0),)  # type: ignore[arg-type]  # words of a table


def decided(
    preferences: Preferences, health: Health = OK, findings: tuple[Finding, ...] = (), snapshot: Snapshot = RUNNING
) -> Decision | None:
    proposal = propose(snapshot, health, findings, preferences)
    return proposal and judge(proposal, snapshot, health, findings, preferences, Site())


def changed(decision: Decision | None) -> dict[str, object]:
    assert decision is not None
    assert decision.refusals == ()
    return {change.key: change.new for change in decision.proposal.changes}


def test_every_recipe_was_read_and_has_a_test() -> None:
    text = (TOP / "tests/docs/test_cookbook.py").read_text()
    assert len(recipes()) >= 14
    for heading in recipes():
        assert f'"{heading[:8]}' in text, heading


def test_only_watching_does_nothing_and_says_what_it_would_do() -> None:
    decision = decided(recipe("Only watch"), Health("ended", "failed"))
    assert decision is not None
    assert decision.outcome == "observe"


def test_what_has_died_is_started_again_and_nothing_changes() -> None:
    decision = decided(recipe("Start what has died"), Health("ended", "node-fail"))
    assert decision is not None
    assert decision.outcome == "allow"
    assert changed(decision) == {}
    assert decided(recipe("Start what has died"), findings=seen("diverging")) is None


@pytest.mark.parametrize("kind", ["nan", "diverging"])
def test_an_exploded_loss_gets_a_smaller_rate_from_the_last_healthy_checkpoint(kind: str) -> None:
    decision = decided(recipe("When the loss explodes"), findings=seen(kind))
    assert changed(decision) == {"optimizer.lr": 0.003}
    assert decision is not None
    assert decision.proposal.resume == "last-healthy"
    assert changed(decided(recipe("Not more than this"), findings=seen(kind))) == {"optimizer.lr": 0.005}


@pytest.mark.parametrize(
    ("loss", "slope", "fires"),
    [(0.7, 0.0, True), (0.4, 0.0, False), (0.7, 2e-5, False), (0.7, -2e-5, False), (0.4, 2e-5, False)],
)
def test_only_where_validation_loss_is_high_and_accuracy_flat(loss: float, slope: float, fires: bool) -> None:
    steps = np.arange(0, 2001, 10)
    noise = np.random.default_rng(0).normal(0, 0.003, len(steps))
    wanted = {"loss/val": loss + 0 * steps, "accuracy/val": 0.8 + slope * steps + noise}
    curves = Curves({tag: Series(tag, steps, 1.0 * steps, values) for tag, values in wanted.items()})
    preferences = recipe("Only the learning rate")
    decision = decided(preferences, snapshot=replace(RUNNING, curves=curves))
    assert (decision is not None) == fires
    if fires:
        assert changed(decision) == {"optimizer.lr": 0.005}
        assert decision is not None
        assert decision.proposal.reason.startswith("loss/val is 0.7; accuracy/val has changed by ")
    assert set(preferences.tunables) == {"optimizer.lr"}


def test_what_asks_first_waits() -> None:
    decision = decided(recipe("The same, but ask"), findings=seen("nan"))
    assert decision is not None
    assert decision.outcome == "propose"
    modelled = recipe("Let a model judge")
    decision = decided(modelled, findings=seen("nan"))
    assert decision is not None
    assert decision.outcome == "propose"
    assert decided(modelled, findings=seen("overfitting")) is None, "no rule: the model's question"
    assert modelled.agent is not None


@pytest.mark.parametrize(
    ("heading", "cause", "resources"),
    [("Out of memory", "out-of-memory", {"mem": "128G"}), ("It never ends", "time-limit", {"time": "2-00:00:00"})],
)
def test_more_is_asked_for_once(heading: str, cause: str, resources: dict[str, str]) -> None:
    decision = decided(recipe(heading), Health("ended", cause))
    assert changed(decision) == {}
    assert decision is not None
    assert decision.proposal.resources == resources
    has = replace(RUNNING, request=Request(resources), step=900)
    answer = decided(recipe(heading), Health("ended", cause), snapshot=has)
    assert answer is not None
    assert (answer.proposal.author, answer.refusals) == (f"answer:{cause}", ()), "from there on it goes as without it"
    assert answer.proposal.action == ("ask" if heading.startswith("Out") else "restart")
    (rule,) = recipe(heading).rules
    again = replace(RUNNING, past=Past(attempts=2, rule_uses={rule.name: 1}))
    refused = decided(recipe(heading), Health("ended", cause), snapshot=again)
    assert refused is not None
    assert refused.outcome == "refuse"


def test_smaller_batches_and_more_of_them() -> None:
    assert recipe("Out of memory") is not recipe("Out of GPU memory")
    decision = decided(recipe("Out of GPU memory"), Health("ended", "cuda-out-of-memory"))
    assert changed(decision) == {"batch_size": 32, "accumulate": 2}


def test_overfitting_gets_more_weight_decay() -> None:
    assert changed(decided(recipe("Overfitting"), findings=seen("overfitting"))) == {"optimizer.weight_decay": 0.003}


@pytest.mark.parametrize(("value", "kind", "stops"), [(0.98, "", True), (0.9, "never-learns", True), (0.9, "", False)])
def test_stop_what_is_good_enough_or_hopeless(value: float, kind: str, stops: bool) -> None:
    steps = np.arange(3)
    curves = Curves({"accuracy/val": Series("accuracy/val", steps, 1.0 * steps, np.full(3, value))})
    decision = decided(recipe("Stop what"), OK, seen(kind) if kind else (), replace(RUNNING, curves=curves))
    assert (decision is not None and decision.outcome == "allow" and decision.proposal.action == "stop") == stops


def test_a_schedule_of_ones_own() -> None:
    preferences = recipe("A schedule of my own")
    told = []
    for uses in ({}, {"halve": 1}, {"halve": 2}, {"halve": 2, "anew": 1}):
        snapshot = replace(RUNNING, past=Past(attempts=1, rule_uses=uses))
        decision = decided(preferences, findings=seen("plateau"), snapshot=snapshot)
        assert decision is not None
        told.append((decision.proposal.author, decision.proposal.action, decision.proposal.resume))
    assert told[:3] == [
        ("rule:halve", "change", "best"), ("rule:halve", "change", "best"), ("rule:anew", "change", "weights"),
    ]  # fmt: skip
    assert told[3][:2] == ("rule:enough", "stop")


def test_full_precision_after_nan() -> None:
    assert changed(decided(recipe("NaN in mixed"), findings=seen("nan", "loss/val"))) == {"precision": "32-true"}


def test_a_return_that_collapsed() -> None:
    assert changed(decided(recipe("Reinforcement"), findings=seen("collapse"))) == {"optimizer.lr": 0.005}
    assert decided(recipe("Reinforcement"), findings=seen("diverging", "loss/critic", "note")) is None


def test_not_on_that_node_again() -> None:
    decision = decided(recipe("Not on that node"), Health("ended", "signal"))
    assert changed(decision) == {}
    assert decision is not None
    assert decision.proposal.exclude_nodes == ("n1",)


def test_no_more_than_the_hours_of_the_recipe() -> None:
    spent = replace(RUNNING, past=Past(attempts=1, gpu_hours=150.0), request=Request({"gpus": 5, "time": "12:00:00"}))
    decision = decided(recipe("Not more than this"), findings=seen("nan"), snapshot=spent)
    assert decision is not None
    assert "gpu_hours" in decision.refusals[0]
