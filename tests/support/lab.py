# SPDX-License-Identifier: Apache-2.0
"""A throw-away real Slurm from scripts/slurm-lab: to run in, to ask, and to take apart daemon by daemon."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.slurm_lab import processes

SLURM_LAB = Path(__file__).resolve().parents[2] / "scripts" / "slurm-lab"


def slurm_lab(command: str, root: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run scripts/slurm-lab for the lab in ``root``; the caller judges its exit code."""
    argv = [str(SLURM_LAB), command, "--dir", str(root)]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=100, check=False)


@dataclass(frozen=True)
class Lab:
    """A running lab. ``env`` is the whole environment of a user of that cluster: PATH, HOME, SLURM_CONF."""

    root: Path
    env: Mapping[str, str]

    def run(self, argv: Sequence[str], timeout: float = 30, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as that user, in that user's home."""
        done = subprocess.run(
            argv, env=self.env, cwd=self.env["HOME"], capture_output=True, text=True, timeout=timeout, check=False
        )
        assert not check or done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stderr}{done.stdout}"
        return done

    def sbatch(self, script: str, *options: str) -> str:
        """Submit a shell script with 100 MB of memory unless ``options`` say otherwise; returns the job id."""
        path = Path(self.env["HOME"]) / f"script-{time.monotonic_ns()}.sh"
        path.write_text(f"#!/bin/bash\n{script}\n")
        argv = ["sbatch", "--parsable", "--mem=100", "--output=%j.out", *options, str(path)]
        return self.run(argv).stdout.strip().partition(";")[0]

    def output(self, job: str) -> str:
        return (Path(self.env["HOME"]) / f"{job}.out").read_text()

    def queued(self, job: str) -> str:
        """The job's state as the queue has it, empty where it lists no such job."""
        return self.run(["squeue", "-h", "-t", "all", "-j", job, "-o", "%T"], check=False).stdout.strip()

    def named(self, name: str) -> list[str]:
        """The jobs of that name that have not ended."""
        return self.run(["squeue", "-h", "--name", name, "-o", "%i"]).stdout.split()

    def states(self, job: str) -> list[str]:
        """The states of all lives of a job, oldest first, as accounting has them (``CANCELLED by 0`` is CANCELLED)."""
        rows = self.run(["sacct", "-D", "-X", "-n", "-P", "-j", job, "-o", "State"]).stdout.split("\n")
        return [row.split()[0] for row in rows if row]

    def wait_state(self, job: str, states: Collection[str], timeout: float = 60) -> str:
        """Wait until the job's newest life is in one of ``states``; returns which.

        Accounting may know of an end while the queue still says COMPLETING: that is waited for, too.
        """
        deadline = time.monotonic() + timeout
        while (seen := self.states(job))[-1:] == [] or seen[-1] not in states or self.queued(job) == "COMPLETING":
            assert time.monotonic() < deadline, f"job {job} is {seen}, not {states}: {self.story(job)}"
            time.sleep(0.2)
        return seen[-1]

    def story(self, job: str) -> str:
        """What the queue says of a job: for messages of failed tests."""
        return self.run(["scontrol", "show", "job", job], check=False).stdout

    # --- taking it apart ---

    def kill(self, daemon: str) -> None:
        """SIGKILL a daemon (``slurmctld``, ``slurmdbd``, ``slurmd.n2``)."""
        pid = processes.daemon_pid(self.root, daemon)
        assert pid is not None, f"{daemon} is not running"
        os.kill(pid, signal.SIGKILL)
        self._until(lambda: not processes.is_alive(pid), f"{daemon} does not die")

    def start(self, daemon: str, *how: str) -> None:
        """Start a daemon again (with the options ``how``), and wait until it answers."""
        name, _, node = daemon.partition(".")
        conf = self.root / ("etc-n4" if node == "n4" else "etc") / "slurm.conf"
        options = {"slurmctld": ("-f", str(conf)), "slurmd": ("-N", node, "-f", str(conf))}.get(name, ())
        self.run([name, *options, *how])
        answer = {
            "slurmctld": ("scontrol", "ping"),
            "slurmdbd": ("sacctmgr", "-n", "list", "cluster"),
            "slurmd": ("sinfo", "-h", "-N", "-n", node, "-o", "%T"),
        }[name]
        # sinfo's own filter by state misses a node for a while whose allocation has just changed (22.05)
        well = re.compile(r"(idle|mixed|allocated|completing)$" if name == "slurmd" else ".", re.MULTILINE)
        self._until(lambda: well.search(self.run(answer, check=False).stdout) is not None, f"{daemon} does not answer")

    @contextmanager
    def without(self, daemon: str, *how: str) -> Iterator[None]:
        """A while in which the daemon is down; ``how`` it is started again: its options."""
        self.kill(daemon)
        try:
            yield
        finally:
            self.start(daemon, *how)

    def cut_power(self, node: str) -> None:
        """A node is gone from one moment to the next: its slurmd, its slurmstepd, and all that they had started."""
        everyone = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        steps = {pid for pid in everyone if _is_step_of(self.root, node, pid)}
        doomed = processes.with_descendants(steps, everyone)
        self.kill(f"slurmd.{node}")
        for pid in [*steps, *(doomed - steps)]:  # who would report an end goes first
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def sql(self, statement: str) -> None:
        """Change what accounting remembers, where no command can."""
        self.run(["mariadb", f"--defaults-file={self.root}/etc/my.cnf", "slurm_acct", "-e", statement])

    def _until(self, is_so: Callable[[], bool], message: str, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while not is_so():
            assert time.monotonic() < deadline, message
            time.sleep(0.05)


def _is_step_of(root: Path, node: str, pid: int) -> bool:
    """A slurmstepd says nothing of its node, but keeps that node's log open."""
    if not processes.read_proc(pid, "comm").startswith(b"slurmstepd"):
        return False
    with suppress(OSError):
        return str(root / f"log/slurmd.{node}.log") in map(os.readlink, Path(f"/proc/{pid}/fd").iterdir())
    return False


def lab_in(root: Path) -> Lab:
    """The lab that runs in ``root``, with a home for its user beside it."""
    home = root.with_name(f"{root.name}-home")
    home.mkdir(exist_ok=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "SLURM_CONF": str(root / "etc/slurm.conf")}
    return Lab(root, env)


@contextmanager
def lab_up(root: Path) -> Iterator[Lab]:
    """A lab of one's own in ``root``, gone afterwards."""
    try:
        up = slurm_lab("up", root)
        assert up.returncode == 0, up.stderr
        yield lab_in(root)
    finally:
        slurm_lab("down", root)
