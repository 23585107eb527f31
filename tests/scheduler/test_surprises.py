# SPDX-License-Identifier: Apache-2.0
"""Twelve things that three releases of Slurm did and that nobody expects, each with what ade-hpc makes of it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from ade_hpc.errors import SchedulerError, SchedulerSilent
from ade_hpc.model import AccountingRow, ExitRecord, JobRef, JobTruth, JobView, QueueRow, Source, StepRow
from ade_hpc.policy.health import judge_health
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.scheduler.parse import SACCT_FORMAT, SEPARATOR, SQUEUE_FORMAT, parse_accounting, parse_queue, parse_steps
from ade_hpc.scheduler.slurm import SlurmScheduler
from ade_hpc.scheduler.states import conclude, explain_reason, with_steps
from ade_hpc.scheduler.tables import Table

OK = Source("answered")


def job_called(recorded, label: str) -> str:
    return next(job_id for job_id, job in recorded.jobs("final").items() if job["label"] == label)


def lives_of(recorded, label: str) -> tuple[AccountingRow, ...]:
    job_id = job_called(recorded, label)
    return parse_accounting(recorded.accounting("final"), {job_id})[0][job_id]


def at_the_end(recorded, label: str) -> JobTruth:
    """The verdict once the queue has forgotten the job."""
    return conclude(JobView("7", None, lives_of(recorded, label)), OK, OK)


def plays(call) -> str:
    """A stand-in that answers as the recorded client did."""
    return f"printf %s {shlex.quote(call.stdout)}; printf %s {shlex.quote(call.stderr)} >&2; exit {call.returncode}"


def client(**options) -> SlurmScheduler:
    return SlurmScheduler(lambda path: os.getpid, **options)


def ref(job_id: str = "41") -> JobRef:
    return JobRef(job_id, "digits.0001.k3f9", Path("/nowhere"))


def test_1_names_are_printed_raw_so_no_column_that_a_user_fills_stands_before_another(recorded):
    columns = [*SACCT_FORMAT.split(",")[:-1], *SQUEUE_FORMAT.split(SEPARATOR)[:-1]]
    assert not {*columns} & {"JobName", "Comment", "WCKey", "SubmitLine", "%j", "%k", "%o"}
    row = SEPARATOR.join(["7", "COMPLETED", "0:0", "0:0", "100", "110", "170", "60", "n1", "None", "a|b\x1f,\nc"])
    assert [life.state for life in parse_accounting(row, {"7"})[0]["7"]] == ["COMPLETED"]
    for label in ("odd_pipe", "odd_newline", "odd_equals", "odd_unicode", "odd_empty"):
        assert at_the_end(recorded, label).state == "COMPLETED"


def test_2_an_old_row_of_a_requeued_job_is_no_end(recorded):
    """22.05 shows the old one for seconds while the queue says PENDING, and no row at all right after sbatch."""
    for old in ("PREEMPTED", "NODE_FAIL", "REQUEUED"):
        again = JobView(
            "7", QueueRow("7", "PENDING", "BeginTime", submit=200.0), (AccountingRow("7", old, submit=100.0),)
        )
        assert (conclude(again, OK, OK).phase, conclude(again, OK, OK).restarts) == ("pending", 1)
    assert conclude(JobView("7", QueueRow("7", "PENDING")), OK, OK).phase == "pending"
    assert "Restarts" not in SACCT_FORMAT, "22.05 refuses the whole query for it"
    earlier = [row.state for row in lives_of(recorded, "requeue_run")]
    assert earlier == ["REQUEUED", "COMPLETED"]


@pytest.mark.parametrize(
    ("label", "state"),
    [("cancel_user", "CANCELLED"), ("cancel_root", "CANCELLED"), ("sigterm143", "FAILED"), ("timeout", "TIMEOUT")],
)
def test_3_states_are_believed_and_exit_codes_only_shown(recorded, label, state):
    """A restart of slurmctld drops the "by UID" and turns 0:0 into 0:15; 22.05 halves codes above 127."""
    assert at_the_end(recorded, label).state == state


def test_4_an_out_of_memory_may_show_on_a_step_only(recorded):
    ids = {label: job_called(recorded, label) for label in ("oom_srun", "oom_batch", "fail3b", "steps_fail")}
    steps = parse_steps(recorded.steps("steps"), ids.values())
    states = {}
    for label, job_id in ids.items():
        failed = JobTruth("ended", "FAILED")
        states[label] = with_steps(failed, steps[job_id]).state
    assert states == {
        "oom_srun": "OUT_OF_MEMORY", "oom_batch": "OUT_OF_MEMORY", "fail3b": "FAILED", "steps_fail": "FAILED",
    }  # fmt: skip
    killed = (StepRow("1", "OUT_OF_MEMORY", 0, 125),)
    assert with_steps(JobTruth("ended", "COMPLETED"), killed).state == "COMPLETED", "the script went on regardless"
    assert with_steps(JobTruth("running", "RUNNING"), killed).state == "RUNNING"


def test_4_the_steps_of_all_jobs_that_failed_take_one_query(slurm):
    slurm.program("sacct", f"printf '%s\\n' {shlex.quote(SEPARATOR.join(['42.0', 'OUT_OF_MEMORY', '0:125', '']))}")
    assert client().steps([ref(), ref("42")]) == {"42": (StepRow("0", "OUT_OF_MEMORY", 0, 125),)}
    (call,) = slurm.called("sacct")
    assert "--jobs 41,42" in call
    assert "--allocations" not in call


def test_5_a_preempted_job_that_ends_with_0_in_its_grace_time_is_run_again(recorded):
    lives = lives_of(recorded, "grace_done")
    expected = ["COMPLETED"] if recorded.version == "22.05.8" else ["PREEMPTED", "COMPLETED"]
    assert [row.state for row in lives] == expected
    waits = JobView("7", QueueRow("7", "PENDING", "BeginTime", submit=9e9), lives[:1])
    assert conclude(waits, OK, OK).phase == "pending", "whatever accounting says of the life before"
    record = ExitRecord(1, "7", 1, 0, "n1", "completed", 0, True, 400.0, 500.0, 950.0)
    done = Snapshot("tiny", 1000.0, 1, JobTruth("ended", "PREEMPTED"), exits=(record,))
    assert judge_health(done).cause == "completed", "and where it is not, its work is done"


@pytest.mark.parametrize(
    "reason",
    [
        "ReqNodeNotAvail, UnavailableNodes:n1",
        "ReqNodeNotAvail, May be reserved for other job",
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
        "job requeued in held state",
    ],
)
def test_6_a_reason_is_a_sentence_with_commas(reason):
    row = SEPARATOR.join(["7", "PENDING", "1", "1", "", reason, "x"])
    assert parse_queue(row, {"7"})[0]["7"].reason == reason
    assert "Slurm says" not in explain_reason(reason)[1]


def test_7_a_refused_sbatch_leaves_a_failed_job_of_that_name_behind(slurm, recorded):
    assert recorded.calls["errors/sbatch-gpu9"].returncode == 1
    row = SEPARATOR.join(["43", "FAILED", "100", "100", "", "BadConstraints", "x"])
    slurm.program("squeue", f"printf '%s\\n' {shlex.quote(row)}")
    assert client().find("digits.0001.k3f9", 0.0).jobs == ()


@pytest.mark.parametrize("job", ["unknown-id", "purged"])
def test_8_a_scancel_that_says_nothing_proves_nothing(slurm, recorded, job):
    """Unknown, ended and purged jobs are all cancelled with 0 and silence; one unknown id fails squeue, two do not."""
    slurm.program("scancel", plays(recorded.calls[f"errors/scancel-{job}"]))
    client().cancel(ref())
    slurm.program("squeue", plays(recorded.calls[f"errors/squeue-{job}"]))
    one = client().observe([ref()])
    slurm.program("squeue", plays(recorded.calls["errors/squeue-unknown-ids"]))
    two = client().observe([ref(), ref("42")])
    assert one.queue.answered
    assert two.queue.answered
    assert conclude(one.jobs["41"], one.queue, one.accounting).phase == "unknown", "cancelled or not, nobody knows it"
    slurm.program("scancel", plays(recorded.calls["errors/scancel-other-user"]))
    with pytest.raises(SchedulerError, match="denied"):
        client().cancel(ref())


def test_9_json_changes_its_shape_from_release_to_release_and_is_not_asked_for(slurm):
    client().observe([ref()])
    client().steps([ref()])
    client().find("digits.0001.k3f9", 0.0)
    asked = [line for name in ("squeue", "sacct") for line in slurm.called(name)]
    assert len(asked) == 5
    assert not [line for line in asked if "json" in line]


@pytest.mark.parametrize(
    ("call", "source"),
    [
        ("ctld-down/squeue", "queue"), ("dbd-down/sacct", "accounting"), ("client-conf/squeue-no-conf", "queue"),
        ("client-conf/squeue-bad-key", "queue"), ("client-conf/sacct-no-munge", "accounting"),
    ],
)  # fmt: skip
def test_10_a_daemon_that_is_down_makes_a_source_that_failed_and_never_an_empty_answer(slurm, recorded, call, source):
    slurm.program(call.partition("/")[2].partition("-")[0], plays(recorded.calls[call]))
    seen = client().observe([ref()])
    failed = {"queue": seen.queue, "accounting": seen.accounting}[source]
    assert failed.answer == "failed"
    assert failed.detail
    assert conclude(seen.jobs["41"], seen.queue, seen.accounting).phase == "unknown"


def test_10_a_client_without_slurm_conf_would_sit_for_a_minute_and_is_ended(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", "/nonexistent/slurm.conf")
    slurm.program("squeue", "sleep 59")
    seen = client(timeout=0.3).observe([ref()])
    assert "SLURM_CONF" in seen.queue.detail
    slurm.program("scancel", "sleep 59")
    with pytest.raises(SchedulerSilent):
        client(timeout=0.3).cancel(ref())


def test_11_what_a_release_ends_another_leaves_waiting_for_ever(recorded):
    """A held job past its --deadline is DEADLINE, but on 22.05 PENDING for good."""
    if recorded.version == "22.05.8":
        assert explain_reason("JobHeldUser")[0] == "held"
        assert conclude(JobView("7", QueueRow("7", "PENDING", "JobHeldUser")), OK, OK).phase == "pending"
    else:
        assert at_the_end(recorded, "deadline").state == "DEADLINE"
    assert at_the_end(recorded, "nf_req").state == "COMPLETED", (
        "its node was lost, and it ended well before that showed"
    )


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("echo no crontab for slurmu; exit 1", "answered"),
        ("echo 'scrontab: fatal: scrontab is disabled on this cluster' >&2; exit 1", "off"),
        ("echo 'scrontab: error: Unspecified error' >&2; exit 1", "failed"),
    ],
)
def test_12_scrontab_fails_with_1_for_everything_and_often_on_stdout(slurm, body, answer):
    """No table is an empty table; anything else must never be taken for one."""
    slurm.program("scrontab", body)
    assert Table("scrontab").available().answer == answer


def test_12_what_scrontab_refuses_on_stdout_is_said(slurm):
    slurm.program("scrontab", '[ "$1" = -l ] || { echo There are errors in your crontab.; exit 1; }')
    with pytest.raises(SchedulerError, match="There are errors in your crontab"):
        Table("scrontab").write("bad line\n")
