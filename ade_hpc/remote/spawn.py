# SPDX-License-Identifier: Apache-2.0
"""Run `ssh` here and hand on what it writes, as it comes: `subprocess` for those who have no time to import it."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ade_hpc.remote.transport import Sink

PIECE = 65536
TICK_S = 0.2


class TooLong(Exception):
    """It did not end in time, and has been ended."""


def spawn(
    argv: list[str],
    env: Mapping[str, str],
    stdin: int | None,
    out: Sink,
    err: Sink,
    timeout_s: float | None,
    ticked: Callable[[], None] = lambda: None,
) -> int:
    """Run it to its end; returns its exit status. stdin: a handle that it reads; default: nothing.

    ``ticked`` is called several times a second. Raises TooLong after ``timeout_s``, FileNotFoundError where there is no
    such program. Whatever is raised, it has ended by then.
    """
    ends = time.monotonic() + timeout_s if timeout_s is not None else None
    pipes = [os.pipe(), os.pipe()]
    reading = {read: sink for (read, _), sink in zip(pipes, (out, err), strict=True)}
    try:
        try:
            actions = [_stdin(stdin), *((os.POSIX_SPAWN_DUP2, pipes[n][1], n + 1) for n in range(2))]
            pid = os.posix_spawnp(argv[0], argv, env, file_actions=actions)
        finally:
            for _, write in pipes:
                os.close(write)
        try:
            _pump(dict(reading), ends, ticked)
            return _wait(pid, ends)
        except BaseException:
            _end(pid)
            raise
    finally:
        for read in reading:
            os.close(read)


def _stdin(handle: int | None) -> tuple[int, ...] | tuple[int, int, str, int, int]:
    if handle is None:
        return (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    return (os.POSIX_SPAWN_DUP2, handle, 0)


def _pump(reading: dict[int, Sink], ends: float | None, ticked: Callable[[], None]) -> None:
    """Hand on what comes until all is closed."""
    while reading:
        _in_time(ends)
        for handle in select.select(list(reading), [], [], TICK_S)[0]:
            if data := os.read(handle, PIECE):
                reading[handle](data)
            else:
                del reading[handle]
        ticked()


def _wait(pid: int, ends: float | None) -> int:
    """It has closed its output, so it is about to end: look often at first."""
    pause = 0.0002
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        _in_time(ends)
        time.sleep(pause)
        pause = min(2 * pause, TICK_S)


def _end(pid: int) -> None:
    try:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):  # it had ended already
        pass


def _in_time(ends: float | None) -> None:
    if ends is not None and time.monotonic() > ends:
        raise TooLong
