# SPDX-License-Identifier: Apache-2.0
"""One start of an attempt, as a real process: what ends it, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.job.checkpoints import newest_valid
from ade_hpc.launch.lineage import job_of
from ade_hpc.model import ExitRecord, Heartbeat, JobRef
from ade_hpc.store.records import load_exits, load_heartbeats, supersede
from ade_hpc.supervisor.tick import Report
from tests.support.project import Project, alive, make_project, wait_for

LONG = {"optimizer": {"lr": 0.05}, "steps": 4000, "step_s": 0.01, "checkpoint_every": 1000}


@pytest.fixture
def running(tmp_path: Path) -> Project:
    """A trainer at work, far from its next periodic checkpoint. Ticks say what they would do, and do nothing."""
    project = make_project(tmp_path, config=LONG, mode="observe")
    project.submit()
    wait_for(lambda: _beat(project), 60, "it never started")
    return project


def _beat(project: Project) -> Heartbeat | None:
    beats = load_heartbeats(project.folder.attempt(1))
    return next((beat for beat in beats if beat.trainer_pid and beat.event_bytes), None)


def _job(project: Project) -> JobRef:
    job = job_of(project.folder, project.ledger, 1)
    assert job is not None
    return job


def _last(project: Project) -> ExitRecord:
    return load_exits(project.folder.attempt(1))[-1]


def _answer(report: Report) -> str:
    return report.decision.proposal.author if report.decision else ""


def test_a_tombstone_alone_ends_a_running_start(running: Project) -> None:
    """Should scancel never arrive, the payload itself sees that it was superseded."""
    trainer = _beat(running)
    supersede(running.folder.attempt(1), "attempt 2")
    assert running.wait_until_over(1) == "superseded"
    assert trainer is not None
    assert not alive(trainer.trainer_pid or 0)


def test_a_cancelled_trainer_saves_on_its_declared_signal(running: Project) -> None:
    """The checkpoint at the moment of the signal, not the last periodic one."""
    running.scheduler.cancel(_job(running))
    assert running.wait_until_over(1) == "cancelled"
    saved = newest_valid(running.folder.attempt(1).checkpoints, "step-{step}.pt", None)
    assert saved is not None
    assert (saved.step or 0) % 1000
    assert _last(running).returncode == 85


def test_a_trainer_that_is_killed_leaves_a_record_with_the_signal(running: Project) -> None:
    beat = _beat(running)
    assert beat is not None
    os.kill(beat.trainer_pid or 0, signal.SIGKILL)
    assert running.wait_until_over(1) == "signal"
    assert _last(running).returncode == 128 + signal.SIGKILL
    assert _answer(running.tick()) == "answer:signal"


def test_a_stopped_trainer_shows_in_the_heartbeat_at_once(running: Project) -> None:
    """A change of state is worth a beat; nobody waits for the interval."""
    beat = _beat(running)
    assert beat is not None
    os.kill(beat.trainer_pid or 0, signal.SIGSTOP)
    wait_for(lambda: (_beat(running) or beat).trainer_state == "T", 30, "the stop was not seen")
    assert any("trainer T" in one.said for one in running.tick().health.witnesses)
    running.scheduler.cancel(_job(running))
    assert running.wait_until_over(1) == "cancelled"


def test_no_trainer_outlives_its_payload(running: Project) -> None:
    """kill -9 of the payload: whoever looks next ends the orphan, and only then calls the job ended."""
    beat, job = _beat(running), _job(running)
    assert beat is not None
    os.kill(int(job.job_id.partition(".")[0]), signal.SIGKILL)
    report = wait_for(lambda: (seen := running.tick()).health.verdict == "ended" and seen, 30, "it never ended")
    assert not alive(beat.trainer_pid or 0), "the orphan lives"
    assert _answer(report) == "answer:failed"


def test_a_trainer_dies_with_its_payload_before_anybody_looks(running: Project) -> None:
    """Under the local scheduler nobody would end it until the next tick."""
    beat, job = _beat(running), _job(running)
    assert beat is not None
    os.kill(int(job.job_id.partition(".")[0]), signal.SIGKILL)
    wait_for(lambda: not alive(beat.trainer_pid or 0), 30, "the orphan lives")


def test_heartbeats_move_and_show_progress(running: Project) -> None:
    first = _beat(running)
    later = wait_for(
        lambda: (beat := _beat(running)) and first and beat.counter > first.counter + 1 and beat, 30, "no more beats"
    )
    assert first is not None
    assert later.event_bytes > first.event_bytes
    assert later.last_progress_at is not None
    assert later.rss_bytes > 1_000_000
    running.scheduler.cancel(_job(running))
    running.wait_until_over(1)


def test_a_folder_that_can_t_be_written_never_harms_the_trainer(running: Project) -> None:
    """Quota, read-only, gone: the supervisor sees silence, the trainer sees nothing."""
    attempt, beat = running.folder.attempt(1), _beat(running)
    attempt.heartbeats.rename(attempt.path / "gone")
    time.sleep(2.5)
    assert beat is not None
    assert alive(beat.trainer_pid or 0)
    (attempt.path / "gone").rename(attempt.heartbeats)
    running.scheduler.cancel(_job(running))
    assert running.wait_until_over(1) == "cancelled"


STALE = """
import errno, os, pathlib
glob = pathlib.Path.glob
def stale(path, pattern):
    if path.name == "heartbeat" and os.path.exists({flag!r}):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))
    return glob(path, pattern)
pathlib.Path.glob = stale
"""


def test_a_stale_handle_for_a_moment_harms_nobody(tmp_path: Path) -> None:
    """As NFS gives it after a failover."""
    flag, broken = tmp_path / "stale", tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(STALE.format(flag=str(flag)))
    setup = [f"export PYTHONPATH={broken}"]
    project = make_project(
        tmp_path, config=LONG, mode="observe", experiment={"setup": setup}, site={"heartbeat_interval": "3s"}
    )
    project.submit()
    trainer = wait_for(lambda: _beat(project), 60, "it never started").trainer_pid
    flag.touch()
    time.sleep(2.5)
    flag.unlink()
    time.sleep(3.5)

    assert alive(trainer)
    project.scheduler.cancel(_job(project))
    assert project.wait_until_over(1) == "cancelled"


def test_who_can_t_see_the_fence_for_long_ends_itself(running: Project) -> None:
    """A mount that is gone from this node alone: elsewhere a successor may be about to start."""
    beat = _beat(running)
    assert beat is not None
    path = running.folder.path
    path.rename(path.with_name("gone"))
    try:
        wait_for(lambda: not alive(beat.trainer_pid or 0), 30, "its trainer lives on")
    finally:
        path.with_name("gone").rename(path)


FULL = """
import errno, os
fsync = os.fsync
def full(handle):
    if {name!r} in os.readlink(f"/proc/self/fd/{{handle}}"):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
    fsync(handle)
os.fsync = full
"""


def on_full_disk(root: Path, name: str, **changes: Any) -> Project:
    """What has ``name`` in its path can't be written, as the payload sees it."""
    (root / "broken").mkdir()
    (root / "broken" / "sitecustomize.py").write_text(FULL.format(name=name))
    setup = [f"export PYTHONPATH={root / 'broken'}"]
    return make_project(root, config={**LONG, "steps": 50}, experiment={"setup": setup}, **changes)


def test_a_full_disk_at_start_does_not_end_the_trainer(tmp_path: Path) -> None:
    project = on_full_disk(tmp_path, ".trainer.json.")
    project.submit()

    assert project.wait_until_over(1) == "completed"


def test_a_start_that_can_t_show_itself_for_a_full_disk_says_so(tmp_path: Path) -> None:
    """Its first heartbeat is part of the fence. To try once more would help nobody."""
    project = on_full_disk(tmp_path, "/heartbeat/")
    project.submit()

    assert project.wait_until_over(1) == "disk-full"

    assert "Disk quota exceeded" in _last(project).detail
    assert _answer(project.tick()) == "answer:disk-full"
    assert len(project.folder.attempts()) == 1


def test_a_log_that_can_t_be_written_harms_nobody(tmp_path: Path) -> None:
    """A sidecar that breaks says so, on a disk that is full."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(
        "from ade_hpc.job.progress import Logged\ndef look(self):\n    raise RuntimeError('boom')\nLogged.look = look\n"
    )
    setup = [f"export PYTHONPATH={tmp_path / 'broken'}", "exec >/dev/full"]
    project = make_project(tmp_path, experiment={"setup": setup, "command": ["sleep", "3"]})
    project.submit()

    assert project.wait_until_over(1) == "completed"
