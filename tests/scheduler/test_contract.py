# SPDX-License-Identifier: Apache-2.0
"""One contract for every source of records: what one source says of a job, each other one says as well.

It runs over recorded objects (text of 25.11.7 and pyslurm 25.11.2, of the same cluster at the same moments) and over a
live cluster with whatever is installed there.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from ade_hpc.model import JobRef, JobView, Source
from ade_hpc.scheduler.parse import AccountingRows, QueueRows, parse_accounting, parse_queue
from ade_hpc.scheduler.pyslurm_client import PyslurmScheduler
from ade_hpc.scheduler.pyslurm_rows import accounting_rows, queue_rows
from ade_hpc.scheduler.slurm import SlurmScheduler
from ade_hpc.scheduler.states import conclude
from tests.cluster.conftest import in_lab, lab  # noqa: F401 - fixtures
from tests.scheduler.conftest import FIXTURES, Recorded

OK = Source("answered")
TEXT = Recorded("25.11.7")
PYSLURM = FIXTURES / "pyslurm-25.11.2"
# Job ids as Slurm's clients write them: those that both recordings hold
KNOWN = {
    *map(str, range(2009, 2110)),
    *(f"{array}_{task}" for array in (2033, 2051) for task in range(6)),
}


@pytest.fixture(autouse=True)
def where_it_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def queues(moment: str) -> tuple[QueueRows, QueueRows]:
    """By text and by pyslurm, of the jobs that both hold."""
    text, notes = parse_queue(TEXT.queue(moment), KNOWN)
    objects = queue_rows((PYSLURM / f"{moment}-queue.json").read_text(), KNOWN)
    assert notes == []
    return _without_estimates({job_id: text[job_id] for job_id in objects}), _without_estimates(objects)


def _without_estimates(rows: QueueRows) -> QueueRows:
    """When a waiting job may start is estimated anew every few seconds."""
    return {job_id: replace(row, start=None) if row.state == "PENDING" else row for job_id, row in rows.items()}


def lives(moment: str) -> tuple[AccountingRows, AccountingRows, list[str]]:
    """By text and by pyslurm, as far as both can tell, and the jobs of which pyslurm knows that there is more."""
    text, _ = parse_accounting(TEXT.accounting(moment), KNOWN)
    objects, requeued = accounting_rows((PYSLURM / f"{moment}-accounting.json").read_text(), KNOWN)
    shared = [job_id for job_id in objects if job_id in text]
    return {one: text[one] for one in shared}, {one: objects[one] for one in shared}, requeued


@pytest.mark.parametrize("moment", ["snapshot", "preempted"])
def test_the_queue_is_the_same(moment):
    text, objects = queues(moment)
    assert len(objects) == {"snapshot": 40, "preempted": 1}[moment]
    assert objects == text


@pytest.mark.parametrize("moment", ["snapshot", "final", "preempted"])
def test_the_last_life_in_accounting_is_the_same(moment):
    text, objects, _ = lives(moment)
    assert len(objects) == {"snapshot": 40, "final": 49, "preempted": 1}[moment]
    assert {job_id: rows[-1] for job_id, rows in objects.items()} == {job_id: rows[-1] for job_id, rows in text.items()}


@pytest.mark.parametrize("moment", ["final", "preempted"])
def test_pyslurm_knows_of_which_jobs_it_does_not_tell_all(moment):
    """So that these, and no others, are asked of `sacct -D`: their history, and who cancelled them."""
    text, _, unsure = lives(moment)
    more = {one for one, rows in text.items() if len(rows) > 1 or rows[-1].by_nobody}
    assert {job_id for job_id in unsure if job_id in text} == more


def test_every_verdict_is_the_same():
    text, objects = queues("snapshot")
    by_text, by_objects, requeued = lives("snapshot")
    for job_id in objects:
        if job_id in by_objects and job_id not in requeued:
            one = conclude(JobView(job_id, text[job_id], by_text[job_id]), OK, OK)
            assert conclude(JobView(job_id, objects[job_id], by_objects[job_id]), OK, OK) == one


@pytest.mark.parametrize(("name", "seen"), [("cancel_pending", True), ("another", False), ("", True)])
def test_another_job_of_that_id_is_not_taken_for_it(name, seen):
    """The job that is submitted next gets the id of one that slurmctld has lost."""
    names = {"2036": name}
    text, _ = parse_accounting(TEXT.accounting("final"), {"2036"}, names)
    objects, _ = accounting_rows((PYSLURM / "final-accounting.json").read_text(), {"2036"}, names)
    queue = queue_rows((PYSLURM / "final-queue.json").read_text(), {"2036"}, names)
    assert [bool(rows) for rows in (text, objects, queue)] == [seen] * 3


def test_who_cancelled_it_is_told_until_slurmctld_is_restarted():
    """Before and after a restart of slurmctld: that of a job that waited may have been lost as well."""
    by_nobody = [lives(moment)[1]["2036"][-1].by_nobody for moment in ("snapshot", "final")]
    assert by_nobody == [False, True]


@pytest.mark.cluster
def test_a_live_cluster_is_seen_alike_by_every_client(in_lab, tmp_path: Path):  # noqa: F811 - fixture
    jobs = {
        name: in_lab.sbatch(script, f"--job-name={name}", *options)
        for name, script, *options in (
            ("done", "true"),
            ("failed", "exit 3"),
            ("again", '[ "$SLURM_RESTART_COUNT" = 1 ] || sleep 60', "--requeue"),
            ("held", "true", "--hold"),
            ("never", "true", "--time=2:00:00"),
        )
    }
    in_lab.wait_state(jobs["again"], ["RUNNING"])
    in_lab.run(["scontrol", "requeue", jobs["again"]])
    for name in ("done", "failed", "again"):
        in_lab.wait_state(jobs[name], ["COMPLETED", "FAILED"])
    refs = [JobRef(job_id, name, tmp_path) for name, job_id in jobs.items()]
    seen = [client(lambda path: time.time).observe(refs) for client in (SlurmScheduler, PyslurmScheduler)]
    in_lab.run(["scancel", jobs["held"], jobs["never"]])

    assert seen[0].jobs == seen[1].jobs
    truths = {name: conclude(seen[0].jobs[job_id], OK, OK) for name, job_id in jobs.items()}
    assert {name: (truth.phase, truth.state, truth.exit_code, truth.restarts) for name, truth in truths.items()} == {
        "done": ("ended", "COMPLETED", 0, 0), "failed": ("ended", "FAILED", 3, 0),
        "again": ("ended", "COMPLETED", 0, 1), "held": ("pending", "PENDING", 0, 0),
        "never": ("pending", "PENDING", 0, 0),
    }  # fmt: skip
    assert (truths["held"].reason, truths["never"].reason) == ("JobHeldUser", "PartitionTimeLimit")
