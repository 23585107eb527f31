# SPDX-License-Identifier: Apache-2.0
"""The verdict on a job: what is listed lives, what is silent is unknown, and only two witnesses make an end."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ade_hpc.model import AccountingRow, JobView, QueueRow, Source
from ade_hpc.scheduler.parse import parse_accounting, parse_queue
from ade_hpc.scheduler.states import PHASES, conclude, explain_reason
from tests.scheduler.conftest import FIXTURES

OK = Source("answered")
DOWN = Source("failed", "timed out")
OFF = Source("off")
FINAL = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
]
MAY_COME_BACK = ["PREEMPTED", "NODE_FAIL", "REQUEUED"]


def queued(state: str, submit: float | None = 100.0) -> QueueRow:
    return QueueRow("7", state, submit=submit)


def life(state: str, submit: float | None = 100.0, elapsed: float = 10.0, code: int = 0) -> AccountingRow:
    return AccountingRow("7", state, code, submit=submit, end=120.0, elapsed_s=elapsed)


def verdict(queue: QueueRow | None, *lives: AccountingRow, q: Source = OK, a: Source = OK):
    return conclude(JobView("7", queue, lives), q, a)


# --- what the queue lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("PENDING", "pending"), ("CONFIGURING", "pending"), ("REQUEUED", "pending"), ("REQUEUE_HOLD", "pending"),
        ("REQUEUE_FED", "pending"), ("SPECIAL_EXIT", "pending"), ("RESV_DEL_HOLD", "pending"),
        ("POWER_UP_NODE", "pending"), ("EXPEDITING", "pending"),
        ("RUNNING", "running"), ("SUSPENDED", "running"), ("STOPPED", "running"), ("COMPLETING", "running"),
        ("RESIZING", "running"), ("SIGNALING", "running"), ("STAGE_OUT", "running"),
        ("LAUNCH_FAILED", "unknown"), ("RECONFIG_FAIL", "unknown"), ("REVOKED", "unknown"), ("UPDATE_DB", "unknown"),
        ("A_STATE_OF_SLURM_30", "unknown"), ("", "unknown"),
        *[(state, "ended") for state in FINAL],
    ],
)  # fmt: skip
def test_every_state_that_a_queue_can_show(state, phase):
    assert verdict(queued(state)).phase == phase


@pytest.mark.parametrize("old", [*FINAL, "REQUEUED"])
@pytest.mark.parametrize(
    ("state", "phase"), [("PENDING", "pending"), ("RUNNING", "running"), ("COMPLETING", "running")]
)
def test_a_listed_job_lives_whatever_accounting_says(old, state, phase):
    truth = verdict(queued(state, 200.0), life(old))
    assert (truth.phase, truth.restarts, truth.said_by) == (phase, 1, "queue")


@pytest.mark.parametrize("accounting", [OK, DOWN, OFF])
def test_a_listed_job_needs_no_accounting(accounting):
    assert verdict(queued("RUNNING"), a=accounting).phase == "running"


def test_a_finished_job_that_the_queue_still_lists_takes_its_details_from_accounting():
    truth = verdict(queued("FAILED"), life("FAILED", code=3))
    assert (truth.phase, truth.state, truth.exit_code, truth.end) == ("ended", "FAILED", 3, 120.0)


def test_the_details_of_an_earlier_life_are_not_taken_for_those_of_the_last():
    truth = verdict(queued("COMPLETED", 200.0), life("NODE_FAIL", 100.0, code=1))
    assert (truth.phase, truth.state, truth.exit_code, truth.restarts) == ("ended", "COMPLETED", 0, 1)


def test_an_out_of_memory_that_only_accounting_knows():
    assert verdict(queued("FAILED"), life("OUT_OF_MEMORY")).state == "OUT_OF_MEMORY"


def test_a_job_that_was_queued_again_between_the_two_questions_is_unknown():
    assert verdict(queued("COMPLETED", 100.0), life("COMPLETED", 100.0), life("PENDING", 200.0)).phase == "unknown"


# --- what the queue does not list -------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*FINAL, "REQUEUED"])
def test_an_end_in_accounting_is_final_once_the_queue_answered_without_the_job(state):
    truth = verdict(None, life(state, code=3))
    assert (truth.phase, truth.state, truth.exit_code) == ("ended", state, 3)


@pytest.mark.parametrize("state", [*FINAL, "REQUEUED", "RUNNING"])
def test_nothing_is_final_while_the_queue_is_silent(state):
    truth = verdict(None, life(state), q=DOWN)
    assert (truth.phase, truth.state) == ("unknown", state)
    assert "timed out" in truth.reason


def test_a_silent_queue_is_not_believed_even_where_it_left_a_row():
    assert verdict(queued("COMPLETED"), q=DOWN).phase == "unknown"


def test_an_end_without_accounting_is_unknown():
    assert verdict(None, a=DOWN).phase == "unknown"


def test_a_job_that_neither_knows_is_unknown():
    """Two answers without the job: it may be the wrong cluster. That is no ground to submit it again."""
    assert (verdict(None).phase, verdict(None).unlisted) == ("unknown", True)
    assert not verdict(None, a=DOWN).unlisted, "accounting has not said so"


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "SUSPENDED", "", "NEW_STATE"])
def test_a_row_that_is_still_open_is_no_end(state):
    assert verdict(None, life(state)).phase == "unknown"


def test_what_was_cancelled_by_nobody_may_be_a_job_that_slurmctld_has_lost():
    """A slurmctld that was killed before it had saved the job: slurmdbd closes the row, and nobody wanted that."""
    truth = verdict(None, replace(life("CANCELLED"), by_nobody=True))
    assert (truth.phase, truth.state, truth.unlisted) == ("ended", "CANCELLED", True)
    assert not verdict(None, life("CANCELLED")).unlisted


def test_a_life_that_was_cancelled_by_nobody_was_an_earlier_jobs():
    """slurmctld gives the id of a job that it has lost to the next one: that has not been started again."""
    lost = replace(life("CANCELLED", 50.0), by_nobody=True)
    assert verdict(queued("RUNNING", submit=100.0), lost, life("RUNNING", 100.0)).restarts == 0
    assert verdict(None, life("PENDING", 50.0), replace(lost, submit=100.0)).restarts == 0
    unreadable = verdict(queued("RUNNING", submit=100.0), life("", 50.0), life("RUNNING", 100.0))
    assert unreadable.restarts == 1, "what can't be read may be a life"
    assert verdict(queued("RUNNING", submit=100.0), life("PREEMPTED", 50.0), life("RUNNING", 100.0)).restarts == 1


def test_an_unreadable_newest_row_is_no_end():
    assert verdict(None, life("PREEMPTED", 100.0), life("", None)).phase == "unknown"


def test_where_accounting_is_off_the_queue_decides_and_the_state_stays_open():
    truth = verdict(None, a=OFF)
    assert (truth.phase, truth.state, truth.said_by) == ("ended", "", "queue")


def test_restarts_and_hours_count_all_lives():
    truth = verdict(None, life("PREEMPTED", 1.0, 30.0), life("REQUEUED", 2.0, 40.0), life("COMPLETED", 3.0, 50.0))
    assert (truth.restarts, truth.elapsed_s) == (2, 120.0)


def test_every_final_state_is_known_to_the_table():
    assert {state for state, phase in PHASES.items() if phase == "ended"} == set(FINAL)


# --- recorded stories -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "label", "phase", "before"),
    [
        ("preempted", "1089 2094 3088", "pending", "PREEMPTED"),
        ("requeued", "1093 2098 3092", "pending", "REQUEUED"),
        ("node-lost", "1096 - 3095", "pending", "NODE_FAIL"),
        ("completing", "1047 2043 3046", "running", "CANCELLED"),
    ],
)
def test_recorded_jobs_that_accounting_had_ended_and_that_were_alive(recorded, story, label, phase, before):
    if not recorded.has(f"{story}-queue"):
        assert recorded.version == "25.11.7"  # its cluster had one node
        return
    job_id = dict(zip(["22.05.8", "25.11.7", "26.05.5"], label.split(), strict=True))[recorded.version]
    queue, _ = parse_queue(recorded.queue(story), {job_id})
    lives, _ = parse_accounting(recorded.accounting(story), {job_id})
    assert before in [row.state for row in lives[job_id]]
    truth = conclude(JobView(job_id, queue[job_id], lives[job_id]), OK, OK)
    assert (truth.phase, truth.restarts) == (phase, 1 if phase == "pending" else 0)
    gone = conclude(JobView(job_id, None, lives[job_id]), DOWN, OK)
    assert gone.phase == "unknown"


def test_recorded_clusters_judged_whole(recorded):
    """Everything at one moment: no job that runs or waits is called ended, and no ended one alive."""
    jobs = recorded.jobs("snapshot")
    queue, _ = parse_queue(recorded.queue("snapshot"), jobs)
    lives, _ = parse_accounting(recorded.accounting("snapshot"), jobs)
    phase_of = {"PENDING": "pending", "RUNNING": "running", "SUSPENDED": "running"}
    for job_id, job in jobs.items():
        state = job["expected"].get("state", "see tasks")
        if " " in state:
            continue
        truth = conclude(JobView(job_id, queue.get(job_id), lives.get(job_id, ())), OK, OK)
        assert truth.phase == phase_of.get(state, "ended"), job["label"]
        assert truth.state == state, job["label"]


# --- reasons ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Priority", "waits"), ("Resources", "waits"), ("BeginTime", "waits"), ("Dependency", "waits"),
        ("Licenses", "waits"), ("JobArrayTaskLimit", "waits"), ("QOSGrpCpuLimit", "waits"),
        ("AssocGrpGRESMinutes", "waits"), ("AssocGrpCPURunMinutesLimit", "waits"), ("QOSMaxJobsPerUserLimit", "waits"),
        ("QOSMaxGRESPerUser", "waits"), ("MaxJobsPerAccount", "waits"), ("AssocMaxJobsLimit", "waits"),
        ("PartitionDown", "waits"), ("ReqNodeNotAvail, UnavailableNodes:n1", "waits"),
        ("ReqNodeNotAvail, May be reserved for other job", "waits"),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", "waits"),
        ("QOSMaxGRESPerJob", "may-never-run"), ("AssocMaxCpuPerJobLimit", "may-never-run"),
        ("AssocMaxWallDurationPerJobLimit", "may-never-run"), ("PartitionTimeLimit", "may-never-run"),
        ("PartitionNodeLimit", "may-never-run"), ("PartitionConfig", "may-never-run"),
        ("BadConstraints", "may-never-run"), ("MaxMemPerLimit", "may-never-run"), ("InvalidQOS", "may-never-run"),
        ("QOSMinGRES", "may-never-run"),
        ("JobHeldUser", "held"), ("JobHeldAdmin", "held"), ("JobHoldMaxRequeue", "held"),
        ("job requeued in held state", "held"), ("job_requeued_in_held_state", "held"),
        ("launch failed requeued held", "held"),
        ("DependencyNeverSatisfied", "dead"), ("ReservationDeleted", "dead"), ("DeadLine", "dead"),
        ("TimeLimit", "waits"), ("RaisedSignal:9(Killed)", "waits"), ("SystemFailure", "waits"), ("None", "waits"),
        ("BurstBufferOperation", "held"), ("job requeued in special exit state", "held"),
        ("ReservationInvalid", "dead"), ("Constraints", "may-never-run"),
        ("AReasonOfSlurm30", "waits"), ("", "waits"),
    ],
)  # fmt: skip
def test_what_a_pending_reason_means(reason, kind):
    found, sentence = explain_reason(reason)
    assert found == kind
    assert len(sentence) > 10


@pytest.mark.parametrize("reason", (FIXTURES / "reasons.txt").read_text().split())
def test_every_reason_that_slurm_knows_is_explained_in_words(reason):
    """Why it waits and what to change: "Slurm says" is for what nobody has told us of."""
    kind, sentence = explain_reason(reason)
    assert "Slurm says" not in sentence
    assert kind == "waits" or re.search(r"\b(change|lower|choose|release|ask|submit)\b", sentence)


def test_every_recorded_reason_of_a_pending_job_is_explained_in_words(recorded):
    jobs = recorded.jobs("snapshot")
    rows, _ = parse_queue(recorded.queue("snapshot"), jobs)
    for row in rows.values():
        if row.state == "PENDING":
            assert "Slurm says" not in explain_reason(row.reason)[1], row.reason
