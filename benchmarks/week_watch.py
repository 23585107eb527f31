# SPDX-License-Identifier: Apache-2.0
"""Which trainers live, by the machine's own list of processes: nothing of ade-hpc is asked."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 0.25
YOUNG_SCANS = 8  # between fork and exec a process still has the command line of its parent
TRAINER = re.compile(r"train\.py\0.*?/runs/(?P<experiment>[^/\0]+)/attempts/(?P<attempt>\d{4})/")


@dataclass
class Life:
    """One trainer process, from the first to the last time that it was seen (POSIX seconds)."""

    pid: int
    experiment: str
    attempt: int
    first: float
    last: float


class Watcher:
    """Looks at /proc four times a second until it is stopped. A stopped process lives; a zombie does not."""

    def __init__(self, root: Path) -> None:
        self._mark = f"{root}/runs/"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._seen: dict[int, int] = {}
        self._alive: dict[int, Life] = {}
        self.lives: list[Life] = []

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def alive(self) -> list[Life]:
        """The trainers of this moment, oldest first."""
        return sorted(self._alive.values(), key=lambda life: life.first)

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            now, pids = time.time(), {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}
            self._seen = {pid: self._seen.get(pid, 0) + 1 for pid in pids}
            for pid in pids - self._alive.keys():
                if self._seen[pid] <= YOUNG_SCANS and (life := self._trainer(pid, now)) is not None:
                    self.lives.append(life)
                    self._alive = {**self._alive, pid: life}
            for pid, life in list(self._alive.items()):
                if self._trainer(pid, now) is None:
                    self._alive = {one: other for one, other in self._alive.items() if one != pid}
                else:
                    life.last = now

    def _trainer(self, pid: int, now: float) -> Life | None:
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            found = TRAINER.search(command) if self._mark in command else None
            if found and state(pid) not in "ZX":
                return Life(pid, found["experiment"], int(found["attempt"]), now, now)
        return None


def fields(pid: int) -> list[str]:
    """Those of /proc/PID/stat after the command's name: state, parent, ...; empty where it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def state(pid: int) -> str:
    return (fields(pid) or ["X"])[0]


def parent(pid: int) -> int:
    return int((fields(pid) or ["X", "0"])[1])
