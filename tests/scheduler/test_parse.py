# SPDX-License-Identifier: Apache-2.0
"""Text of squeue and sacct becomes rows, whatever the release, and never anything that was not asked for."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ade_hpc.model import AccountingRow, QueueRow
from ade_hpc.scheduler.parse import SEPARATOR, parse_accounting, parse_job_ids, parse_queue

TASKS = {"arr_done", "arr_mix"}


def queue_line(*fields: str) -> str:
    return SEPARATOR.join([*fields, "x"])


def sacct_line(**fields: str) -> str:
    usual = {
        "job": "7", "state": "COMPLETED", "code": "0:0", "derived": "0:0", "submit": "100", "start": "110",
        "end": "120", "elapsed": "10", "nodes": "n1", "reason": "None", "name": "x",
    }  # fmt: skip
    return SEPARATOR.join({**usual, **fields}.values())


# --- recorded ---------------------------------------------------------------------------------------------------


def test_recorded_queue_shows_every_job_in_its_state_and_reason(recorded):
    jobs = recorded.jobs("snapshot")
    rows, notes = parse_queue(recorded.queue("snapshot"), jobs)
    assert not notes
    assert len(rows) > 50
    for job_id, row in rows.items():
        label, expected = jobs[job_id]["label"], jobs[job_id]["expected"]
        if label not in TASKS:
            assert row.state in expected["state"], label
        if row.state == "PENDING" and "reason" in expected and label not in {"prio", "prio2"}:  # backfill's own words
            assert row.reason.split(",")[0] in expected["reason"].replace("...", ""), label


def test_recorded_history_of_every_ended_job(recorded):
    jobs = recorded.jobs("final")
    rows, notes = parse_accounting(recorded.accounting("final"), jobs)
    assert not notes
    for job_id, job in jobs.items():
        label, expected = job["label"], job["expected"]
        if label in TASKS:
            continue
        states = [row.state for row in rows[job_id]]
        assert states[-1] in expected["state"], label
        if "history" in expected and label not in {"fail3", "pre_req"}:  # 22.05 rewrites fail3, see README
            assert states == expected["history"], label


def test_recorded_out_of_memory_in_a_step_is_seen_without_asking_for_steps(recorded):
    """The job row says FAILED 1:0; only DerivedExitCode tells. A script that went on regardless is COMPLETED."""
    jobs = recorded.jobs("final")
    rows, _ = parse_accounting(recorded.accounting("final"), jobs)
    state = {job["label"]: rows[job_id][-1].state for job_id, job in jobs.items() if job_id in rows}
    assert (state["oom_srun"], state["oom_batch"], state["oom_step_ok"]) == (
        "OUT_OF_MEMORY",
        "OUT_OF_MEMORY",
        "COMPLETED",
    )
    assert state["fail3b"] == "FAILED"


# --- fields -----------------------------------------------------------------------------------------------------


def test_queue_row():
    text = queue_line("7", "PENDING", "1795365710", "1795369310", "", "ReqNodeNotAvail, UnavailableNodes:n1")
    rows, notes = parse_queue(text, {"7"})
    assert rows == {
        "7": QueueRow("7", "PENDING", "ReqNodeNotAvail, UnavailableNodes:n1", "", 1795365710.0, 1795369310.0)
    }
    assert not notes


def test_accounting_row():
    rows, _ = parse_accounting(sacct_line(state="CANCELLED by 1003", code="3:15"), {"7"})
    assert rows == {"7": (AccountingRow("7", "CANCELLED", 3, 15, 100, 110, 120, 10, "n1", ""),)}


@pytest.mark.parametrize(
    ("state", "code", "by_nobody"),
    [
        ("CANCELLED", "0:0", True),
        ("CANCELLED by 1003", "0:0", False),
        ("CANCELLED", "0:15", False),  # by its user, before a restart of slurmctld
        ("COMPLETED", "0:0", False),
    ],
)
def test_the_row_of_a_job_that_slurmctld_has_lost_is_told_from_one_that_was_cancelled(state, code, by_nobody):
    rows, _ = parse_accounting(sacct_line(state=state, code=code), {"7"})
    assert rows["7"][0].by_nobody == by_nobody


def test_of_the_recorded_jobs_only_what_was_cancelled_as_it_waited_may_have_been_lost(recorded):
    """They were cancelled in every way, some of them before a restart of slurmctld."""
    rows, _ = parse_accounting(recorded.accounting("final"), recorded.jobs("snapshot"))
    lost = [row for lives in rows.values() for row in lives if row.by_nobody]
    assert lost
    assert not [row for row in lost if row.start is not None]


@pytest.mark.parametrize("state", ["CANCELLED", "CANCELLED by 0", "CANCELLED+"])
def test_cancelled_in_all_its_spellings(state):
    assert parse_accounting(sacct_line(state=state), {"7"})[0]["7"][0].state == "CANCELLED"


@pytest.mark.parametrize("word", ["Unknown", "None", "N/A", "", "Partition_Limit", "9" * 30, "9999-99-99T99:99:99"])
def test_a_time_that_is_none(word):
    assert parse_accounting(sacct_line(start=word), {"7"})[0]["7"][0].start is None


def test_local_time_where_a_wrapper_dropped_the_format(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        rows, _ = parse_accounting(sacct_line(start="2026-11-22T10:04:08"), {"7"})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert rows["7"][0].start == 1795359848.0


def test_lives_stand_oldest_first():
    text = "\n".join([sacct_line(submit="300", state="RUNNING"), sacct_line(submit="100", state="PREEMPTED")])
    assert [row.state for row in parse_accounting(text, {"7"})[0]["7"]] == ["PREEMPTED", "RUNNING"]


# --- which job --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row_id", "asked", "found"),
    [
        ("1055", {"1055"}, ["1055"]),
        ("1055_4", {"1055_4"}, ["1055_4"]),
        ("1055_[3-5%1]", {"1055_4", "1055_6", "1056_4"}, ["1055_4"]),
        ("1055_[1,3-5,9]", {"1055_9", "1055_2"}, ["1055_9"]),
        ("1041+0", {"1041"}, ["1041"]),
        ("1041+1", {"1041"}, []),
        ("1055_4", {"1055"}, []),
        ("105", {"1055"}, []),
        ("1055.batch", {"1055"}, []),
        ("1055_[garbage", {"1055_4", "1055_x"}, []),
    ],
)
def test_which_asked_jobs_a_row_speaks_of(row_id, asked, found):
    rows, _ = parse_queue(queue_line(row_id, "RUNNING", "1", "1", "n1", "None"), asked)
    assert list(rows) == found


@pytest.mark.parametrize(("name", "known"), [("x", True), ("y", False), ("", True)])
def test_a_row_of_another_job_that_was_given_its_id_is_left_out(name, known):
    """A row that is cut off before its name still counts, as damaged; of a job that is only watched none is known."""
    line = queue_line("7", "RUNNING", "1", "1", "n1", "None")
    assert ("7" in parse_queue(line, {"7"}, {"7": name})[0]) == known
    assert ("7" in parse_accounting(sacct_line(), {"7"}, {"7": name})[0]) == known
    cut = line.rpartition(SEPARATOR)[0]
    assert parse_queue(cut, {"7"}, {"7": name})[0]["7"].state == ""


def test_ids_of_a_query_by_name():
    text = "\n".join(
        [queue_line("9", "x"), queue_line("1041+0", "x"), queue_line("$(id)", "x"), "banner", queue_line("9", "y")]
    )
    assert parse_job_ids(text) == ["9", "1041"]


# --- damage -----------------------------------------------------------------------------------------------------


def test_a_banner_is_skipped_with_a_note():
    rows, notes = parse_queue("Welcome to the cluster\n" + queue_line("7", "RUNNING", "1", "1", "n1", "None"), {"7"})
    assert rows["7"].state == "RUNNING"
    assert "Welcome" in notes[0]


@pytest.mark.parametrize(
    "line", [queue_line("7", "RUN"), queue_line("7", "", "1", "1", "", ""), queue_line("7", *"abcd")]
)
def test_a_damaged_queue_row_makes_its_job_unreadable_and_not_absent(line):
    rows, notes = parse_queue(line, {"7"})
    assert rows["7"].state == ""
    assert len(notes) == 1


@pytest.mark.parametrize("damage", [{"code": "x"}, {"elapsed": "-3"}, {"state": " "}, {"elapsed": "9" * 5000}])
def test_a_damaged_accounting_row_counts_as_the_newest(damage):
    rows, notes = parse_accounting(sacct_line(submit="100") + "\n" + sacct_line(submit="50", **damage), {"7"})
    assert [row.state for row in rows["7"]] == ["COMPLETED", ""]
    assert len(notes) == 1


FIELDS = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)
ROWS = st.lists(st.one_of(FIELDS, st.lists(FIELDS, max_size=11).map(SEPARATOR.join)), max_size=8).map("\n".join)
IDS = st.sampled_from(["7", "7_4", "7_[1-9]", "7+0", "8"])
LIKELY = st.lists(st.tuples(IDS, st.lists(FIELDS, min_size=5, max_size=12)), max_size=5).map(
    lambda rows: "\n".join(SEPARATOR.join([job, *fields]) for job, fields in rows)
)


@given(text=st.one_of(ROWS, LIKELY), asked=st.sets(st.sampled_from(["7", "7_4", "9", "7_"])))
@example(text=f"7_[{'9' * 5000}]{SEPARATOR}x", asked={"7_4"})
@example(text=f"7_[1-٣]{SEPARATOR}x", asked={"7_²"})
def test_no_text_crashes_and_no_text_yields_a_job_that_was_not_asked_for(text, asked):
    assert set(parse_queue(text, asked)[0]) <= asked
    assert set(parse_accounting(text, asked)[0]) <= asked
    assert all(job_id in text.replace("+0", "") for job_id in parse_job_ids(text))
