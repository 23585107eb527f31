# SPDX-License-Identifier: Apache-2.0
"""What a trainer died of, from its exit code and the last that it wrote. Pure.

The words are untrusted, and a healthy trainer may have printed "out of memory" when it tried a smaller batch: only what
stands in the exception that ended it counts, and without an exception only the very last lines.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LINES = 50
VERY_LAST = 5
_EXCEPTION = re.compile(r"(?:[A-Za-z_][\w.]*\.)?([A-Za-z_]\w*)(?::|$)")  # the first line that is not indented again
_FRAME = re.compile(r'\s+File "([^"\n]+)", line (\d+)(?:, in (\S+))?')
# torch.multiprocessing says which of its processes it speaks for: `[rank0]: Traceback`, `E0101 12:00:00 ...]`
_PREFIX = re.compile(r"^\[[\w :]{1,30}\]:? ?")
# Of those who only started the trainer: what ended it stands before them
_LAUNCHERS = frozenset({"ChildFailedError", "CalledProcessError", "ProcessExitedException", "ProcessRaisedException"})
_CUDA = re.compile(
    r"(CUDA|HIP|GPU|device).{0,40}out of memory|OutOfMemoryError|ALLOC_FAILED|RESOURCE_EXHAUSTED: Out of memory",
    re.IGNORECASE,
)
_HOST = re.compile(r"MemoryError|DefaultCPUAllocator: (can't|not enough)|Cannot allocate memory|std::bad_alloc")
_DISK = re.compile(r"No space left on device|Disk quota exceeded|\[Errno (28|122)\]")


@dataclass(frozen=True)
class Crash:
    """One exception as Python prints it. ``where`` is its last frame, ``train.py:12 in step``, or empty."""

    exception: str
    message: str
    where: str


def diagnose(code: int, words: Sequence[str], oom_kills: int) -> tuple[str, str]:
    """The cause, as ExitRecord has it, and the signature. code: as a shell counts it, not 0."""
    crash = _last_crash(words)
    said = f"{crash.exception}: {crash.message}" if crash else "\n".join(words[-VERY_LAST:])
    return _cause(code, said, oom_kills), _signature(code, crash)


def _cause(code: int, said: str, oom_kills: int) -> str:
    if oom_kills:
        return "out-of-memory"  # the kernel said so
    for cause, pattern in (("cuda-out-of-memory", _CUDA), ("out-of-memory", _HOST), ("disk-full", _DISK)):
        if pattern.search(said):
            return cause
    return "signal" if code > 128 else "failed"


def _signature(code: int, crash: Crash | None) -> str:
    if crash is not None:
        return f"{crash.exception} at {crash.where}" if crash.where else crash.exception
    if code <= 128:
        return f"exit code {code}"
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return f"signal {code - 128}"


def _last_crash(words: Sequence[str]) -> Crash | None:
    """Of those whose last line is among the last ones: what was printed long before was survived."""
    crashes = list(_crashes([_PREFIX.sub("", line) for line in words], max(0, len(words) - LINES)))
    own = [crash for crash in crashes if crash.exception not in _LAUNCHERS] or crashes
    return own[-1] if own else None


def _crashes(words: Sequence[str], since: int) -> Iterator[Crash]:
    """Each traceback with the exception that ends it, at line ``since`` or later, in the order of printing."""
    where, inside = "", False
    for at, line in enumerate(words):
        if line.startswith("Traceback (most recent call last)"):
            where, inside = "", True
        elif inside and (frame := _FRAME.match(line)):
            where = f"{frame[1].rpartition('/')[2]}:{frame[2]}" + (f" in {frame[3]}" if frame[3] else "")
        elif inside and (named := _EXCEPTION.match(line)):
            inside = False
            if at >= since:
                yield Crash(named[1], line[named.end() :].strip(), where)
