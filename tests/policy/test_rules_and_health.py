# SPDX-License-Identifier: Apache-2.0
"""Which rule speaks, what it wants, and what is true of the process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import ExitRecord, Finding, Health, Heartbeat, JobTruth
from ade_hpc.policy.health import judge_health
from ade_hpc.policy.rules import propose
from ade_hpc.policy.snapshot import Past, Snapshot
from ade_hpc.spec.preferences import Preferences, parse_preferences

RUNNING = JobTruth("running", "RUNNING", nodes="n1", said_by="queue")
SNAPSHOT = Snapshot("tiny", 1000.0, 1, RUNNING, config={"optimizer.lr": 0.3, "batch_size": 64, "name": "x"})
NAN = Finding("nan", "loss/train", 100, 120, "intervene", onset=900.0)


def rules(text: str) -> Preferences:
    tunables = "tunables: {optimizer.lr: {min: 1.0e-6, max: 9.0}, batch_size: {min: 1, max: 999}}"
    return parse_preferences(f"```yaml\nobjective: {{tag: acc, goal: max}}\n{tunables}\nrules: {text}\n```", "p.md")


def series(tag: str, *values: float) -> Curves:
    steps = np.arange(len(values), dtype=np.int64)
    return Curves({tag: Series(tag, steps, steps.astype(float), np.array(values, dtype=float))})


def test_the_first_rule_that_holds_speaks() -> None:
    text = "[{name: a, when: plateau, do: {stop: true}}, {name: b, when: nan, do: {scale: {optimizer.lr: 0.1}}}]"
    proposal = propose(SNAPSHOT, Health("running"), (NAN,), rules(text))
    assert proposal is not None
    assert proposal.author == "rule:b"
    assert [(change.old, change.new) for change in proposal.changes] == [(0.3, 0.03)]
    assert proposal.finding == NAN
    assert "nan in loss/train from step 100" in proposal.reason


def test_a_rule_that_has_acted_often_enough_makes_way() -> None:
    text = (
        "[{name: a, when: nan, do: {scale: {optimizer.lr: 0.1}}, max_times: 2}, {name: b, when: nan, do: {stop: true}}]"
    )
    for uses, author in ((0, "rule:a"), (1, "rule:a"), (2, "rule:b")):
        snapshot = replace(SNAPSHOT, past=Past(rule_uses={"a": uses}))
        proposal = propose(snapshot, Health("running"), (NAN,), rules(text))
        assert proposal is not None
        assert proposal.author == author
    alone = rules("[{name: a, when: nan, do: {scale: {optimizer.lr: 0.1}}, max_times: 2}]")
    proposal = propose(replace(SNAPSHOT, past=Past(rule_uses={"a": 2})), Health("running"), (NAN,), alone)
    assert proposal is not None, "nobody to make way for: the guard is to say why nothing is done"


def test_a_note_fires_no_rule_unless_the_rule_names_its_tag() -> None:
    """A NaN in an auxiliary loss beside a fine objective must not restart a run."""
    note = replace(NAN, severity="note")
    assert propose(SNAPSHOT, Health("running"), (note,), rules("[{name: a, when: nan, do: {stop: true}}]")) is None
    named = rules("[{name: a, when: {finding: nan, tag: loss/train}, do: {stop: true}}]")
    assert propose(SNAPSHOT, Health("running"), (note,), named) is not None


@pytest.mark.parametrize(("latest", "fires"), [(0.6, True), (0.5, False), (float("nan"), False)])
def test_conditions_combine(latest: float, fires: bool) -> None:
    text = "[{name: a, when: {all: [{metric: loss/val, above: 0.5}, nan]}, do: {scale: {optimizer.lr: 0.5}}}]"
    snapshot = replace(SNAPSHOT, curves=series("loss/val", 0.9, latest))
    assert (propose(snapshot, Health("running"), (NAN,), rules(text)) is not None) == fires


@pytest.mark.parametrize(
    ("values", "fires"),
    [
        ([1.0] * 41, True),
        ([1.0 - 0.01 * step for step in range(41)], False),  # a fall is a negative rise
        ([1.0] * 38 + [5.0] + [1.0] * 2, True),  # one wild point is noise
        ([1.0] * 20, False),  # shorter than the span
        ([1.0] * 37, False),  # nearly as long
        ([0.0] * 60 + [1.0] * 41, True),  # what lies before the span does not count
        ([1.0] * 40 + [float("nan")] * 1, False),
        ([1.0] * 30 + [1.5] * 11, False),
    ],
)
def test_a_change_over_a_span_of_steps(values: list[float], fires: bool) -> None:
    text = "[{name: a, when: {change: acc, over: 40, above: -0.1, below: 0.1}, do: {scale: {optimizer.lr: 0.5}}}]"
    proposal = propose(replace(SNAPSHOT, curves=series("acc", *values)), Health("running"), (), rules(text))
    assert (proposal is not None) == fires
    if proposal is not None:
        assert proposal.reason == "acc has changed by 0 over 40 steps"


@pytest.mark.parametrize(
    ("do", "new"),
    [("{scale: {batch_size: 0.5}}", 32), ("{add: {batch_size: 8}}", 72), ("{set: {batch_size: 16}}", 16)],
)
def test_a_whole_number_stays_one(do: str, new: int) -> None:
    proposal = propose(SNAPSHOT, Health("running"), (NAN,), rules(f"[{{name: a, when: nan, do: {do}}}]"))
    assert proposal is not None
    assert proposal.changes[0].new == new
    assert type(proposal.changes[0].new) is int


def test_exclude_node_names_the_nodes_of_the_attempt() -> None:
    text = "[{name: a, when: {health: node-fail}, do: {exclude_node: true, resume: last-healthy}}]"
    proposal = propose(SNAPSHOT, Health("ended", "node-fail"), (), rules(text))
    assert proposal is not None
    assert proposal.exclude_nodes == ("n1",)


@pytest.mark.parametrize("health", [Health("unknown"), Health("pending"), Health("ended", "cancelled")])
def test_nothing_is_proposed_on_the_unknown_the_waiting_and_the_cancelled(health: Health) -> None:
    assert propose(SNAPSHOT, health, (NAN,), rules("[{name: a, when: nan, do: {stop: true}}]")) is None


# --- health ---

BEAT = Heartbeat(1, "7", 1, 0, "n1", 5, 30.0, 990.0, 42, "S", 500.0, 10, 980.0)
EXIT = ExitRecord(1, "7", 1, 0, "n1", "failed", 3, True, 400.0, 500.0, 950.0)


def health(truth: JobTruth = RUNNING, **more: object) -> Health:
    return judge_health(replace(SNAPSHOT, truth=truth, **more))  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("seen", "verdict", "cause"),
    [
        (health(), "starting", ""),
        (health(beats=(BEAT,)), "running", ""),
        (health(beats=(BEAT,), silent=True), "lost", "silent"),
        (health(replace(RUNNING, restarts=1), beats=(BEAT,), silent=True), "starting", ""),
        (health(replace(RUNNING, state="SUSPENDED"), beats=(BEAT,), silent=True), "running", "suspended"),
        (health(beats=(replace(BEAT, last_progress_at=700.0),)), "stalled", "no progress"),
        (health(beats=(replace(BEAT, trainer_state="T"),)), "running", ""),  # for a moment, as somebody looks at it
        (health(beats=(replace(BEAT, trainer_state="T", last_progress_at=700.0),)), "stalled", "no progress"),
        (health(replace(RUNNING, start=-2500.0)), "starting", ""),
        (health(replace(RUNNING, start=-2700.0)), "starting", "slow-start"),
        (health(replace(RUNNING, start=-2700.0), beats=(BEAT,)), "running", ""),
        (health(JobTruth("pending", "PENDING", "Priority")), "pending", "Priority"),
        (health(JobTruth("unknown", "RUNNING"), beats=(BEAT,)), "unknown", "RUNNING"),
        (health(JobTruth("ended", "FAILED", exit_code=3), exits=(EXIT,)), "ended", "failed"),
        (health(JobTruth("ended", "NODE_FAIL"), beats=(BEAT,)), "ended", "node-fail"),
        (health(JobTruth("ended", "PREEMPTED"), exits=(replace(EXIT, requeued=True),)), "ended", "preempted"),
        (health(JobTruth("ended", ""), exits=(replace(EXIT, final=False),)), "ended", "vanished"),
        # its last record is there, and the queue still lists it: it is ending, unless it goes on in some way
        (health(beats=(BEAT,), exits=(EXIT,)), "ended", "failed"),
        (health(beats=(BEAT,), exits=(replace(EXIT, final=False),)), "running", ""),
        (health(beats=(BEAT,), exits=(replace(EXIT, requeued=True),)), "running", ""),
        (health(beats=(BEAT,), exits=(replace(EXIT, cause="preempted"),)), "running", ""),
        (health(beats=(BEAT, replace(BEAT, node="n2")), exits=(EXIT,)), "running", ""),
        (health(beats=(replace(BEAT, restart=1),), exits=(EXIT,)), "running", ""),
        (health(replace(RUNNING, restarts=1), beats=(BEAT,), exits=(EXIT,)), "starting", ""),
    ],
)
def test_the_verdict_on_the_process(seen: Health, verdict: str, cause: str) -> None:
    assert (seen.verdict, seen.cause) == (verdict, cause)


def test_a_trainer_that_just_started_is_not_stalled() -> None:
    young = replace(BEAT, trainer_started_at=900.0, last_progress_at=None)
    assert health(beats=(young,)).verdict == "running"
