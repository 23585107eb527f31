# SPDX-License-Identifier: Apache-2.0
"""The lease: two ticks on two hosts need not do the same work. Advisory: correctness never rests on it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ade_hpc.store.files import create_exclusive, read_json
from ade_hpc.store.layout import ExperimentDir


@contextmanager
def lease(experiment: ExperimentDir, *, now: float, lasts_s: float = 600.0) -> Iterator[bool]:
    """Hold the experiment's lease; yields False where another live tick holds it."""
    mine = {"host": os.uname().nodename, "pid": os.getpid(), "until": now + lasts_s}
    current = read_json(experiment.lease)
    if current is not None and _is_over(current, now):
        experiment.lease.unlink(missing_ok=True)
    held = create_exclusive(experiment.lease, json.dumps(mine).encode())
    try:
        yield held
    finally:
        if held and read_json(experiment.lease) == mine:
            experiment.lease.unlink(missing_ok=True)


def _is_over(lease: Mapping[str, Any], now: float) -> bool:
    """A lease ends by its clock, or with its process where that ran on this host."""
    died = lease.get("host") == os.uname().nodename and not Path(f"/proc/{lease.get('pid')}").exists()
    until = lease.get("until")
    return died or not isinstance(until, int | float) or until <= now
