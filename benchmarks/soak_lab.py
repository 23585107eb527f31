# SPDX-License-Identifier: Apache-2.0
"""A real Slurm for the soak, whose nodes can be killed and brought back, by process id and by nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from scripts.slurm_lab import processes

SLURM_LAB = Path(__file__).resolve().parents[1] / "scripts" / "slurm-lab"
LAG_S = 20.0
TRIES = 4
NEVER = ("Unknown", "None")
SHARED_NODES = ("n1", "n2", "n3")  # partition main; n4, the one with cgroups, is never lost


class SoakLab:
    """One lab in ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def up(self) -> None:
        self._slurm_lab("up")

    def down(self) -> None:
        self._slurm_lab("down")

    @property
    def env(self) -> dict[str, str]:
        """For clients and daemons of this lab."""
        return {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "SLURM_CONF": str(self._conf)}

    def busy_nodes(self) -> list[str]:
        """Nodes that may be killed and on which a job runs now."""
        listed = self._run("squeue", "--noheader", "--states=RUNNING", "--format=%N").stdout.split()
        return sorted(set(listed) & set(SHARED_NODES))

    def kill_slurmd(self, node: str) -> bool:
        """The daemon alone: the jobs of its node live on, and nobody hears of them any more."""
        pid = processes.daemon_pid(self.root, f"slurmd.{node}")
        return pid is not None and kill(pid)

    def kill_node(self, node: str) -> bool:
        """The daemon and every process of every job on its node, as in a crash of the machine."""
        killed = self.kill_slurmd(node)
        ours = {pid for pid in processes.of_lab(self.root) if self._on(node, pid)}
        for pid in with_descendants(ours):
            kill(pid)
        return killed

    def give_up(self, node: str) -> None:
        """Let slurmctld know at once what it would find out later: the node is lost."""
        self._run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")

    def revive(self, node: str) -> None:
        self._run("slurmd", "-N", node, "-f", str(self._conf))
        self._run("scontrol", "update", f"nodename={node}", "state=resume")

    def lives(self, job_id: str) -> list[tuple[str, str]]:
        """(start, end) of every life of a job that has ended, as `sacct -D` has them. Accounting may lag."""
        fields = ("--noheader", "--parsable2", "--format=Start,End")
        until = time.monotonic() + LAG_S
        while True:
            text = self._run("sacct", "--duplicates", "--allocations", *fields, "--jobs", job_id).stdout
            rows = [(start, end) for start, end in (row.split("|") for row in text.split()) if start not in NEVER]
            if time.monotonic() > until or not any(end in NEVER for _, end in rows):
                return rows
            time.sleep(1)

    @property
    def _conf(self) -> Path:
        return self.root / "etc" / "slurm.conf"

    def _on(self, node: str, pid: int) -> bool:
        if processes.environment(pid).get(b"SLURMD_NODENAME") == node.encode():
            return True
        log = f"{self.root}/log/slurmd.{node}.log"
        with contextlib.suppress(OSError):
            return any(os.readlink(link) == log for link in Path(f"/proc/{pid}/fd").iterdir())
        return False

    def _run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=60, check=False)

    def _slurm_lab(self, command: str) -> None:
        """Tried again, because a database may be slow to come up on a busy machine."""
        argv = [str(SLURM_LAB), command, "--dir", str(self.root)]
        for left in reversed(range(TRIES)):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)
            if done.returncode == 0:
                return
            if not left:
                raise SystemExit(done.stderr)


def kill(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def with_descendants(pids: set[int]) -> set[int]:
    return processes.with_descendants(pids, [int(entry) for entry in os.listdir("/proc") if entry.isdigit()])


def payloads(root: Path) -> list[int]:
    """The payloads (and with them the sidecars) of jobs whose attempts lie below ``root``, not the srun before them."""
    found = []
    for entry in os.listdir("/proc"):
        words = processes.read_proc(int(entry), "cmdline").split(b"\0") if entry.isdigit() else []
        mine = any(word.startswith(os.fsencode(f"{root}/")) for word in words)
        if mine and b"submitit.core._submit" in words and b"python" in words[0]:
            found.append(int(entry))
    return found
