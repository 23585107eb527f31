# SPDX-License-Identifier: Apache-2.0
"""The verdict on the process, from scheduler, heartbeat and exit record together."""

from __future__ import annotations

from ade_hpc.model import ExitRecord, Health, Heartbeat
from ade_hpc.policy.snapshot import Snapshot

# An event writer may hold back up to flush_secs (120 s by default), so silence in the event files shorter than twice
# that says nothing.
STALL_FLOOR_S = 240.0


def judge_health(snapshot: Snapshot) -> Health:
    """Silence is not death and one source is not proof (invariant 2): what nobody proved is ``unknown``."""
    truth = snapshot.truth
    if truth.phase == "pending":
        return Health("pending", truth.reason, truth.said_by)
    if truth.phase == "ended":
        return _ended(snapshot)
    if truth.phase == "unknown":
        return Health("unknown", truth.state, truth.reason)
    return _running(snapshot)


def is_trouble(health: Health) -> bool:
    """Did the process fail, or stop getting anywhere?"""
    if health.verdict == "ended":
        return health.cause not in ("completed", "cancelled", "superseded")
    return health.verdict in ("lost", "stalled")


def _running(snapshot: Snapshot) -> Health:
    beat = _latest(snapshot)
    if beat is None or beat.trainer_started_at is None:
        return Health("starting", "", f"{snapshot.truth.said_by}; the trainer has not started yet")
    if snapshot.silent:
        age = snapshot.now - beat.written_at
        return Health("lost", "silent", f"the queue says RUNNING, but the heartbeat stands still for {age:.0f} s")
    since = beat.last_progress_at or beat.trainer_started_at
    quiet = beat.written_at - since  # both by the node's own clock
    if beat.trainer_state == "T" or quiet > STALL_FLOOR_S:
        return Health("stalled", "no progress", f"no new events for {quiet:.0f} s (state {beat.trainer_state})")
    return Health("running", "", f"{snapshot.truth.said_by}; heartbeat {beat.counter} on {beat.node}")


def _ended(snapshot: Snapshot) -> Health:
    """The exit record knows the cause; without one (KILL, lost node, cancelled while pending) Slurm's state does."""
    truth, record = snapshot.truth, last_exit(snapshot)
    if record is not None and record.final and not record.requeued:
        agreed = f"exit record and {truth.said_by}" if truth.said_by else "exit record"
        return Health("ended", record.cause, f"{agreed}: exit code {record.returncode}")
    cause = truth.state.lower() or "vanished"
    return Health("ended", cause, f"{truth.said_by}; no final exit record was left")


def last_exit(snapshot: Snapshot) -> ExitRecord | None:
    return snapshot.exits[-1] if snapshot.exits else None


def _latest(snapshot: Snapshot) -> Heartbeat | None:
    return max(snapshot.beats, key=lambda beat: (beat.restart, beat.written_at), default=None)
