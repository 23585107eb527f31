# SPDX-License-Identifier: Apache-2.0
"""The sidecar's heartbeat: one small file a node, replaced whole, every interval and at once on a change of state."""

from __future__ import annotations

import time
from pathlib import Path

from ade_hpc.job import proc
from ade_hpc.job.command import PROGRESS_FILE
from ade_hpc.job.identity import JobIdentity
from ade_hpc.metrics.reader import progress
from ade_hpc.model import Heartbeat
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import SCHEMA, save_heartbeat


class Sidecar:
    """Writes this node's heartbeat, from the node's first task. One that can't be written never harms the trainer."""

    def __init__(self, attempt: AttemptDir, job: JobIdentity, interval_s: float) -> None:
        self._attempt = attempt
        self._job = job
        self._interval_s = interval_s
        self._counter = 0
        self._next_at = 0.0
        self._state = ""
        self._event_bytes = 0
        self._touched_at: float | None = None
        self._last_progress_at: float | None = None
        self._watch: tuple[int, float, Path] | None = None

    def watch(self, trainer_pid: int, started_at: float, tensorboard: Path) -> None:
        """From now on report this trainer. Progress is the growth of the event files in ``tensorboard``, or a touch of
        ``ADE_PROGRESS`` by a trainer that writes none."""
        self._watch = (trainer_pid, started_at, tensorboard)
        self._event_bytes = progress(tensorboard)
        self._touched_at = self._last_touch()

    def beat_if_due(self) -> None:
        """One look at the trainer; a heartbeat where the interval has passed or its state has changed."""
        process = proc.trainer_below(self._watch[0]) if self._watch else None
        state = process.state if process else ""
        changed = _settled(state) != _settled(self._state)
        if not changed and time.monotonic() < self._next_at:
            return
        self._state = state
        self._beat(process)

    def show(self) -> None:
        """The first heartbeat of a start. It is part of the fence, so here a failure to write is an error."""
        if self._job.leader:
            save_heartbeat(self._attempt, self._make(None))

    @property
    def progressed(self) -> bool:
        """Did the event files grow in this start?"""
        self._note_progress()
        return self._last_progress_at is not None

    def _beat(self, process: proc.Usage | None) -> None:
        self._next_at = time.monotonic() + self._interval_s
        self._note_progress()
        if not self._job.leader:
            return
        try:
            save_heartbeat(self._attempt, self._make(process))
        except OSError:
            return  # quota, read-only, gone: the supervisor sees silence, the trainer sees nothing

    def _note_progress(self) -> None:
        if self._watch is None:
            return
        size, touched_at = progress(self._watch[2]), self._last_touch()
        if size > self._event_bytes or touched_at != self._touched_at:
            self._last_progress_at = time.time()
        self._event_bytes, self._touched_at = size, touched_at

    def _last_touch(self) -> float | None:
        try:
            return (self._attempt.scratch / PROGRESS_FILE).lstat().st_mtime
        except OSError:
            return None

    def _make(self, process: proc.Usage | None) -> Heartbeat:
        self._counter += 1
        return Heartbeat(
            schema=SCHEMA,
            job_id=self._job.job_id,
            attempt=self._attempt.number,
            restart=self._job.restart,
            node=self._job.node,
            counter=self._counter,
            interval_s=self._interval_s,
            written_at=time.time(),
            trainer_pid=process.pid if process else None,
            trainer_state=process.state if process else "",
            trainer_started_at=self._watch[1] if self._watch else None,
            event_bytes=self._event_bytes,
            last_progress_at=self._last_progress_at,
            rss_bytes=process.rss_bytes if process else 0,
        )


def _settled(state: str) -> str:
    """R, S and D alternate all the time and mean "at work"; T (stopped), Z and gone are changes worth a beat."""
    return "at work" if state in ("R", "S", "D") else state
