# SPDX-License-Identifier: Apache-2.0
"""At most one start past the fence, whichever way two starts interleave (invariant 1c)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ade_hpc.job.fence import SILENT_BEATS, Lookout, bury_predecessors, outrun, refuse_at_fence, wait_for_end
from ade_hpc.job.identity import JobIdentity, identify
from ade_hpc.job.sidecar import Sidecar
from ade_hpc.model import ExitRecord
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.records import claim_owner, save_exit, superseded_by

JOB = JobIdentity("7", 0, "n1", True, 1, True)
INTERVAL = 1.0
SILENCE = pytest.approx(3 * INTERVAL, abs=0.3)  # to the next poll


@pytest.fixture
def attempts(tmp_path: Path) -> tuple[AttemptDir, AttemptDir]:
    """An older attempt and its successor."""
    folder = ExperimentDir(tmp_path / "tiny")
    folder.make_folders()
    made = folder.claim_attempt(1), folder.claim_attempt(2)
    for attempt in made:
        attempt.make_folders()
    return made


def start(attempt: AttemptDir, job: JobIdentity = JOB) -> Sidecar:
    """Pass the fence as a job does, and show a first heartbeat."""
    sidecar = Sidecar(attempt, job, INTERVAL)
    assert refuse_at_fence(attempt, job, sidecar.show) is None
    return sidecar


@dataclass
class Clock:
    """Time at the fence, which passes only while somebody waits there; then happens what ``meanwhile`` does."""

    now: float = 0.0
    meanwhile: Callable[[float], object] = field(default=lambda now: None)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile(self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("ade_hpc.job.fence.time", made)
    return made


def waited(clock: Clock, older: AttemptDir, before: int | None = None) -> float:
    """For how long a start waits at the fence; 60 s where it would wait for ever."""
    began = clock.now
    wait_for_end(older, INTERVAL, lambda: clock.now - began > 60, before=before)
    return clock.now - began


def final(attempt: AttemptDir, restart: int = 0) -> None:
    save_exit(attempt, ExitRecord(1, "7", attempt.number, restart, "n1", "failed", 1, True, 0.0, 1.0, 2.0))


def test_a_second_job_of_the_attempt_is_refused_and_a_requeue_is_not(attempts: tuple[AttemptDir, AttemptDir]) -> None:
    start(attempts[0])
    other = replace(JOB, job_id="8")
    assert refuse_at_fence(attempts[0], other, lambda: None) == "job 7 owns attempt 1"
    start(attempts[0], replace(JOB, restart=1))


def test_a_superseded_attempt_starts_no_more(attempts: tuple[AttemptDir, AttemptDir]) -> None:
    bury_predecessors(attempts[1])
    assert superseded_by(attempts[0]) == "attempt 2"
    sidecar = Sidecar(attempts[0], JOB, INTERVAL)
    assert "superseded" in str(refuse_at_fence(attempts[0], JOB, sidecar.show))


def test_a_start_shows_itself_before_it_looks_for_the_tombstone(attempts: tuple[AttemptDir, AttemptDir]) -> None:
    """The order that the whole fence rests on: a successor that comes in between must see the heartbeat."""
    seen: list[str] = []
    sidecar = Sidecar(attempts[0], JOB, INTERVAL)

    def show() -> None:
        sidecar.show()
        bury_predecessors(attempts[1])  # the successor comes at the worst moment
        seen.append("shown")

    assert refuse_at_fence(attempts[0], JOB, show) is not None
    assert seen == ["shown"]


def test_an_ended_predecessor_is_not_waited_for(attempts: tuple[AttemptDir, AttemptDir], clock: Clock) -> None:
    start(attempts[0])
    final(attempts[0])
    assert bury_predecessors(attempts[1]) == [attempts[0]]
    assert waited(clock, attempts[0]) == 0


def test_a_predecessor_that_never_started_is_not_waited_for(attempts: tuple[AttemptDir, AttemptDir]) -> None:
    assert bury_predecessors(attempts[1]) == []


def test_a_beating_predecessor_is_waited_for_until_its_record(
    attempts: tuple[AttemptDir, AttemptDir], clock: Clock
) -> None:
    """afterany does not mean dead: after a node failure the old job may still write."""
    sidecar = start(attempts[0])
    clock.meanwhile = lambda now: sidecar.show() if now < 20 else final(attempts[0])
    assert waited(clock, attempts[0]) == pytest.approx(20, abs=0.3)


def test_a_silent_predecessor_is_dead_after_three_intervals(
    attempts: tuple[AttemptDir, AttemptDir], clock: Clock
) -> None:
    start(attempts[0])
    assert waited(clock, attempts[0]) == SILENCE


def test_a_predecessor_that_beats_again_is_given_three_more(
    attempts: tuple[AttemptDir, AttemptDir], clock: Clock
) -> None:
    """Two intervals of silence may have been a busy disk."""
    sidecar = start(attempts[0])
    clock.meanwhile = lambda now: sidecar.show() if 2 <= now < 2.2 else None
    assert waited(clock, attempts[0]) == pytest.approx(5, abs=0.5)


def test_a_predecessor_that_claimed_and_has_not_shown_itself_gets_its_time(
    attempts: tuple[AttemptDir, AttemptDir], clock: Clock
) -> None:
    claim_owner(attempts[0], "7")
    assert waited(clock, attempts[0]) == SILENCE


def test_two_starts_of_one_job_see_each_other(attempts: tuple[AttemptDir, AttemptDir], clock: Clock) -> None:
    """Slurm took a node for dead and queued the job again; the node lives."""
    on_lost_node = start(attempts[0])
    later = replace(JOB, restart=1, node="n2")
    assert not outrun(attempts[0], JOB)

    start(attempts[0], later)

    assert outrun(attempts[0], JOB)
    assert not outrun(attempts[0], later)
    clock.meanwhile = lambda now: on_lost_node.show() if now < 10 else final(attempts[0])
    assert waited(clock, attempts[0], before=1) == pytest.approx(10, abs=0.3)
    assert waited(clock, attempts[0], before=1) == 0


def test_the_record_of_an_earlier_restart_does_not_hide_a_later_one(
    attempts: tuple[AttemptDir, AttemptDir], clock: Clock
) -> None:
    """A job that was queued again after its first end is alive, whatever its first exit record says."""
    start(attempts[0])
    final(attempts[0], restart=0)
    start(attempts[0], replace(JOB, restart=1))
    assert waited(clock, attempts[0]) == SILENCE


def test_outside_of_a_job_there_is_no_identity() -> None:
    with pytest.raises(Exception, match="not a job"):
        identify({})
    found = identify({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "2", "SLURMD_NODENAME": "n/1", "SLURM_LOCALID": "1"})
    assert (found.job_id, found.restart, found.node, found.leader, found.slurm) == ("12", 2, "n_1", False, True)
    assert identify({"ADE_JOB_ID": "1.2"}).node == os.uname().nodename


def test_a_start_is_gone_before_it_is_taken_for_dead(attempts: tuple[AttemptDir, AttemptDir]) -> None:
    """Blind for the time that it may be, it ends while a successor would still wait for it."""
    start(attempts[0])
    lookout = Lookout(attempts[0], JOB, INTERVAL)
    assert lookout.closed() == ""
    attempts[0].path.rename(attempts[0].path.with_name("gone"))
    began = time.monotonic()
    assert lookout.closed() == ""

    while not (why := lookout.closed()):
        time.sleep(0.01)

    assert why == "lost"
    assert INTERVAL < time.monotonic() - began < (SILENT_BEATS - 1) * INTERVAL
    attempts[0].path.with_name("gone").rename(attempts[0].path)
    assert lookout.closed() == ""
