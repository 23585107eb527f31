# SPDX-License-Identifier: Apache-2.0
"""The sidecar: it looks at the trainer once a second, says in a heartbeat what it sees, and knows what is a stall.

The heartbeat is one small file a node, replaced whole, every interval and at once on a change of state.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ade_hpc.job import cgroup, nonfinite, proc
from ade_hpc.job.command import PROGRESS_FILE
from ade_hpc.job.gpu import Gpus
from ade_hpc.job.identity import JobIdentity
from ade_hpc.job.pauses import Learner, merged
from ade_hpc.job.progress import Logged
from ade_hpc.model import Heartbeat, Pauses
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import SCHEMA, FastPath, load_heartbeats, save_heartbeat

ASLEEP_S = 10.0  # a look comes every second: who has not looked for so long was stopped too (a suspended job)
STALL_FLOOR_S = 240.0  # as policy/health.py has it, where no experiment.yaml says otherwise
EARLIER_ATTEMPTS = 5  # whose pauses count


@dataclass(frozen=True)
class Fault:
    """What is wrong with a trainer that lives. cause: stalled or non-finite; since: when it began (POSIX seconds)."""

    cause: str
    since: float
    detail: str


@dataclass
class Watched:
    """One trainer, and what was seen of it so far. Times are of the monotonic clock, but for ``started_at``.

    oom_before: the counter of the memory cgroup when the trainer began. pace: the steps per second.
    """

    pid: int
    started_at: float
    logged: Logged
    learner: Learner
    oom_before: int
    quiet_since: float
    touched_at: float | None
    last_progress_at: float | None = None
    stepped: tuple[int, float] | None = None
    pace: float | None = None


class Sidecar:
    """Looks at this task's trainer, and writes the node's heartbeat from the node's first task.

    A heartbeat that can't be written never harms the trainer.
    """

    def __init__(
        self,
        attempt: AttemptDir,
        job: JobIdentity,
        interval_s: float,
        stall_floor_s: float = STALL_FLOOR_S,
        fast: FastPath | None = None,
    ) -> None:
        self._attempt = attempt
        self._job = job
        self._interval_s = interval_s
        self._stall_floor_s = stall_floor_s
        self._fast = fast
        self._before = merged([Pauses(), *_pauses_before(attempt)])
        self._gpus = Gpus()
        self._counter = 0
        self._next_at = 0.0
        self._looked_at = 0.0
        self._state = ""
        self._watched: Watched | None = None

    def show(self) -> None:
        """The first heartbeat of a start. It is part of the fence, so here a failure to write is an error."""
        if self._job.leader:
            save_heartbeat(self._attempt, self._make(None))

    def watch(self, trainer_pid: int, started_at: float, tensorboard: Path) -> None:
        """From now on look at this trainer. Progress is the growth of the event files in ``tensorboard``, or a touch of
        ``ADE_PROGRESS`` by a trainer that writes none."""
        wanted = (self._fast.objective, *nonfinite.COMMON_LOSSES) if self._fast and self._fast.objective else ()
        self._looked_at = time.monotonic()
        self._watched = Watched(
            pid=trainer_pid,
            started_at=started_at,
            logged=Logged(tensorboard, wanted),
            learner=Learner(self._stall_floor_s, self._before),
            oom_before=cgroup.oom_kills() or 0,
            quiet_since=self._looked_at,
            touched_at=self._last_touch(),
        )

    def look(self) -> Fault | None:
        """One look at the trainer: what is wrong with it, if anything. A heartbeat where one is due."""
        if self._watched is None:
            return None
        process = proc.trainer_below(self._watched.pid)
        state = process.state if process else ""
        self._note_progress(self._watched)
        if _settled(state) != _settled(self._state) or time.monotonic() >= self._next_at:
            self._state = state
            self._beat(process)
        return self.fault

    @property
    def fault(self) -> Fault | None:
        """What was wrong at the last look."""
        watched = self._watched
        if watched is None:
            return None
        quiet_s, limit_s = time.monotonic() - watched.quiet_since, watched.learner.limit_s
        if quiet_s > limit_s:
            detail = f"no progress for {quiet_s:.0f} s; more than {limit_s:.0f} s are not normal for this run"
            return Fault("stalled", time.time() - quiet_s, detail)
        lost = nonfinite.since_when(watched.logged.values, self._fast) if self._fast else None
        return Fault("non-finite", lost[1], f"{lost[0]} is no finite number any more") if lost else None

    @property
    def progressed(self) -> bool:
        """Was there any progress in this start?"""
        if self._watched is None:
            return False
        self._note_progress(self._watched)
        return self._watched.last_progress_at is not None

    @property
    def last_step(self) -> int | None:
        return self._watched.logged.last_step if self._watched else None

    @property
    def oom_kills(self) -> int:
        """By the kernel, in our memory cgroup, since the trainer began."""
        return max(0, (cgroup.oom_kills() or 0) - self._watched.oom_before) if self._watched else 0

    # --- progress ---

    def _note_progress(self, watched: Watched) -> None:
        now = time.monotonic()
        if now - self._looked_at > ASLEEP_S:
            watched.quiet_since += now - self._looked_at  # that silence was not the trainer's
        self._looked_at = now
        touched_at = self._last_touch()
        if watched.logged.look() or touched_at != watched.touched_at:
            watched.learner.learn(now - watched.quiet_since)
            watched.quiet_since, watched.touched_at, watched.last_progress_at = now, touched_at, time.time()
        _note_pace(watched, now)

    def _last_touch(self) -> float | None:
        try:
            return (self._attempt.scratch / PROGRESS_FILE).lstat().st_mtime
        except OSError:
            return None

    # --- the heartbeat ---

    def _beat(self, process: proc.Usage | None) -> None:
        self._next_at = time.monotonic() + self._interval_s
        if not self._job.leader:
            return
        try:
            save_heartbeat(self._attempt, self._make(process))
        except OSError:
            return  # quota, read-only, gone: the supervisor sees silence, the trainer sees nothing

    def _make(self, process: proc.Usage | None) -> Heartbeat:
        self._counter += 1
        watched = self._watched
        beat = Heartbeat(
            schema=SCHEMA,
            job_id=self._job.job_id,
            attempt=self._attempt.number,
            restart=self._job.restart,
            node=self._job.node,
            counter=self._counter,
            interval_s=self._interval_s,
            written_at=time.time(),
            pauses=self._before,
        )
        if watched is None:
            return beat
        everything = proc.tree(process.pid) if process else []
        return replace(
            beat,
            trainer_pid=process.pid if process else None,
            trainer_state=process.state if process else "",
            trainer_started_at=watched.started_at,
            event_bytes=watched.logged.size,
            last_progress_at=watched.last_progress_at,
            rss_bytes=sum(one.rss_bytes for one in everything),
            cpu_s=round(sum(one.cpu_s for one in everything), 2),
            last_step=watched.logged.last_step,
            steps_per_s=watched.pace,
            since_progress_s=round(time.monotonic() - watched.quiet_since, 1),
            stall_limit_s=round(watched.learner.limit_s, 1),
            oom_kills=self.oom_kills,
            gpu=self._gpus.use(),
            pauses=merged([self._before, watched.learner.seen]),
        )


def _note_pace(watched: Watched, now: float) -> None:
    """Steps per second between the last two looks that saw a new step."""
    step = watched.logged.last_step
    if step is None or (watched.stepped is not None and step == watched.stepped[0]):
        return
    if watched.stepped is not None and step > watched.stepped[0]:
        watched.pace = round((step - watched.stepped[0]) / (now - watched.stepped[1]), 3)
    watched.stepped = (step, now)


def _pauses_before(attempt: AttemptDir) -> Iterator[Pauses]:
    """What earlier starts of this experiment left in their last heartbeats."""
    for number in range(max(1, attempt.number - EARLIER_ATTEMPTS), attempt.number + 1):
        yield from (beat.pauses for beat in load_heartbeats(attempt.experiment.attempt(number)))


def _settled(state: str) -> str:
    """R, S and D alternate all the time and mean "at work"; T (stopped), Z and gone are changes worth a beat."""
    return "at work" if state in ("R", "S", "D") else state
