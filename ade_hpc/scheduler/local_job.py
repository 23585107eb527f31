# SPDX-License-Identifier: Apache-2.0
"""One job of the local scheduler: what lies in ``attempt/local/``, and what that and ``/proc`` say of it.

    local/request.json   what was asked for
    local/job.sh         what runs
    local/job.json       the claim: created exclusively by the runner, so an attempt has one job for good
    local/started.json   written as the payload takes over the runner's process
    local/cancel.json    somebody asked it to end
    local/over.json      it has ended, and nothing is left of it

There is no server: whoever looks also does what is due (KILL after the grace, a trainer that outlived its payload).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ade_hpc.model import AccountingRow, JobView, QueueRow
from ade_hpc.scheduler.process import Process, boot_id, end, group_of
from ade_hpc.store.files import create_exclusive, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

# Longer than the payload's own ladder (the declared signal, TERM, KILL), which leaves a record behind
CANCEL_GRACE_S = 15.0
LEFTOVER_GRACE_S = 5.0

FINAL_STATES = {"completed": "COMPLETED", "fenced": "COMPLETED", "cancelled": "CANCELLED", "superseded": "CANCELLED"}


def folder(attempt_dir: Path) -> Path:
    return attempt_dir / "local"


@dataclass(frozen=True)
class LocalJob:
    """A claimed job. Its id is ``PID.STARTTIME``; ``host`` is where that pid means something."""

    attempt_dir: Path
    name: str
    process: Process
    host: str
    submit: float

    @property
    def job_id(self) -> str:
        return f"{self.process.pid}.{self.process.starttime}"

    @property
    def here(self) -> bool:
        return self.host == os.uname().nodename

    @property
    def cancelled_at(self) -> float | None:
        return _time(read_json(folder(self.attempt_dir) / "cancel.json"))

    @property
    def started_at(self) -> float | None:
        return _time(read_json(folder(self.attempt_dir) / "started.json"))


def claim(attempt_dir: Path, name: str, process: Process) -> bool:
    """Make ``process`` the one job of this attempt; False where it has one."""
    record = {**vars(process), "name": name, "host": os.uname().nodename, "time": time.time()}
    return create_exclusive(folder(attempt_dir) / "job.json", json.dumps(record).encode())


def load(attempt_dir: Path) -> LocalJob | None:
    """The job of this attempt, or None where nothing was claimed (or the claim can't be read)."""
    value = read_json(folder(attempt_dir) / "job.json")
    process = Process.from_json(value) if value else None
    submit = _time(value)
    if value is None or process is None or submit is None:
        return None
    return LocalJob(attempt_dir, str(value.get("name")), process, str(value.get("host")), submit)


def is_over(job: LocalJob) -> bool:
    """Has the job ended, with all that it started? Does first what is due: see the module's docstring."""
    done = folder(job.attempt_dir) / "over.json"
    if done.exists():
        return True  # and its pids may be somebody else's by now
    if job.process.is_alive():
        since = job.cancelled_at
        if since is None or time.time() - since < CANCEL_GRACE_S or not end([job.process], 0):
            return False
    trainer = _trainer(job)
    if trainer is not None and not end(group_of(trainer), LEFTOVER_GRACE_S):
        return False
    with contextlib.suppress(OSError):
        create_exclusive(done, json.dumps({"time": time.time()}).encode())
    return True


def describe(job: LocalJob) -> JobView:
    """What a scheduler knows of the job, in Slurm's words. A job of another machine is known to nobody here."""
    if not job.here:
        return JobView(job.job_id)
    if is_over(job):
        return JobView(job.job_id, accounting=(_ended_row(job),))
    started = job.started_at
    state = "COMPLETING" if job.cancelled_at is not None else "PENDING" if started is None else "RUNNING"
    queue = QueueRow(job.job_id, state, "Dependency" if state == "PENDING" else "", job.host, job.submit, started)
    elapsed = time.time() - started if started is not None else 0.0
    row = AccountingRow(
        job.job_id, state, submit=job.submit, start=started, elapsed_s=max(0.0, elapsed), nodes=job.host
    )
    return JobView(job.job_id, queue, (row,))


def _ended_row(job: LocalJob) -> AccountingRow:
    record = _final_record(job)
    returncode = record.get("returncode", 0) if record else 0
    started, ended = job.started_at, _ended_at(job, record)
    state, reason = _final_state(job, record)
    return AccountingRow(
        job.job_id,
        state,
        exit_code=max(0, returncode),
        signal=max(0, -returncode),
        submit=job.submit,
        start=started,
        end=ended,
        elapsed_s=max(0.0, ended - started) if started is not None and ended is not None else 0.0,
        nodes=job.host,
        reason=reason,
    )


def _final_state(job: LocalJob, record: Mapping[str, Any] | None) -> tuple[str, str]:
    """The final record decides; without one the job was cut off, and the state says by what."""
    if record is not None:
        return FINAL_STATES.get(str(record["cause"]), "FAILED"), ""
    if job.cancelled_at is not None:
        return "CANCELLED", ""
    if job.process.boot_id != boot_id():
        return "NODE_FAIL", "the machine was restarted"
    return "FAILED", "vanished"


def _final_record(job: LocalJob) -> dict[str, Any] | None:
    """The newest final exit record of this job, as the payload left it."""
    records = (read_json(path) for path in (job.attempt_dir / "exit").glob("*.json"))
    final = [
        record
        for record in records
        if record is not None
        and record.get("job_id") == job.job_id
        and record.get("final") is True
        and isinstance(record.get("cause"), str)
        and isinstance(record.get("returncode"), int)
    ]
    return max(final, key=lambda record: _time(record, "ended_at") or 0.0, default=None)


def _ended_at(job: LocalJob, record: Mapping[str, Any] | None) -> float | None:
    """When it ended; of a job that was cut off, when it last gave a sign of life."""
    if record is not None:
        return _time(record, "ended_at")
    beats = [path.stat().st_mtime for path in (job.attempt_dir / "heartbeat").glob("*.json")]
    return max(beats, default=None)


def _trainer(job: LocalJob) -> Process | None:
    """The trainer as the payload recorded it, in a session of its own; None where none was started."""
    value = read_json(job.attempt_dir / "trainer.json")
    return Process.from_json(value) if value else None


def _time(value: Mapping[str, Any] | None, key: str = "time") -> float | None:
    seconds = value.get(key) if value else None
    return float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else None
