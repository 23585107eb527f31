# SPDX-License-Identifier: Apache-2.0
"""Is the tick scheduled, and does it come? For `ade-hpc schedule status`, `status` and `doctor`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from ade_hpc.errors import SchedulerError
from ade_hpc.scheduler.scrontab import block_in, state_of
from ade_hpc.scheduler.tables import Table
from ade_hpc.store.service import LastTick, Service

SCHEMA = 1


@dataclass(frozen=True)
class Heart:
    """The last tick, from files alone. ``problem`` says that a scheduled one is missing."""

    scheduled: bool
    last: LastTick | None
    age_s: float | None
    problem: str = ""


@dataclass(frozen=True)
class ScheduleStatus:
    """The entry as it stands in the user's table now.

    state: installed, disabled (commented out), vanished (installed once, gone now), absent, unknown (the table can't
    be read). kind: scrontab or cron, empty where nothing was ever installed. changed: somebody edited the block.
    """

    state: str
    kind: str
    every_s: float | None
    entry: str
    log: str
    heart: Heart
    problem: str = ""
    changed: bool = False


def heart_of(service: Service) -> Heart:
    now, last, installed = time.time(), service.last_tick(), service.installed()
    overdue = service.overdue_s(now)
    problem = ""
    if overdue is not None:
        problem = f"the scheduled tick is {overdue / 60:.0f} min late: see `ade-hpc schedule status`"
    return Heart(installed is not None, last, max(0.0, now - last.time) if last else None, problem)


def gather(service: Service) -> ScheduleStatus:
    """Asks scrontab or crontab once, if a schedule was installed."""
    heart, installed = heart_of(service), service.installed()
    log = str(service.log)
    if installed is None:
        return ScheduleStatus("absent", "", None, "", log, heart)
    kind = installed.kind
    try:
        text = Table(kind).read()
        state: str = state_of(text)
        entry = block_in(text)
    except SchedulerError as error:
        return ScheduleStatus("unknown", kind, installed.every_s, "", log, heart, str(error))
    state = "vanished" if state == "absent" else state
    problem = {
        "disabled": "the entry is disabled (Slurm does that when its job is cancelled); run: ade-hpc schedule install",
        "vanished": f"the entry is no longer in your {kind}; run: ade-hpc schedule install",
    }.get(state, heart.problem)
    changed = state == "installed" and entry != installed.block
    return ScheduleStatus(state, kind, installed.every_s, entry, log, heart, problem, changed)


def as_json(status: ScheduleStatus) -> dict[str, Any]:
    return {"schema": SCHEMA, **asdict(status)}


def exit_code(status: ScheduleStatus) -> int:
    """3 where a tick that was scheduled will not come, or did not."""
    return 3 if status.problem else 0
