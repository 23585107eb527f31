# SPDX-License-Identifier: Apache-2.0
"""What the sidecar sees of a real process tree, and what becomes of a heartbeat that can't be written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ade_hpc.job import cgroup, proc
from ade_hpc.job.gpu import Gpus, is_ours
from ade_hpc.job.identity import JobIdentity
from ade_hpc.job.sidecar import Sidecar
from ade_hpc.model import Heartbeat, Pauses
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.records import FastPath, load_heartbeats, save_heartbeat
from tests.conftest import cannot_run
from tests.support.project import wait_for
from tests.support.tiny_trainer import Events

JOB = JobIdentity("7", 0, "n1", True, 1, False)
BURNS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "x = bytearray(80_000_000)\\nwhile True: pass"])
while True: time.sleep(1)
"""


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDir:
    experiment = ExperimentDir(tmp_path / "runs")
    experiment.make_folders()
    made = experiment.claim_attempt(1)
    made.make_folders()
    return made


@pytest.fixture
def start() -> Iterator[Callable[[str], int]]:
    """Starts Python programs, each with a group of its own that ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(text: str) -> int:
        started.append(subprocess.Popen([sys.executable, "-c", text], start_new_session=True))
        return started[-1].pid

    yield run
    for process in started:
        os.killpg(process.pid, 9)
        process.wait()


@dataclass
class Clock:
    """The sidecar's clocks, which go on when the test says so."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("ade_hpc.job.sidecar.time", made)
    return made


def watching(attempt: AttemptDir, pid: int, *, floor_s: float = 240.0, fast: FastPath | None = None) -> Sidecar:
    sidecar = Sidecar(attempt, JOB, 0.0, floor_s, fast)
    sidecar.watch(pid, time.time(), attempt.tensorboard)
    return sidecar


def beat(attempt: AttemptDir) -> Heartbeat:
    return load_heartbeats(attempt)[0]


def test_cpu_and_memory_are_those_of_the_trainer_and_all_below_it(
    attempt: AttemptDir, start: Callable[[str], int]
) -> None:
    pid = start(BURNS)
    sidecar = watching(attempt, pid)

    def with_its_child() -> bool:
        sidecar.look()
        seen, own = beat(attempt), proc.usage(pid)
        assert own is not None
        assert seen.trainer_pid == pid
        return seen.rss_bytes > own.rss_bytes + 80_000_000 and seen.cpu_s > own.cpu_s + 0.1

    wait_for(with_its_child, 30, "memory and CPU of the child were not counted")


def test_steps_pace_and_progress(attempt: AttemptDir, start: Callable[[str], int], clock: Clock) -> None:
    sidecar = watching(attempt, start("import time; time.sleep(60)"))
    sidecar.look()
    assert (beat(attempt).last_step, beat(attempt).steps_per_s, beat(attempt).last_progress_at) == (None, None, None)
    events = Events(str(attempt.tensorboard))
    for step in (10, 30):
        events.scalars(step, loss=1.0)
        clock.sleep(0.5)
        sidecar.look()
    seen = beat(attempt)
    assert seen.last_step == 30
    assert seen.steps_per_s == 40
    assert seen.since_progress_s == 0
    assert seen.event_bytes == sum(path.stat().st_size for path in attempt.tensorboard.iterdir())
    assert seen.pauses.startup_s is not None


def test_a_stall_is_what_is_long_for_this_run(attempt: AttemptDir, start: Callable[[str], int], clock: Clock) -> None:
    """The same silence of two seconds: normal where pauses of one second were, a stall where they were short."""
    pid = start("import time; time.sleep(60)")
    events = Events(str(attempt.tensorboard))
    slow, quick = watching(attempt, pid, floor_s=0.5), watching(attempt, pid, floor_s=0.5)
    for step in range(8):
        events.scalars(step, loss=1.0)
        quick.look()
        if step % 2:
            slow.look()
        clock.sleep(0.4)
    clock.sleep(1.2)
    fault = quick.look()
    assert fault is not None
    assert fault.cause == "stalled"
    assert clock.now - fault.since == pytest.approx(1.6)
    assert slow.look() is None


def test_a_touch_of_the_progress_file_is_progress(
    attempt: AttemptDir, start: Callable[[str], int], clock: Clock
) -> None:
    sidecar = watching(attempt, start("import time; time.sleep(60)"), floor_s=0.05)
    clock.sleep(0.7)
    assert sidecar.look() is not None
    (attempt.scratch / "progress").touch()
    assert sidecar.look() is None
    assert sidecar.progressed


def test_time_in_which_the_job_itself_was_stopped_does_not_count(
    attempt: AttemptDir, start: Callable[[str], int], clock: Clock
) -> None:
    """`scontrol suspend` stops payload and trainer alike; the clock runs on."""
    sidecar = watching(attempt, start("import time; time.sleep(60)"), floor_s=0.05)
    clock.sleep(60)
    assert sidecar.look() is None


def test_earlier_starts_have_taught_it(attempt: AttemptDir, start: Callable[[str], int]) -> None:
    sidecar = watching(attempt, start("import time; time.sleep(60)"), floor_s=1.0)
    sidecar.look()
    save_heartbeat(attempt, replace(beat(attempt), pauses=Pauses(startup_s=50.0)))
    second = attempt.experiment.claim_attempt(2)
    second.make_folders()
    later = watching(second, start("import time; time.sleep(60)"), floor_s=1.0)
    later.look()
    assert beat(second).stall_limit_s == 150.0


# --- a heartbeat that can't be written --------------------------------------------------------------------------


@pytest.fixture
def mount(attempt: AttemptDir) -> Iterator[Callable[[str], None]]:
    """Mounts a tmpfs with these options over the heartbeat folder."""
    if os.geteuid() != 0:
        cannot_run("only root may mount")

    def run(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(attempt.heartbeats)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        if done.returncode:
            cannot_run(f"no tmpfs can be mounted here: {done.stderr.strip()}")

    yield run
    while os.path.ismount(attempt.heartbeats):
        subprocess.run(["umount", str(attempt.heartbeats)], timeout=10, check=True)


def test_a_full_disk(attempt: AttemptDir, start: Callable[[str], int], mount: Callable[[str], None]) -> None:
    """Nothing is raised, and once there is room again the next beat is there."""
    sidecar = watching(attempt, start("import time; time.sleep(60)"))
    mount("size=8k,mode=700")
    filler = attempt.heartbeats / "filler"
    with pytest.raises(OSError, match="space"):
        filler.write_bytes(b"x" * 100_000)
    sidecar.look()
    assert load_heartbeats(attempt) == []
    filler.unlink()
    sidecar.look()
    assert beat(attempt).counter == 2


def test_a_read_only_disk(attempt: AttemptDir, start: Callable[[str], int], mount: Callable[[str], None]) -> None:
    sidecar = watching(attempt, start("import time; time.sleep(60)"))
    mount("size=64k,mode=700,ro")
    sidecar.look()
    assert load_heartbeats(attempt) == []


def test_a_folder_that_is_gone(attempt: AttemptDir, start: Callable[[str], int]) -> None:
    sidecar = watching(attempt, start("import time; time.sleep(60)"))
    attempt.heartbeats.rmdir()
    sidecar.look()
    attempt.heartbeats.mkdir(mode=0o700)
    sidecar.look()
    assert beat(attempt).counter == 2


# --- counters of the machine ------------------------------------------------------------------------------------


def test_the_counter_of_the_kernel_s_memory_kills(tmp_path: Path) -> None:
    """Both generations, as their files read on real nodes."""
    mount, process = tmp_path / "cgroup", tmp_path / "proc"
    process.mkdir()
    old = mount / "memory/slurm/uid_0/job_7/step_0"
    new = mount / "system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
    for folder in (old, new):
        folder.mkdir(parents=True)
    (old / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    (new / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n")
    v1 = "11:devices:/slurm\n4:memory:/slurm/uid_0/job_7/step_0\n0::/\n"
    for text, count in ((v1, 3), ("0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n", 1), ("", None)):
        (process / "cgroup").write_text(text)
        assert cgroup.oom_kills(process, mount) == count


def test_without_a_driver_there_are_no_gpus() -> None:
    assert Gpus({}).use() == () or Path("/dev/nvidiactl").exists()


def test_which_gpus_are_the_job_s() -> None:
    uuid = "GPU-8f6f-22"
    assert is_ours(None, 3, uuid)
    assert is_ours("0,3", 3, uuid)
    assert is_ours("GPU-8f6f", 3, uuid)
    assert not is_ours("0,1", 3, uuid)
    assert not is_ours("", 0, uuid)
    assert not is_ours("GPU-9", 3, uuid)


def test_a_signal_goes_only_to_who_has_a_handler(start: Callable[[str], int]) -> None:
    ready = "signal.signal(signal.SIGUSR2, lambda *_: None)"
    handles = start(f"import signal, time; {ready}; time.sleep(60)")
    plain = start("import time; time.sleep(60)")
    deadline = time.monotonic() + 10
    while not proc.catches(handles, 12) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert proc.catches(handles, 12)
    assert not proc.catches(plain, 12)
    assert not proc.catches(2**22 + 1, 12)
