# SPDX-License-Identifier: Apache-2.0
"""The lease: two ticks on two hosts need not do the same work. Advisory: correctness never rests on it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ade_hpc.errors import StoreError
from ade_hpc.store.files import create_exclusive, read_json


class Leased(Protocol):
    """What one tick at a time works on: an experiment, or all of a user's. path: its folder, for messages."""

    @property
    def path(self) -> Path: ...
    @property
    def lease(self) -> Path: ...


@contextmanager
def lease(of: Leased, *, now: float, lasts_s: float = 600.0) -> Iterator[bool]:
    """Hold its lease; yields False where another live tick holds it. Raises StoreError where it can't be written."""
    mine = {"host": os.uname().nodename, "boot": _boot(), "pid": os.getpid(), "until": now + lasts_s}
    current = read_json(of.lease)
    if current is not None and _is_over(current, now):
        of.lease.unlink(missing_ok=True)
    try:
        held = create_exclusive(of.lease, json.dumps(mine).encode())
    except OSError as error:
        raise StoreError(
            f"{of.path}: can't be written ({error.strerror}): is its filesystem mounted, and is there space?"
        ) from error
    try:
        yield held
    finally:
        if held and read_json(of.lease) == mine:
            of.lease.unlink(missing_ok=True)


def _boot() -> str:
    """Which boot of this host it is (random(4)); empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _is_over(lease: Mapping[str, Any], now: float) -> bool:
    """A lease ends by its clock, or with its process where that ran on this host: before a reboot, the number that it
    had may be another's by now."""
    here = lease.get("host") == os.uname().nodename
    died = here and (lease.get("boot") != _boot() or not Path(f"/proc/{lease.get('pid')}").exists())
    until = lease.get("until")
    return died or not isinstance(until, int | float) or until <= now
