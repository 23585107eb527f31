# SPDX-License-Identifier: Apache-2.0
"""What a tick does about a job that died, on the local scheduler: once more, and then a person is asked."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ade_hpc.launch.plan import Plan
from ade_hpc.model import JobRef, JobTruth, JobView, Observation, QueueRow, Source
from ade_hpc.report import history
from ade_hpc.report.night import gather as gather_night
from ade_hpc.report.status import gather
from ade_hpc.store.ledger import append
from ade_hpc.store.records import load_attempt, load_heartbeats, save_heartbeat
from ade_hpc.supervisor.experiment import load_supervised
from ade_hpc.supervisor.observe import look
from ade_hpc.supervisor.past import Usage, past_of
from ade_hpc.supervisor.tick import Ticker
from tests.support.project import Project, kill_at, make_project, wait_for

LEARNS = {"optimizer": {"lr": 0.05}}


def test_a_crash_is_tried_once_more_and_the_same_crash_again_is_a_persons(tmp_path: Path) -> None:
    """Exit code 3 at step 30: one more attempt from the checkpoint, then the last lines of its output and exit 4."""
    project = make_project(tmp_path, config={**LEARNS, "exit_at": 30, "exit_with": 3})
    project.submit()

    reports = project.run_to_end()

    _, second = project.folder.attempts()
    record = load_attempt(second)
    assert record is not None
    assert record.author == "answer:failed"
    assert record.parent is not None
    assert record.parent.step == 20
    assert record.changes == ()
    last = reports[-1]
    assert last.code == 4
    assert last.decision is not None
    assert last.decision.proposal.action == "ask"
    assert "the same crash" in last.decision.proposal.reason
    events, _ = history.story(project.folder)
    assert any("exit record: failed" in line for event in events for line in event.more)
    assert project.tick().code == 4, "and it stays so"
    assert len(project.folder.attempts()) == 2


def test_whoever_was_asked_and_submits_is_not_asked_again(tmp_path: Path) -> None:
    """Their submission was cut off. Until it is finished, nothing is decided about the attempt before."""
    project = make_project(tmp_path, config={**LEARNS, "exit_at": 30, "exit_with": 3})
    project.submit()
    project.run_to_end()
    assert project.tick().code == 4
    kill_at(project, "submit", "intent:after")
    hold = project.folder.path / "HOLD"
    hold.touch()

    report = project.tick()

    assert (report.decision, report.code) == (None, 3)
    assert "was begun and waits" in report.problems[0]
    assert not [need for need in gather_night(project.folder, project.site, now=time.time()).needs if "no rule" in need]
    hold.unlink()
    project.tick()
    assert len(project.folder.attempts()) == 3
    project.wait_until_over(3)


def test_in_mode_observe_it_only_says_what_it_would_do(tmp_path: Path) -> None:
    project = make_project(tmp_path, mode="observe", config={**LEARNS, "exit_at": 30, "exit_with": 3})
    project.submit()
    reports = project.run_to_end()
    assert len(project.folder.attempts()) == 1
    assert reports[-1].decision is not None
    assert (reports[-1].decision.outcome, reports[-1].decision.proposal.author) == ("observe", "answer:failed")


def test_a_job_that_slurm_has_lost_costs_what_its_records_tell(tmp_path: Path) -> None:
    """Accounting says RUNNING, and its seconds grow. Without an exit record a start lived until its last heartbeat."""
    project = make_project(tmp_path, experiment={"gpus_per_node": 1}, config={**LEARNS, "steps": 40})
    project.submit()
    project.wait_until_over(1)
    one = load_supervised(project.folder)
    (job,), (attempt,) = one.jobs, project.folder.attempts()
    lost = {job.job_id: JobTruth("unknown", "RUNNING", unlisted=True, elapsed_s=90_000.0)}

    by_record = past_of(one, lost, Usage(1, 1), now=time.time()).gpu_hours * 3600
    for path in attempt.exits.iterdir():
        path.unlink()
    by_heartbeat = past_of(one, lost, Usage(1, 1), now=time.time()).gpu_hours * 3600

    assert 0 < by_heartbeat <= by_record < 60


def test_what_was_cancelled_by_hand_is_never_resubmitted(tmp_path: Path) -> None:
    """Not through ade-hpc: the job itself was told to go."""
    project = make_project(tmp_path, config={**LEARNS, "steps": 100_000})
    project.submit()
    wait_for(lambda: project.tick().health.verdict == "running", 60, "it never ran")
    job = load_supervised(project.folder).job
    assert job is not None
    project.scheduler.cancel(job)
    assert project.wait_until_over(1) == "cancelled"
    assert [project.tick().decision for _ in range(2)] == [None, None]
    assert len(project.folder.attempts()) == 1


def test_a_trainer_that_stands_still_is_ended_and_started_again(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={**LEARNS, "steps": 100_000}, experiment={"stall_floor": "3s"})
    project.submit()
    beats = partial(load_heartbeats, project.folder.attempt(1))
    beat = wait_for(lambda: next((one for one in beats() if (one.last_step or 0) > 20), None), 60, "it never trained")
    os.kill(beat.trainer_pid, signal.SIGSTOP)
    try:
        done = wait_for(lambda: project.tick().done, 60, "nothing was done")
    finally:
        with contextlib.suppress(ProcessLookupError):  # its job has ended it by now, as it should
            os.kill(beat.trainer_pid, signal.SIGCONT)
    assert "resubmitted" in done
    second = load_attempt(project.folder.attempt(2))
    assert second is not None
    assert second.author == "answer:stalled"
    project.scheduler.cancel(load_supervised(project.folder).job)


class Alive:
    """A scheduler whose queue lists every job as running."""

    def observe(self, jobs: Sequence[JobRef]) -> Observation:
        rows = {job.job_id: JobView(job.job_id, QueueRow(job.job_id, "RUNNING")) for job in jobs}
        return Observation(Source("answered"), Source("answered"), rows)


@pytest.mark.parametrize(("interval_s", "silent"), [(0.2, True), (31.0, False)])
def test_a_heartbeat_that_may_come_less_often_than_a_tick_can_wait_is_never_proved_to_stand_still(
    tmp_path: Path, interval_s: float, silent: bool
) -> None:
    """The clock of its node may be behind, and no beat need have come while the tick looked."""
    project = make_project(tmp_path, config={**LEARNS, "steps": 40})
    project.submit()
    project.wait_until_over(1)
    attempt = project.folder.attempt(1)
    beat = replace(load_heartbeats(attempt)[-1], interval_s=interval_s, written_at=time.time() - 3600)
    save_heartbeat(attempt, beat)
    for record in attempt.exits.iterdir():
        record.unlink()
    seen = look([load_supervised(project.folder)], lambda kind: Alive())
    assert (project.folder.name in seen.silent) == silent


# --- nodes that several experiments died on ---------------------------------------------------------------------


def died_on(project: Project, node: str, *, ago_s: float = 60.0, cause: str = "node-fail") -> None:
    data = {"attempt": 1, "health": {"verdict": "ended", "cause": cause}, "job": {"nodes": node, "restarts": 0}}
    append(project.folder.ledger, "observed", data, now=time.time() - ago_s)


@pytest.mark.parametrize(
    ("node", "ago_s", "cause", "suspect"),
    [
        ("n7", 60.0, "node-fail", True),
        ("n8", 60.0, "node-fail", False),
        ("n7", 8 * 86400.0, "node-fail", False),
        ("n7", 60.0, "failed", False),
        ("n7", 60.0, "preempted", False),
    ],
)
def test_a_node_is_suspect_once_two_experiments_died_on_it(
    tmp_path: Path, node: str, ago_s: float, cause: str, suspect: bool
) -> None:
    projects = [
        make_project(tmp_path / name, config={**LEARNS, "steps": 5}, experiment={"name": name}) for name in ("a", "b")
    ]
    for project in projects:
        project.submit()
    died_on(projects[0], "n7")
    died_on(projects[0], "n7")
    died_on(projects[1], node, ago_s=ago_s, cause=cause)
    seen = look([load_supervised(one.folder) for one in projects], lambda kind: projects[0].scheduler)
    assert seen.usage.suspects == (("n7",) if suspect else ())


def test_a_suspect_node_is_kept_out_of_every_new_attempt(tmp_path: Path) -> None:
    crashes = make_project(tmp_path / "a", config={**LEARNS, "exit_at": 5, "exit_with": 3}, experiment={"name": "a"})
    other = make_project(tmp_path / "b", config={**LEARNS, "steps": 5}, experiment={"name": "b"})
    for project in (crashes, other):
        project.submit()
        project.wait_until_over(1)
        died_on(project, "n7")
    ticker = Ticker(crashes.site, lambda kind: crashes.scheduler, lambda step: None)
    assert ticker.tick([crashes.folder, other.folder])[0].done
    plan = Plan.from_json(crashes.ledger.of_kind("intent")[-1].data)
    assert (plan.attempt, plan.author, plan.directives["exclude"]) == (2, "answer:failed", "n7")
    crashes.wait_until_over(2)


def test_status_says_which_source_said_what_and_how_old_it_is(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={**LEARNS, "steps": 20})
    project.submit()
    project.wait_until_over(1)
    (row,) = gather([project.folder], lambda kind: project.scheduler)
    said = {one.source: one for one in row.sources}
    assert set(said) == {"queue", "accounting", "heartbeat", "exit record"}
    assert "completed" in said["exit record"].said
    assert said["exit record"].age_s is not None
    assert 0 <= said["exit record"].age_s < 60
    assert said["queue"].age_s is None
