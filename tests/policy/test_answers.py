# SPDX-License-Identifier: Apache-2.0
"""Every way in which a job can fall into trouble has an answer; a rule comes first, and no answer goes on for ever."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import ExitRecord, Finding, Health, Heartbeat, JobTruth, Proposal
from ade_hpc.policy.answers import ANSWERS
from ade_hpc.policy.breaker import fruitless
from ade_hpc.policy.guard import judge
from ade_hpc.policy.health import judge_health, judge_watched, trouble
from ade_hpc.policy.rules import propose
from ade_hpc.policy.snapshot import Death, Past, Snapshot
from ade_hpc.spec.preferences import Preferences, parse_preferences
from ade_hpc.spec.rules import HEALTH_WORDS
from ade_hpc.spec.site import Site

AUTO = "limits: {mode: auto, cooldown: 30m}"
MODEL = "agent: {ask: on-finding, model: some}"
RESTARTS = [
    "node-fail", "boot-fail", "lost", "preempted", "forgotten", "time-limit", "failed", "signal", "vanished", "stalled",
]  # fmt: skip
NAN = Finding("nan", "loss/train", 100, 120, "intervene", onset=900.0)


def wishes(*lines: str) -> Preferences:
    return parse_preferences("\n".join(["```yaml", *lines, "```"]), "p.md")


def ended(cause: str, *deaths: Death, **more: object) -> tuple[Snapshot, Health]:
    """An attempt in this trouble on node n1, at step 500 unless ``more`` says otherwise, after these ``deaths``."""
    past = Past(attempts=len(deaths) + 1, deaths=deaths)
    truth = JobTruth("ended", "FAILED", nodes="n1", said_by="accounting")
    fields = {"step": 500, "signature": "boom", "resumable": True, "past": past, "truth": truth, **more}
    snapshot = Snapshot("tiny", 1000.0, len(deaths) + 1, **fields)  # type: ignore[arg-type]  # fields by name
    health = Health(cause) if cause in ("lost", "stalled") else Health("ended", cause)
    return snapshot, replace(health, domain="infrastructure" if cause in RESTARTS[:4] else "workload")


def answered(cause: str, *deaths: Death, wanted: str = AUTO, findings: tuple[Finding, ...] = (), **more: object):
    snapshot, health = ended(cause, *deaths, **more)
    return propose(snapshot, health, findings, wishes(*wanted.split("\n")))


def died(cause: str, step: int | None = 500, signature: str = "boom", lives: int = 1) -> Death:
    return Death(1, cause, "n1", step, signature, lives)


def asks(proposal: Proposal | None) -> bool:
    return proposal is not None and proposal.action == "ask"


# --- the table --------------------------------------------------------------------------------------------------


def test_every_word_for_trouble_that_a_rule_may_name_has_an_answer() -> None:
    fine = {"completed", "cancelled", "superseded", "fenced", "pending", "starting", "running", "ended", "unknown"}
    assert set(HEALTH_WORDS) - fine - {"silent"} == set(ANSWERS)  # a silent job is `lost`


@pytest.mark.parametrize("cause", RESTARTS)
def test_the_first_time_it_is_started_again_from_its_checkpoint(cause: str) -> None:
    proposal = answered(cause)
    assert proposal is not None
    assert (proposal.action, proposal.resume, proposal.changes) == ("restart", "last-healthy", ())
    assert proposal.exclude_nodes == (("n1",) if cause in ("node-fail", "boot-fail", "lost") else ())


@pytest.mark.parametrize("cause", sorted({*ANSWERS, "something-new"} - set(RESTARTS)))
def test_for_the_rest_a_person_is_asked_and_told_what_to_do(cause: str) -> None:
    proposal = answered(cause)
    assert asks(proposal)
    assert proposal is not None
    assert len(proposal.reason) > 40


@pytest.mark.parametrize("cause", ["completed", "cancelled", "superseded"])
def test_what_has_ended_as_somebody_wanted_is_left_alone(cause: str) -> None:
    assert answered(cause) is None


def test_what_a_person_cancelled_is_not_resubmitted_whatever_its_own_record_says() -> None:
    """scancel kills the trainer first: the exit record sees a crash, and Slurm knows that it was the user."""
    record = ExitRecord(1, "7", 1, 0, "n1", "signal", 143, True, 400.0, 500.0, 950.0)
    truth = JobTruth("ended", "CANCELLED", said_by="accounting")
    snapshot = Snapshot("tiny", 1000.0, 1, truth, exits=(record,))
    assert propose(snapshot, judge_health(snapshot), (), wishes(AUTO)) is None


@pytest.mark.parametrize(
    ("cause", "further", "asked"),
    [
        ("preempted", (False, False, False), True),
        ("preempted", (True, False, False), False),
        ("time-limit", (True, False), True),
        ("time-limit", (False, True), False),
    ],
)
def test_requeues_in_vain_count_as_the_node_has_seen_them(cause: str, further: tuple[bool, ...], asked: bool) -> None:
    """What queued itself again before any tick looked, and then was refused by its own node."""
    exits = tuple(
        ExitRecord(1, "7", 1, restart, "n1", cause, 1, True, 400.0, further=one) for restart, one in enumerate(further)
    )
    assert asks(answered(cause, exits=exits)) is asked


# --- who comes first, and who judges ----------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["node-fail", "failed", "out-of-memory", "stalled"])
def test_a_rule_for_it_comes_first(cause: str) -> None:
    rule = f"rules: [{{name: mine, when: {{health: {cause}}}, do: {{stop: true}}}}]"
    proposal = answered(cause, wanted=f"{AUTO}\n{rule}")
    assert proposal is not None
    assert proposal.author == "rule:mine"


def test_memory_is_a_matter_of_judgement_where_a_model_can_be_asked() -> None:
    assert answered("out-of-memory", wanted=f"{AUTO}\n{MODEL}") is None
    assert not asks(answered("node-fail", wanted=f"{AUTO}\n{MODEL}")), "a lost node is none"


@pytest.mark.parametrize(
    ("mode", "more", "outcome"),
    [
        ("observe", "", "observe"),
        ("propose", "", "propose"),
        ("auto", "", "allow"),
        ("auto", ", max_attempts: 1", "refuse"),
    ],
)
def test_the_guard_judges_an_answer_like_any_other(mode: str, more: str, outcome: str) -> None:
    snapshot, health = ended("node-fail")
    wanted = wishes(f"limits: {{mode: {mode}{more}}}")
    proposal = propose(snapshot, health, (), wanted)
    assert proposal is not None
    assert judge(proposal, snapshot, health, (), wanted, Site()).outcome == outcome


def test_a_restart_after_a_fault_does_not_wait_for_the_cooldown_of_changes() -> None:
    snapshot, health = ended("node-fail", past=Past(attempts=1, last_change_at=999.0))
    proposal = propose(snapshot, health, (), wishes(AUTO))
    assert proposal is not None
    assert judge(proposal, snapshot, health, (), wishes(AUTO), Site()).outcome == "allow"


def test_spoilt_weights_are_not_simply_started_again() -> None:
    """A crash of a run that has diverged is a matter for a rule, a model or a person."""
    assert answered("failed", findings=(NAN,)) is None
    assert answered("time-limit", findings=(NAN,)) is None
    proposal = answered("node-fail", findings=(NAN,))
    assert proposal is not None
    assert proposal.finding == NAN, "the checkpoint is chosen from before the onset"


# --- once, twice, and no more -----------------------------------------------------------------------------------


def test_the_same_crash_at_the_same_place_is_a_persons() -> None:
    assert asks(answered("failed", died("failed")))
    assert asks(answered("failed", died("failed", step=None), step=None)), "before the first step is a place too"


@pytest.mark.parametrize("earlier", [died("failed", step=400), died("failed", signature="bang"), died("signal")])
def test_a_crash_elsewhere_or_of_another_kind_is_worth_one_more_start(earlier: Death) -> None:
    assert not asks(answered("failed", earlier))


def test_the_node_of_a_second_stall_is_kept_out() -> None:
    proposal = answered("stalled", died("stalled", step=300))
    assert proposal is not None
    assert proposal.exclude_nodes == ("n1",)


def test_a_time_limit_is_gone_over_as_long_as_steps_advance() -> None:
    assert not asks(answered("time-limit", died("time-limit", step=200), died("time-limit", step=400)))
    assert asks(answered("time-limit", died("time-limit", step=500)))
    assert asks(answered("time-limit", resumable=False)), "from the beginning it would only reach the same limit"


@pytest.mark.parametrize("cause", ["node-fail", "preempted", "stalled", "vanished", "failed"])
def test_three_deaths_without_a_new_step_trip_the_breaker(cause: str) -> None:
    proposal = answered(cause, died("node-fail"), died("preempted", step=450))
    assert asks(proposal)
    assert proposal is not None
    assert "3 starts in a row" in proposal.reason
    assert not asks(answered(cause, died("node-fail"), died("preempted", step=450), step=501))


def test_requeues_count_as_deaths() -> None:
    truth = JobTruth("ended", "NODE_FAIL", nodes="n1", restarts=2)
    assert asks(answered("node-fail", truth=truth, step=None))
    assert not asks(answered("node-fail", truth=truth)), "it came to step 500"


def test_a_storm_of_starts_within_an_hour_trips_the_breaker_even_with_progress() -> None:
    assert asks(answered("preempted", past=Past(attempts=6, recent_starts=6)))
    assert not asks(answered("preempted", past=Past(attempts=6, recent_starts=5)))


def test_deaths_without_progress_are_counted_from_the_last_new_step() -> None:
    assert fruitless([died("failed", 10), died("failed", 20)]) == 1
    assert fruitless([died("failed", 10), died("failed", 20), died("failed", 20), died("failed", None)]) == 3
    assert fruitless([died("failed", None), died("failed", None, lives=2)]) == 3


# --- jobs that wait ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["PartitionTimeLimit", "BadConstraints", "DependencyNeverSatisfied", "JobHeldAdmin"])
def test_a_job_that_may_never_run_is_a_persons(reason: str) -> None:
    snapshot = Snapshot("tiny", 1000.0, 1, JobTruth("pending", "PENDING", reason))
    proposal = propose(snapshot, judge_health(snapshot), (), wishes(AUTO))
    assert asks(proposal)
    assert proposal is not None
    assert reason in proposal.reason


@pytest.mark.parametrize("reason", ["Priority", "Resources", "BeginTime", "JobHeldUser", "SomethingNew"])
def test_a_job_that_waits_its_turn_or_is_held_by_its_user_is_left_alone(reason: str) -> None:
    snapshot = Snapshot("tiny", 1000.0, 1, JobTruth("pending", "PENDING", reason))
    assert propose(snapshot, judge_health(snapshot), (), wishes(AUTO)) is None


# --- which word ------------------------------------------------------------------------------------------------


RECORD = ExitRecord(1, "7", 1, 0, "n1", "failed", 1, True, 400.0, 500.0, 950.0)
BEAT = Heartbeat(1, "7", 1, 0, "n1", 5, 30.0, 990.0, 42, "S", 500.0, 10, 980.0)


@pytest.mark.parametrize(
    ("state", "record", "word"),
    [
        ("TIMEOUT", replace(RECORD, cause="signal"), "time-limit"),
        ("PREEMPTED", replace(RECORD, cause="cancelled"), "preempted"),
        ("NODE_FAIL", RECORD, "node-fail"),
        ("OUT_OF_MEMORY", replace(RECORD, cause="signal"), "out-of-memory"),
        ("NODE_FAIL", replace(RECORD, cause="completed", returncode=0), ""),
        ("FAILED", replace(RECORD, cause="stalled"), "stalled"),
        ("CANCELLED", replace(RECORD, cause="stalled"), "stalled"),
        ("FAILED", RECORD, "failed"),
        ("", RECORD, "failed"),
    ],
)
def test_slurm_knows_what_it_ended_itself_and_the_record_knows_the_rest(
    state: str, record: ExitRecord, word: str
) -> None:
    snapshot = Snapshot("tiny", 1000.0, 1, JobTruth("ended", state), exits=(record,))
    assert trouble(judge_health(snapshot)) == word


def test_the_record_of_an_earlier_start_says_nothing_about_the_last() -> None:
    truth = JobTruth("ended", "NODE_FAIL", restarts=1)
    failed_first = Snapshot("tiny", 1000.0, 1, truth, exits=(RECORD,))
    assert judge_health(failed_first).cause == "node-fail"
    seen_later = Snapshot("tiny", 1000.0, 1, replace(truth, state="", restarts=0), exits=(RECORD,),
                          beats=(replace(BEAT, restart=1),))  # fmt: skip
    assert judge_health(seen_later).cause == "vanished"


UNLISTED = JobTruth("unknown", "RUNNING", unlisted=True)


def test_a_job_that_slurm_does_not_list_is_judged_by_its_own_record() -> None:
    assert judge_health(Snapshot("tiny", 1000.0, 1, UNLISTED, exits=(RECORD,))).cause == "failed"
    assert judge_health(Snapshot("tiny", 1000.0, 1, UNLISTED)).verdict == "unknown"
    silent_queue = replace(UNLISTED, unlisted=False)
    assert judge_health(Snapshot("tiny", 1000.0, 1, silent_queue, exits=(RECORD,))).verdict == "unknown"


def test_without_a_record_a_job_that_slurm_has_lost_is_over_once_its_heartbeat_stands_still() -> None:
    """Two sources: a queue without it, and a counter that does not move. It may have been started again since."""
    lost = Snapshot("tiny", 1000.0, 1, UNLISTED, beats=(replace(BEAT, restart=1),), exits=(RECORD,), silent=True)
    health = judge_health(lost)
    assert (health.verdict, health.cause, health.domain) == ("ended", "forgotten", "infrastructure")
    assert judge_health(replace(lost, silent=False)).verdict == "unknown"
    assert judge_health(replace(lost, truth=replace(UNLISTED, unlisted=False))).verdict == "unknown"
    assert judge_health(replace(lost, now=BEAT.written_at + 90_000)).verdict == "unknown", "purged: that is no news"
    by_nobody = JobTruth("ended", "CANCELLED", unlisted=True)
    assert judge_health(replace(lost, truth=by_nobody)).cause == "forgotten"
    assert judge_health(replace(lost, truth=by_nobody, silent=False)).verdict == "unknown", "it may live, as an orphan"
    never_ran = replace(lost, truth=by_nobody, beats=(), exits=())
    assert judge_health(never_ran).cause == "dropped", "as it waited: by somebody, or by a slurmctld without its state"
    again = JobTruth("ended", "CANCELLED", restarts=1, unlisted=True)
    preempted = replace(lost, truth=again, beats=(BEAT,), exits=())
    assert judge_health(preempted).cause == "dropped", "while it waited for its second start: that beat is the first's"
    waits = replace(lost, exits=(replace(RECORD, restart=1, requeued=True),))
    assert judge_health(waits).verdict == "unknown", "it was queued again, and may have been cancelled since"


def test_what_was_asked_to_go_and_then_killed_is_not_forgotten() -> None:
    """Its record is a provisional one, and still says why."""
    asked = replace(RECORD, cause="cancelled", final=False)
    gone = Snapshot("tiny", 1000.0, 1, UNLISTED, beats=(BEAT,), exits=(asked,), silent=True)
    assert judge_health(gone).cause == "cancelled"
    assert judge_health(replace(gone, silent=False)).verdict == "unknown", "it may still be saving a checkpoint"


def test_a_job_that_slurm_has_lost_may_live_on() -> None:
    """Its heartbeat can't be written, but the event files grow."""
    curves = Curves({"loss": Series("loss", np.array([1]), np.array([1025.0]), np.array([0.5]))})
    alive = Snapshot("tiny", 1030.0, 1, UNLISTED, beats=(BEAT,), silent=True, curves=curves)
    assert judge_health(alive).verdict == "unknown"
    assert judge_health(replace(alive, curves=Curves())).cause == "forgotten"


@pytest.mark.parametrize(
    ("logged_at", "verdict"), [(None, "starting"), (300.0, "starting"), (900.0, "running"), (600.0, "stalled")]
)
def test_a_job_without_a_sidecar_is_judged_by_its_event_files(logged_at: float | None, verdict: str) -> None:
    """What was written before the job began is not its own."""
    truth = JobTruth("running", "RUNNING", start=500.0, said_by="queue")
    health = judge_watched(Snapshot("job 7", 1000.0, 1, truth), logged_at, 240.0)
    assert health.verdict == verdict
    assert health.witnesses[-1].source == "event files"
