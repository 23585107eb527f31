# SPDX-License-Identifier: Apache-2.0
"""The fence: at most one job of an experiment is past it at any time (invariant 1c).

The order is what makes it hold, without a lock. Every start first *shows itself* (a heartbeat of its restart), then
looks for the tombstone. A successor first *puts up the tombstones* of all older attempts, then looks for their
heartbeats. Whichever way two starts interleave, one of them sees the other: the older one finds its tombstone and
ends, or the newer one sees it alive and waits until it has ended.

The same holds between two starts of one job: Slurm queues a job again when it takes its node for dead, and the node may
only have lost its slurmd. There the heartbeat of the later start is the tombstone of the earlier one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ade_hpc.job.identity import JobIdentity
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import (
    claim_owner,
    for_good,
    load_exits,
    load_heartbeats,
    owner_of,
    supersede,
    superseded_by,
)

SILENT_BEATS = 3  # a predecessor whose counter stands still for this many intervals is dead (its node is lost)
BLIND_BEATS = 1.5  # who can't see the fence for so many intervals ends itself, before others take it for dead


def refuse_at_fence(attempt: AttemptDir, job: JobIdentity, show: Callable[[], None]) -> str | None:
    """Claim the attempt for this job, show ourselves, and say why this start must end now, or None.

    ``show`` writes the first heartbeat of this start.
    """
    if not claim_owner(attempt, job.job_id):
        return f"job {owner_of(attempt)} owns attempt {attempt.number}"
    show()
    by = superseded_by(attempt)
    return f"attempt {attempt.number} was superseded by {by}" if by is not None else None


def bury_predecessors(attempt: AttemptDir) -> list[AttemptDir]:
    """Put the tombstone on all older attempts; returns those that a job ever claimed."""
    older = [other for other in attempt.experiment.attempts() if other.number < attempt.number]
    for other in older:
        supersede(other, f"attempt {attempt.number}")
    return [other for other in older if owner_of(other) is not None]


def outrun(attempt: AttemptDir, job: JobIdentity) -> bool:
    """Has the same job been started again, so that this start must end?"""
    return any(beat.restart > job.restart for beat in load_heartbeats(attempt))


class Lookout:
    """Is a start still on the right side of the fence? Asked again and again while its trainer lives.

    A look that fails (a stale handle, an I/O error, a mount that is gone for a moment) harms nobody. But who can't see
    the fence may have been replaced, and a successor begins SILENT_BEATS intervals after the last heartbeat that it
    saw. So a start whose looks fail for BLIND_BEATS intervals is ``lost``: with the last heartbeat up to an interval
    older, half an interval is left to end the trainer before another one begins.
    """

    def __init__(self, attempt: AttemptDir, job: JobIdentity, interval_s: float) -> None:
        self._attempt = attempt
        self._job = job
        self._patience_s = BLIND_BEATS * interval_s
        self._blind_since: float | None = None

    def closed(self) -> str:
        """Why this start must end: superseded (by another attempt, or a later start of this job), cancelled or lost.
        Empty while it may go on."""
        try:
            self._attempt.owner.stat()  # where the folder is gone, a tombstone could not be seen either
            by = superseded_by(self._attempt)
            over = by is not None or outrun(self._attempt, self._job)
        except OSError:
            return "lost" if self._blind_for() > self._patience_s else ""
        self._blind_since = None
        if for_good(by):
            return "cancelled"
        return "superseded" if over else ""

    def _blind_for(self) -> float:
        now = time.monotonic()
        self._blind_since = now if self._blind_since is None else self._blind_since
        return now - self._blind_since


def wait_for_end(
    older: AttemptDir, interval_s: float, give_up: Callable[[], bool], poll_s: float = 0.2, before: int | None = None
) -> None:
    """Return once no start of an older attempt can be alive, or when ``give_up`` says so.

    before: only its starts before this one, where the attempt is our own. Alive is what has shown itself and left no
    final exit record of that start, and whose counter still moves. A lost node leaves no exit record; there the counter
    must stand still for SILENT_BEATS intervals, counted in polls: while we were stopped ourselves, so may they have
    been (both on one machine that is suspended, or too busy).
    """
    seen, quiet_s = _counters(older, before), 0.0
    while seen and not give_up() and quiet_s < SILENT_BEATS * interval_s:
        time.sleep(poll_s)
        now = _counters(older, before)
        seen, quiet_s = now, quiet_s + poll_s if now == seen else 0.0


def _counters(attempt: AttemptDir, before: int | None) -> dict[tuple[str, int], int]:
    """Counters of the starts of this attempt that have not left a final exit record."""
    ended = {(record.node, record.restart) for record in load_exits(attempt) if record.final}
    beats = [beat for beat in load_heartbeats(attempt) if before is None or beat.restart < before]
    if before is None and not beats and not ended and owner_of(attempt) is not None:
        return {("", -1): 0}  # claimed, and not yet shown: give it the time to do so
    return {(beat.node, beat.restart): beat.counter for beat in beats if (beat.node, beat.restart) not in ended}
