# SPDX-License-Identifier: Apache-2.0
"""For `ade-hpc status --watch`: who looks on all day asks the scheduler once a minute, and reads files in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from ade_hpc.model import JobRef, Observation, StepRow
from ade_hpc.scheduler.base import Observer, Scheduler

ASK_S = 60.0


class Onlooker:
    """Stands for one scheduler, and remembers what it said for ``ASK_S`` seconds."""

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float] = time.monotonic) -> None:
        self._scheduler, self._clock = scheduler, clock
        self._seen: Observation | None = None
        self._asked_at, self._turn = 0.0, 0

    def observe(self, jobs: Sequence[JobRef]) -> Observation:
        """As a scheduler's own; of jobs that are newer than its last answer nothing is known."""
        now = self._clock()
        if self._seen is None or now - self._asked_at >= ASK_S:
            self._seen = self._scheduler.glance(jobs, self._seen, self._turn)
            self._asked_at, self._turn = now, self._turn + 1
        return self._seen

    def steps(self, jobs: Sequence[JobRef]) -> Mapping[str, tuple[StepRow, ...]]:
        """Nobody is asked: what the steps say more, the next tick says."""
        return {}


def onlookers(open_scheduler: Callable[[str], Scheduler]) -> Callable[[str], Observer]:
    """``open_scheduler`` for who looks on: one onlooker for each kind, kept as long as this."""
    kept: dict[str, Onlooker] = {}

    def opened(kind: str) -> Observer:
        if kind not in kept:
            kept[kind] = Onlooker(open_scheduler(kind))
        return kept[kind]

    return opened
