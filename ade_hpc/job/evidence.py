# SPDX-License-Identifier: Apache-2.0
"""What is kept of a trainer that came to grief: its last words, and of one that hangs the stacks of its threads.

A signal to a process that has no handler for it is its end, and a handler may mean anything. So a trainer is asked for
its stacks only where it said that it can tell them: it opened the file that ADE_STACKS names, and catches SIGUSR2.

    faulthandler.register(signal.SIGUSR2, file=open(os.environ["ADE_STACKS"], "w"))
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from ade_hpc.job import proc
from ade_hpc.job.command import STACKS_FILE
from ade_hpc.job.identity import JobIdentity
from ade_hpc.job.lastwords import LINES
from ade_hpc.store.files import read_tail, write_atomic
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import evidence_path

TAIL_BYTES = 64 * 1024
STACKS_SIGNAL = signal.SIGUSR2
STACKS_S = 2.0  # faulthandler writes at once, even where no Python code can run
POLL_S = 0.2


@dataclass(frozen=True)
class Log:
    """Where this start's output goes, and how much was there before the trainer began."""

    path: Path
    begins: int

    @classmethod
    def of(cls, attempt: AttemptDir) -> Log:
        """The file that is our own stderr; else the newest of the attempt's."""
        path = Path(os.path.realpath("/proc/self/fd/2"))
        if not path.is_relative_to(attempt.logs.resolve()):
            path = max(attempt.logs.glob("*"), key=_written_at, default=attempt.logs / "none")
        return cls(path, _size(path))

    def last_words(self) -> list[str]:
        return read_tail(self.path, TAIL_BYTES, since=self.begins).splitlines()


def save_evidence(attempt: AttemptDir, job: JobIdentity, words: list[str], stacks: str = "") -> str:
    """Put it beside the exit record, from the node's first task; returns its name below the attempt's folder, empty
    where it was not, or can't be, written."""
    if not job.leader:
        return ""
    parts = ["the stacks of its threads:", *stacks.splitlines(), "", "its last words:"] if stacks.strip() else []
    text = "\n".join([*parts, *words[-LINES:], ""])
    path = evidence_path(attempt, job.restart, job.node)
    try:
        write_atomic(path, text.encode(errors="replace"))
    except OSError:
        return ""
    return str(path.relative_to(attempt.path))


def forget_stacks(attempt: AttemptDir) -> None:
    """What an earlier start left says nothing about this one."""
    with contextlib.suppress(OSError):
        (attempt.scratch / STACKS_FILE).unlink()


def ask_for_stacks(attempt: AttemptDir, pid: int) -> str:
    """The stacks of a trainer and of its workers that catch the signal; empty where it did not say that it can."""
    path = attempt.scratch / STACKS_FILE
    if not _is_file(path):
        return ""
    begins = _size(path)
    for process in proc.tree(pid):
        if process.state != "T" and proc.catches(process.pid, STACKS_SIGNAL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, STACKS_SIGNAL)
    _wait_until_written(path, begins)
    return read_tail(path, TAIL_BYTES, since=begins)


def _wait_until_written(path: Path, begins: int) -> None:
    """Until it has grown and stands still, or long enough."""
    until, size = time.monotonic() + STACKS_S, begins
    while time.monotonic() < until:
        time.sleep(POLL_S)
        now = _size(path)
        if now > begins and now == size:
            return
        size = now


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _written_at(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
