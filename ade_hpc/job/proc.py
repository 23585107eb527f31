# SPDX-License-Identifier: Apache-2.0
"""Reading /proc: which process is the trainer, is it still the same one, what does it use (proc(5))."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Apptainer's own processes between the one we started and the trainer (measured with 1.4.5)
CONTAINER_HELPERS = frozenset({"squashfuse_ll", "squashfuse", "fuse-overlayfs", "fuse2fs", "gocryptfs"})
CONTAINER_PARENTS = frozenset({"starter", "starter-suid", "apptainer", "singularity", "appinit", "sinit"})
TRAINER_GOES_FIRST = 500
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Usage:
    """What one process is and uses now. ``state`` is R, S, D, T, Z...

    cpu_s: user and system time so far, with that of the children that it has waited for.
    """

    pid: int
    state: str
    name: str
    rss_bytes: int
    cpu_s: float


def usage(pid: int) -> Usage | None:
    """The process of this pid now, or None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")  # the name may hold spaces and parentheses
    fields = tail.split()
    name = head.partition("(")[2]
    cpu_s = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return Usage(pid, fields[0], name, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), cpu_s)


def children(pid: int) -> list[int]:
    """Direct children; the kernel lists them per thread, so all threads are read."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in path.read_text().split()]
        except OSError:
            continue  # the thread ended meanwhile
    return found


def tree(pid: int) -> list[Usage]:
    """The process and all below it, as far as they live."""
    found, waiting = [], [pid]
    while waiting:
        one = usage(waiting.pop())
        if one is not None:
            found.append(one)
            waiting += children(one.pid)
    return found


def catches(pid: int, number: int) -> bool:
    """Has this process a handler for the signal? To a process that has none, most signals are the end."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return False
    caught = text.partition("SigCgt:")[2].split()[:1]
    return bool(caught) and bool(int(caught[0], 16) >> (number - 1) & 1)


def trainer_below(pid: int) -> Usage | None:
    """The user's own process below the one we started: through apptainer's starter and init, past its helpers."""
    current = usage(pid)
    while current is not None and current.name in CONTAINER_PARENTS:
        below = [usage(child) for child in children(current.pid)]
        real = [child for child in below if child is not None and child.name not in CONTAINER_HELPERS]
        if not real:
            return None
        current = real[0]
    return current


def die_with_parent() -> Callable[[], None]:
    """What a child does before it becomes the trainer, so that it dies with whoever watches it (prctl(2)).

    A payload that is killed leaves a trainer that nobody watches: Slurm ends it with the step, the local scheduler not
    before somebody looks. A setuid program, as Apptainer's starter-suid, takes the wish back.
    """
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # looked up here: after a fork there should be little to do

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask


@contextmanager
def trainer_goes_first() -> Iterator[None]:
    """Processes started inside are the kernel's first choice when memory runs out, before the sidecar.

    Raising the own score and lowering it back to where it was needs no privilege (proc_pid_oom_score_adj(5)).
    """
    path = Path("/proc/self/oom_score_adj")
    before = path.read_text()
    path.write_text(str(max(TRAINER_GOES_FIRST, int(before))))
    try:
        yield
    finally:
        path.write_text(before)
