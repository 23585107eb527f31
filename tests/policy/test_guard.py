# SPDX-License-Identifier: Apache-2.0
"""Nothing outside the bounds, whoever proposes it (invariant 3); and every refusal names its bound."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ade_hpc.model import Change, Decision, Finding, Health, JobTruth, Proposal, Scalar
from ade_hpc.policy.guard import Consent, judge
from ade_hpc.policy.snapshot import Death, Past, Snapshot
from ade_hpc.spec.preferences import Preferences, parse_preferences
from ade_hpc.spec.request import Request
from ade_hpc.spec.site import Site

TEXT = """
```yaml
objective: {tag: accuracy/val, goal: max}
tunables:
  optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 10, tag: lr}
  optimizer.clip: {choices: [0.5, 1.0, 5.0]}
  batch_size: {min: 16, max: 256}
limits:
  mode: auto
  max_attempts: 5
  cooldown: 10m
  gpu_hours: 100
  resources: {mem: {max: 32G}}
rules: [{name: once, when: nan, do: {scale: {optimizer.lr: 0.5}}, max_times: 1}]
```
"""
CONFIG = {"optimizer.lr": 0.1, "optimizer.clip": 1.0, "batch_size": 64, "model.width": 16}
SNAPSHOT = Snapshot("tiny", 10_000.0, 1, JobTruth("running", "RUNNING"), config=CONFIG, past=Past(attempts=1))
RUNNING = Health("running")


def preferences(mode: str = "auto") -> Preferences:
    return parse_preferences(TEXT.replace("mode: auto", f"mode: {mode}"), "preferences.md")


def change(key: str, new: object, old: object = None) -> Proposal:
    wanted = Change(key, CONFIG.get(key) if old is None else old, new)  # type: ignore[arg-type]  # hostile on purpose
    return Proposal("change", "model:someone", "because", changes=(wanted,), resume="last-healthy")


def decide(proposal: Proposal, snapshot: Snapshot = SNAPSHOT, **more: object) -> Decision:
    findings = more.get("findings", ())
    health = more.get("health", RUNNING)
    return judge(proposal, snapshot, health, findings, more.get("preferences", preferences()), Site())  # type: ignore[arg-type]  # test seam


@pytest.mark.parametrize(("mode", "outcome"), [("observe", "observe"), ("propose", "propose"), ("auto", "allow")])
def test_the_mode_decides_what_becomes_of_an_allowed_change(mode: str, outcome: str) -> None:
    assert decide(change("optimizer.lr", 0.05), preferences=preferences(mode)).outcome == outcome


@pytest.mark.parametrize(
    ("proposal", "bound"),
    [
        (change("optimizer.lr", 0.1), "already"),
        (change("optimizer.lr", 0.001), "max_factor"),
        (change("optimizer.lr", 5.0), "outside"),
        (change("optimizer.lr", math.nan), "finite"),
        (change("optimizer.lr", math.inf), "finite"),
        (change("optimizer.lr", "0.05"), "must stay"),
        (change("optimizer.lr", True), "must stay"),
        (change("optimizer.lr", None), "must stay"),
        (change("optimizer.lr", 0.05, old=0.2), "not 0.2"),
        (change("optimizer.clip", 2.0), "choices"),
        (change("batch_size", 32.5), "must stay"),
        (change("batch_size", 1024), "outside"),
        (change("model.width", 8), "tunables"),
        (change("../../etc/passwd", 8), "tunables"),
        (Proposal("change", "rule:x", "", resources={"mem": "64G"}), "mem"),
        (Proposal("change", "rule:x", "", resources={"partition": "gpu"}), "limits.resources"),
        (replace(change("optimizer.lr", 0.05), resume="weights"), "checkpoint: weights:"),
    ],
)
def test_a_proposal_outside_the_bounds_is_refused_by_name(proposal: Proposal, bound: str) -> None:
    decision = decide(proposal)
    assert decision.outcome == "refuse"
    assert any(bound in refusal for refusal in decision.refusals), decision.refusals


@pytest.mark.parametrize(
    ("past", "bound"),
    [
        (Past(attempts=5), "max_attempts"),
        (Past(attempts=2, last_change_at=9_900.0), "cooldown"),
        (Past(live_attempts=9), "alive"),
        (Past(recent_submissions=12), "last hour"),
    ],
)
def test_what_is_spent_bounds_what_may_follow(past: Past, bound: str) -> None:
    decision = decide(change("optimizer.lr", 0.05), replace(SNAPSHOT, past=past))
    assert decision.outcome == "refuse"
    assert any(bound in refusal for refusal in decision.refusals)


HOUR = Request({"gpus-per-node": 4, "time": "1:00:00"})


@pytest.mark.parametrize(
    ("asked", "resources", "hours"),
    [
        (HOUR, {}, 4),
        (HOUR, {"time": "0-23:30:00"}, 94),
        (HOUR, {"time": "120"}, 8),
        (HOUR, {"time": "30:00"}, 2),
        (HOUR, {"time": "UNLIMITED"}, math.inf),
        (HOUR, {"time": "0"}, math.inf),
        (HOUR, {"time": "soon"}, math.inf),
        (HOUR, {"nodes": 3}, 12),
        (HOUR, {"gpus_per_node": "a100:8"}, 8),
        (HOUR, {"gpus_per_node": "1"}, 1),
        (HOUR, {"gres": "gpu:a100:2,gpu:h100:6"}, 8),
        (HOUR, {"gpus_per_node": "a100:1", "nodes": 2, "time": "2-0"}, 96),
        (Request({"gpus-per-node": 4}), {}, math.inf),
        (Request({"gpus-per-node": 4, "time-min": "10"}), {}, math.inf),
        (replace(HOUR, skip=("time",)), {"time": "10"}, math.inf),
        (Request({"ntasks": 6, "gpus-per-task": 1, "time": "60"}), {}, 6),
        (Request({"time": "UNLIMITED"}), {"nodes": 9}, 0),
    ],
)
def test_gpu_hours_count_what_is_about_to_be_submitted(
    asked: Request, resources: dict[str, Scalar], hours: float
) -> None:
    """All of its time limit on all of its GPUs; without a limit there is no bound, and without a GPU none is needed."""
    proposal = Proposal("change", "model:x", "because", resources=resources)

    def refused(left: float) -> list[str]:
        decision = decide(proposal, replace(SNAPSHOT, request=asked, past=Past(gpu_hours=100.0 - left)))
        return [one for one in decision.refusals if one.startswith("gpu_hours")]

    if math.isfinite(hours):
        assert refused(hours) == []
    if hours:
        assert f"may use {hours:.1f} of 100" in refused(min(hours, 99.0) - 0.5)[0]


def test_a_rule_has_its_own_budget() -> None:
    proposal = replace(change("optimizer.lr", 0.05), author="rule:once")
    assert decide(proposal).outcome == "allow"
    used = replace(SNAPSHOT, past=Past(rule_uses={"once": 1}))
    assert "max_times" in decide(proposal, used).refusals[0]


def test_nothing_is_done_on_what_is_unknown_or_was_ended_by_a_person() -> None:
    assert decide(change("optimizer.lr", 0.05), health=Health("unknown")).outcome == "refuse"
    assert decide(change("optimizer.lr", 0.05), replace(SNAPSHOT, superseded_by="cancel")).outcome == "refuse"


def test_no_further_change_after_one_that_did_not_take_effect() -> None:
    ineffective = Finding("change-ineffective", "lr", 1, 1, "intervene")
    assert decide(change("optimizer.lr", 0.05), findings=(ineffective,)).outcome == "refuse"


def test_asking_a_person_is_never_refused() -> None:
    assert decide(Proposal("ask", "rule:x", "look"), replace(SNAPSHOT, past=Past(attempts=99))).outcome == "allow"


values = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.integers(), st.booleans(), st.none(), st.text(max_size=20)
)
keys = st.one_of(st.sampled_from([*CONFIG, "optimizer", "", "a.b"]), st.text(max_size=20))
changes = st.lists(
    st.builds(Change, keys, st.one_of(values, st.sampled_from(list(CONFIG.values()))), values), max_size=3
)


@settings(max_examples=2000)
@given(changes=changes, action=st.sampled_from(["change", "restart", "stop"]))
def test_whatever_is_proposed_only_bounded_changes_pass(changes: list[Change], action: str) -> None:
    """Judged by an oracle of its own, not by the guard's words."""
    proposal = Proposal(action, "model:hostile", "x", changes=tuple(changes))  # type: ignore[arg-type]  # sampled
    if decide(proposal).outcome != "allow" or action == "stop":
        return
    for one in changes:
        assert one.key in ("optimizer.lr", "optimizer.clip", "batch_size")
        assert type(one.new) in (int, float)
        if one.key == "optimizer.lr":
            assert 1e-4 <= one.new <= 1.0  # type: ignore[operator]  # a number, as asserted above
            assert 0.00999 <= one.new <= 1.0001  # type: ignore[operator]  # a factor of ten from 0.1
        elif one.key == "optimizer.clip":
            assert one.new in (0.5, 5.0)
        else:
            assert type(one.new) is int
            assert 16 <= one.new <= 256


@pytest.mark.parametrize("action", ["change", "restart", "stop"])
@pytest.mark.parametrize("consent", ["none", "approved", "own"])
def test_nothing_is_done_to_what_is_paused_whoever_wants_it(action: str, consent: str) -> None:
    proposal = Proposal(action, "person", "because")  # type: ignore[arg-type]  # parametrized
    paused = replace(SNAPSHOT, paused_by="ada")
    decision = judge(proposal, paused, RUNNING, (), preferences(), Site(), consent=consent)  # type: ignore[arg-type]  # parametrized
    assert decision.outcome == "refuse"
    assert decision.refusals[0] == "paused by ada"


@pytest.mark.parametrize(
    ("refusals", "hours_ago", "outcome"),
    [
        (1, 0.0, "allow"),
        (2, 0.9, "refuse"),
        (2, 1.1, "allow"),
        (4, 3.9, "refuse"),
        (4, 4.1, "allow"),
        (30, 25, "allow"),
    ],
)
def test_what_slurm_refuses_is_not_tried_again_at_every_tick(refusals: int, hours_ago: float, outcome: str) -> None:
    """Once at the next tick, then an hour later, two, four, and at last once a day."""
    past = replace(SNAPSHOT.past, refusals=refusals, refused_at=SNAPSHOT.now - hours_ago * 3600)
    decision = decide(change("optimizer.lr", 0.05), replace(SNAPSHOT, past=past))
    assert decision.outcome == outcome
    assert outcome == "allow" or "`ade-hpc history tiny`" in decision.refusals[0]


STUCK = replace(
    SNAPSHOT,
    truth=JobTruth("ended", "FAILED"),
    step=500,
    request=Request({"mem": "64G", "time": "2:00:00", "exclude": "n1"}),
    past=Past(attempts=3, deaths=tuple(Death(number, "failed", "n1", 500) for number in (1, 2))),
)
FAILED = Health("ended", "failed")
AGAIN = Proposal("restart", "rule:again", "it crashed", resume="last-healthy")
MORE = "limits: {mode: auto, resources: {mem: {max: 256G}, time: {max: 2-0}}}"


def stuck(proposal: Proposal, snapshot: Snapshot = STUCK, consent: Consent = "none") -> tuple[str, ...]:
    wanted = parse_preferences(f"```yaml\n{MORE}\n```", "p.md")
    return judge(proposal, snapshot, FAILED, (), wanted, Site(), consent=consent).refusals


@pytest.mark.parametrize("author", ["rule:again", "answer:failed", "model:someone"])
@pytest.mark.parametrize("consent", ["none", "approved"])
def test_no_start_repeats_what_got_nowhere_whoever_wants_it(author: str, consent: Consent) -> None:
    """Another node is no other try. A person who wants it all the same has `submit`."""
    for proposal in (AGAIN, replace(AGAIN, exclude_nodes=("n2",))):
        (refusal,) = stuck(replace(proposal, author=author), consent=consent)
        assert refusal.startswith("3 starts in a row have brought no new step")
    assert stuck(replace(AGAIN, author=author), replace(STUCK, step=501), consent) == ()
    often = replace(STUCK, step=501, past=replace(STUCK.past, recent_starts=6))
    assert "6 times within an hour" in stuck(replace(AGAIN, author=author), often, consent)[0]


def test_other_resources_are_another_try_and_those_that_were_tried_are_none() -> None:
    wider = replace(AGAIN, action="change", resources={"mem": "128G"})
    assert stuck(wider) == ()
    asked = STUCK.request.plus({"mem": "128G"}).fingerprint
    tried = tuple(replace(one, asked=asked) for one in 2 * STUCK.past.deaths)
    back = replace(STUCK, past=Past(attempts=4, deaths=tried))
    assert "4 starts in a row" in stuck(wider, back)[0]
    assert stuck(AGAIN, back) == (), "of 64G it is the first death"


@pytest.mark.parametrize(
    "resources", [{"mem": "64G"}, {"mem": "65536M"}, {"time": "120"}, {"mem": "64G", "time": "0-2"}]
)
def test_what_the_attempt_asks_for_already_is_nothing_to_ask_for(resources: dict[str, Scalar]) -> None:
    fresh = replace(STUCK, past=Past(attempts=1))
    proposal = replace(AGAIN, action="change", resources=resources)
    (refusal,) = stuck(proposal, fresh)
    assert "already: this would change nothing" in refusal
    assert stuck(replace(proposal, exclude_nodes=("n2",)), fresh) == (), "another node is something"
    assert stuck(replace(proposal, resources={**resources, "mem": "96G"}), fresh) == ()
    assert stuck(AGAIN, fresh) == (), "and starting again is, too"
