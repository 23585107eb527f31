# SPDX-License-Identifier: Apache-2.0
"""Which process is it really? Pids are reused; (boot, pid, start time) is not (proc_pid_stat(5), field 22)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROC = Path("/proc")
DEAD = frozenset({"Z", "X", "x"})  # a zombie runs nothing any more; init may be slow to reap it
POLL_S = 0.05
DEATH_S = 1.0  # from KILL to gone


@dataclass(frozen=True)
class Process:
    """One process for good: nobody else can ever have all three numbers."""

    pid: int
    starttime: int
    boot_id: str

    @classmethod
    def current(cls, pid: int) -> Process | None:
        """Who has this pid now, or None."""
        stat = _stat(pid)
        return None if stat is None or stat.state in DEAD else cls(pid, stat.starttime, boot_id())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Process | None:
        """From a record with ``pid``, ``starttime`` and ``boot_id``; None where it is damaged."""
        pid, starttime, boot = value.get("pid"), value.get("starttime"), value.get("boot_id")
        if isinstance(pid, int) and isinstance(starttime, int) and isinstance(boot, str) and pid > 1:
            return cls(pid, starttime, boot)
        return None

    def is_alive(self) -> bool:
        return Process.current(self.pid) == self

    def send(self, number: int) -> bool:
        """Send a signal to this process and to no other that got its pid; False where it did not get it."""
        handle = _pidfd(self.pid)
        try:
            if not self.is_alive():
                return False
            if handle is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(handle, number)
        except (ProcessLookupError, PermissionError):
            return False
        finally:
            if handle is not None:
                os.close(handle)
        return True


def boot_id() -> str:
    """This boot of this machine."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def group_of(leader: Process) -> set[Process]:
    """All that still runs of a process group or session, with everything below it, by the record of its leader.

    The kernel gives a group's number to nobody as long as one member lives, so members may be found after the leader
    died; but where another process leads a group of that number now, the old one is gone.
    """
    if leader.boot_id != boot_id():
        return set()
    table = {pid: stat for pid in _pids() if (stat := _stat(pid)) is not None}
    now = table.get(leader.pid)
    if now is not None and now.starttime != leader.starttime:
        return set()
    found = {pid for pid, stat in table.items() if leader.pid in (pid, stat.group, stat.session)}
    while below := {pid for pid, stat in table.items() if stat.parent in found} - found:
        found |= below
    return {
        Process(pid, table[pid].starttime, leader.boot_id)
        for pid in found
        if table[pid].state not in DEAD and pid != os.getpid()
    }


def end(processes: Iterable[Process], grace_s: float) -> bool:
    """TERM, ``grace_s`` seconds, KILL. True where nothing of them is left."""
    left = set(processes)
    for number, seconds in ((signal.SIGTERM, grace_s), (signal.SIGKILL, DEATH_S)):
        for process in left:
            process.send(number)
        left = _wait(left, seconds)
    return not left


def _wait(processes: set[Process], seconds: float) -> set[Process]:
    """Those that still live after at most so many seconds."""
    until = time.monotonic() + seconds
    while (left := {process for process in processes if process.is_alive()}) and time.monotonic() < until:
        time.sleep(POLL_S)
    return left


def _pidfd(pid: int) -> int | None:
    """A handle that stays with the process that has this pid now; None where it is gone, or before Linux 5.3."""
    with contextlib.suppress(OSError):
        return os.pidfd_open(pid)
    return None


@dataclass(frozen=True)
class _Stat:
    state: str
    parent: int
    group: int
    session: int
    starttime: int


def _stat(pid: int) -> _Stat | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
        fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
        return _Stat(fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))
    return None


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]
