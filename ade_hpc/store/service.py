# SPDX-License-Identifier: Apache-2.0
"""What lies beside the registry: how the tick is scheduled, when it last ended, its log, and HOLD.

A supervisor that has died says nothing, so its silence must be visible: every whole tick renews ``last-tick.json``, and
whoever looks at its age knows.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from ade_hpc.store.files import read_json, write_json

T = TypeVar("T")
LOG_KEEPS = 1_000_000  # bytes of tick.log that survive, once it is twice as long
GRACE_S = 600.0  # scrontab starts an entry when there is room, and a tick may take minutes


@dataclass(frozen=True)
class LastTick:
    """The end of the last tick over all experiments. ``exit_code`` as in errors.py."""

    time: float
    exit_code: int
    host: str
    pid: int


@dataclass(frozen=True)
class Installed:
    """What `schedule install` did: in which table, how often, the block as written, and when."""

    kind: Literal["scrontab", "cron"]
    every_s: float
    block: str
    at: float


@dataclass(frozen=True)
class Service:
    """The files beside one registry."""

    registry: Path

    @property
    def path(self) -> Path:
        return self.registry.parent

    @property
    def lease(self) -> Path:
        """Held by whoever ticks: the caps of the site file are counted over all experiments."""
        return self.registry.parent / "tick.lease"

    @property
    def last_tick_path(self) -> Path:
        return self.registry.parent / "last-tick.json"

    @property
    def installed_path(self) -> Path:
        return self.registry.parent / "schedule.json"

    @property
    def log(self) -> Path:
        return self.registry.parent / "tick.log"

    @property
    def hold(self) -> Path:
        """Where this file exists, nothing is changed or submitted, whoever made it."""
        return self.registry.parent / "HOLD"

    def record_tick(self, exit_code: int) -> None:
        """Renew the dead-man file. That it can't be written shows: it grows old."""
        last = LastTick(time.time(), exit_code, os.uname().nodename, os.getpid())
        with contextlib.suppress(OSError):
            write_json(self.last_tick_path, asdict(last))

    def last_tick(self) -> LastTick | None:
        return _read(LastTick, self.last_tick_path)

    def record_install(self, installed: Installed) -> None:
        write_json(self.installed_path, asdict(installed))

    def installed(self) -> Installed | None:
        return _read(Installed, self.installed_path)

    def forget_install(self) -> None:
        self.installed_path.unlink(missing_ok=True)

    def overdue_s(self, now: float) -> float | None:
        """For how long a scheduled tick has been missing, or None: it is not scheduled, or in time."""
        installed, last = self.installed(), self.last_tick()
        if installed is None:
            return None
        since = now - max(installed.at, last.time if last else 0.0)
        return since - installed.every_s if since > 2 * installed.every_s + GRACE_S else None

    def trim_log(self) -> None:
        """Keep the log bounded. In place: the scheduler holds it open, to append to it."""
        with contextlib.suppress(OSError), self.log.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= 2 * LOG_KEEPS:
                return
            file.seek(size - LOG_KEEPS)
            kept = file.read().partition(b"\n")[2]
            file.seek(0)
            file.write(kept)
            file.truncate()


def _read(kind: type[T], path: Path) -> T | None:
    """A record of this shape, or None: a damaged one counts as none, which shows."""
    value = read_json(path)
    try:
        return None if value is None else TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return None
