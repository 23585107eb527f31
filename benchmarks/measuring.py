# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: a child process per measurement (its own memory peak), a table, a last line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_TIMEOUT_S = 600


def in_child(module: str, *args: object) -> dict[str, Any] | None:
    """Run ``python -m MODULE ARGS``, which calls ``report``; what it reported, or None where it said it cannot."""
    command = [sys.executable, "-m", module, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode == os.EX_UNAVAILABLE:
        return None
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def best(module: str, *args: object, times: int) -> dict[str, Any] | None:
    """The quickest of ``times`` children, with the highest of their peaks."""
    results = [in_child(module, *args) for _ in range(times)]
    known = [result for result in results if result]
    if not known:
        return None
    return {**min(known, key=lambda result: result["seconds"]), "peak_mb": max(r["peak_mb"] for r in known)}


def report(seconds: float, **more: object) -> None:
    """In the child: print what was measured, and its peak of resident memory."""
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), **more}))


def peak_mb(pid: int | str = "self") -> int:
    """The peak of resident memory of a process. Not ``ru_maxrss``: that is at least what the parent had at the fork."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def timed(work: Callable[[], object]) -> tuple[float, Any]:
    """Wall time of ``work``, and its result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, columns aligned."""
    cells = [list(map(str, row)) for row in [heads, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    cells.insert(1, ["-" * width for width in widths])
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells)
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def machine() -> str:
    """The machine in a few words: numbers without it mean little."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f}, Python {sys.version.split()[0]}"
