# SPDX-License-Identifier: Apache-2.0
"""What a person's word changes for the guard, what it doesn't, and what a machine may not do again and again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ade_hpc.model import Change, Finding, Health, JobTruth, Proposal
from ade_hpc.policy.guard import Consent, judge, judge_note
from ade_hpc.policy.snapshot import Past, Snapshot
from ade_hpc.spec.preferences import parse_preferences
from ade_hpc.spec.site import Site

TEXT = """
```yaml
objective: {tag: accuracy/val, goal: max}
tunables:
  optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 10, tag: lr}
  optimizer.name: {choices: [sgd, adam]}
limits: {mode: propose, max_attempts: 9, cooldown: 10m}
```
"""
SNAPSHOT = Snapshot(
    "tiny",
    10_000.0,
    3,
    JobTruth("running", "RUNNING"),
    config={"optimizer.lr": 0.1, "optimizer.name": "sgd"},
    past=Past(attempts=3),
)


def outcome(
    change: Change, *past: Change, consent: Consent = "none", last: float | None = None, **more: object
) -> tuple[str, str]:
    proposal = Proposal("change", "model:x", "because", changes=(change,), resume="last-healthy")
    snapshot = replace(SNAPSHOT, past=replace(SNAPSHOT.past, changes=past, last_change_at=last))
    snapshot = replace(snapshot, **{key: more.pop(key) for key in ("superseded_by", "config") if key in more})  # type: ignore[arg-type]  # test seam
    findings = more.get("findings", ())
    decision = judge(
        proposal, snapshot, Health("running"), findings, parse_preferences(TEXT, "p.md"), Site(), consent=consent
    )  # type: ignore[arg-type]  # test seam
    return decision.outcome, "; ".join(decision.refusals)


def lr(old: float, new: float) -> Change:
    return Change("optimizer.lr", old, new)


def name(old: str, new: str) -> Change:
    return Change("optimizer.name", old, new)


@pytest.mark.parametrize(
    ("change", "past", "flips"),
    [
        (lr(0.1, 0.05), (lr(0.2, 0.05), lr(0.05, 0.1)), True),
        (lr(0.1, 0.2), (lr(0.1, 0.2), lr(0.2, 0.1)), True),
        (lr(0.1, 0.05), (lr(0.4, 0.2), lr(0.2, 0.1)), False),
        (lr(0.1, 0.05), (lr(0.05, 0.1),), False),
        (lr(0.1, 0.05), (), False),
        (name("sgd", "adam"), (name("sgd", "adam"), name("adam", "sgd")), True),
        (name("sgd", "adam"), (lr(0.4, 0.2), lr(0.2, 0.4)), False),
    ],
)
def test_down_up_and_down_again_is_refused(change: Change, past: tuple[Change, ...], flips: bool) -> None:
    said = outcome(change, *past)
    assert ("flip-flop" in said[1]) == flips
    assert said[0] == ("refuse" if flips else "propose")


def test_approval_lifts_the_mode_and_no_bound() -> None:
    assert outcome(lr(0.1, 0.05)) == ("propose", "")
    assert outcome(lr(0.1, 0.05), consent="approved") == ("allow", "")
    assert outcome(lr(0.1, 0.005), consent="approved")[0] == "refuse"
    assert "cooldown" in outcome(lr(0.1, 0.05), consent="approved", last=9_990.0)[1]


def test_a_person_need_not_wait_and_may_turn_back_but_stays_within_the_bounds() -> None:
    ineffective = Finding("change-ineffective", "lr", 1, 1, "intervene")
    back = (lr(0.2, 0.05), lr(0.05, 0.1))
    assert outcome(lr(0.1, 0.05), *back, consent="own", last=9_990.0, findings=(ineffective,)) == ("allow", "")
    assert "outside" in outcome(lr(0.1, 5.0), consent="own")[1]
    assert "tunables" in outcome(Change("seed", 0, 1), consent="own")[1]
    assert outcome(lr(0.1, 0.05), consent="own", superseded_by="cancel")[0] == "refuse"


@pytest.mark.parametrize("value", [10**400, -(10**5_000), 1e308, float("nan"), "x" * 10_000, None], ids="abcdef")
def test_the_guard_is_total(value: object) -> None:
    """Whatever is proposed, there is an answer, and it is short."""
    said = outcome(Change("optimizer.lr", 0.1, value))  # type: ignore[arg-type]  # hostile on purpose
    assert said[0] == "refuse"
    assert len(said[1]) < 300


@pytest.mark.parametrize(
    ("text", "taken", "word"),
    [("", 0, "empty"), ("x" * 601, 0, "600"), ("ok", 2, "taken"), ("use sk-abcdefghijk", 0, "key"), ("ok", 1, None)],
)
def test_a_model_can_not_write_just_anything_into_the_memory(text: str, taken: int, word: str | None) -> None:
    said = judge_note(text, taken)
    assert (said is None) == (word is None)
    assert word is None or word in str(said)
