# SPDX-License-Identifier: Apache-2.0
"""How often has the kernel killed for memory in this job? The counter of our own memory cgroup (cgroups(7)).

v2: ``oom_kill`` in ``memory.events``; v1: the same in ``memory.oom_control``. The trainer is in the payload's cgroup.
"""

from __future__ import annotations

import re
from pathlib import Path

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_kills(proc: Path = Path("/proc/self"), mount: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The counter now, since the cgroup was made; None where there is none to read."""
    path = _counter(_read(proc / "cgroup"), mount)
    found = _COUNT.search(_read(path)) if path else None
    return int(found[1]) if found else None


def _counter(cgroups: str, mount: Path) -> Path | None:
    """In ``/proc/PID/cgroup``: ``4:memory:/slurm/...`` is v1, ``0::/system.slice/...`` v2; v1 counts first."""
    lines = [line.split(":", 2) for line in cgroups.splitlines() if line.count(":") >= 2]
    for _, controllers, path in lines:
        if "memory" in controllers.split(","):
            return mount / "memory" / path.lstrip("/") / "memory.oom_control"
    unified = [path for number, controllers, path in lines if (number, controllers) == ("0", "")]
    return mount / unified[0].lstrip("/") / "memory.events" if unified else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
