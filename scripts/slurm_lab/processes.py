# SPDX-License-Identifier: Apache-2.0
"""Which processes belong to a lab, by /proc alone, and how they are ended.

A process is a lab's if it was started with the lab's folder on its command line or as its SLURM_CONF, and is a daemon,
a slurmstepd or part of a job. A shell that merely ran `slurm-lab env`, or an editor on a log, is not. Nothing goes by
name alone or by a bare process number: numbers are used again, and another lab may run beside this one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

DAEMONS = (b"munged", b"mariadbd", b"slurmdbd", b"slurmctld", b"slurmd")


def read_proc(pid: int, name: str) -> bytes:
    """A file of /proc/PID; empty where the process is gone or not ours to read."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def stat_fields(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat after the command's name: the state, the parent, ..."""
    return read_proc(pid, "stat").rpartition(b")")[2].split()


def is_alive(pid: int) -> bool:
    """A zombie is not: PID 1 of a container may take its time to reap."""
    return stat_fields(pid)[:1] not in ([], [b"Z"], [b"X"])


def environment(pid: int) -> dict[bytes, bytes]:
    entries = (entry.partition(b"=") for entry in read_proc(pid, "environ").split(b"\0"))
    return {key: value for key, _, value in entries}


def started_from(root: Path, pid: int) -> bool:
    here = os.fsencode(f"{root}/")
    return here in read_proc(pid, "cmdline") or environment(pid).get(b"SLURM_CONF", b"").startswith(here)


def holds_log(root: Path, pid: int) -> bool:
    """slurmstepd writes its title over its environment, but keeps the log of its node open."""
    with contextlib.suppress(OSError):
        return any(os.readlink(link).startswith(f"{root}/log/") for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def belongs(root: Path, pid: int) -> bool:
    name = read_proc(pid, "comm").strip()
    if name.startswith(b"slurmstepd"):
        return started_from(root, pid) or holds_log(root, pid)
    return (name in DAEMONS or b"SLURM_JOB_ID" in environment(pid)) and started_from(root, pid)


def daemon_pid(root: Path, name: str) -> int | None:
    """The daemon of that pid file, if it lives and is still this lab's."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((root / "run" / f"{name}.pid").read_text())
        return pid if is_alive(pid) and started_from(root, pid) else None
    return None


def with_descendants(ancestors: set[int], everyone: list[int]) -> set[int]:
    parents = {pid: int(fields[1]) for pid in everyone if len(fields := stat_fields(pid)) > 1}
    found = set(ancestors)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def of_lab(root: Path) -> set[int]:
    """Every living process of the lab, with all that it has started; also those that have no pid file (yet)."""
    everyone = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    found = with_descendants({pid for pid in everyone if belongs(root, pid)}, everyone)
    return {pid for pid in found if is_alive(pid)}


def end(root: Path, seconds: float = 10) -> set[int]:
    """KILL them all, and again what a job has started meanwhile; returns what will not go."""
    deadline = time.monotonic() + seconds
    while (left := of_lab(root)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return left
