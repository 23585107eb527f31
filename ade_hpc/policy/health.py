# SPDX-License-Identifier: Apache-2.0
"""The verdict on the process: queue, accounting, heartbeat and exit record fused into one word with its cause.

Silence is not death and one source is not proof (docs/architecture.md, invariant 2). Who is believed about what:

* whether the job lives: queue and accounting together (``scheduler/states.py``);
* how it ended: the exit record of its last start, because it stood beside the trainer; but where Slurm says that it
  ended the job itself, the record saw only the consequence (a TERM, a crash), and Slurm knows why;
* a job that Slurm has lost (its slurmctld was killed before it had saved it; what ran is killed as an orphan, without
  a word): what lies on disk. A final record of its last start, or a heartbeat that stands still, is the second source.
  One that waited leaves nothing there: somebody may have cancelled it, or nobody (``dropped``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ade_hpc.model import Domain, ExitRecord, Health, Heartbeat, JobTruth, Witness
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.store.records import ended_itself, for_good

# An event writer may hold back up to flush_secs (120 s by default), so silence in the event files shorter than twice
# that says nothing. The sidecar may know better what is normal for this run.
STALL_FLOOR_S = 240.0

# Before the trainer there are `setup`, the image and the fence, of which nothing is heard meanwhile
SLOW_START_S = 3600.0

# Slurm's final states in the words of exit records
_CAUSES = {"TIMEOUT": "time-limit"}
# It was Slurm who ended these: a record of such a start tells the consequence, unless the trainer had finished
_SLURM_ENDED = frozenset({"BOOT_FAIL", "CANCELLED", "DEADLINE", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"})
_CONSEQUENCES = frozenset({"failed", "signal", "cancelled", "preempted", "time-limit"})
# Everything of these stands still, heartbeat and all, and goes on when Slurm lets it
_AT_REST = frozenset({"SUSPENDED", "STOPPED"})
# Accounting is purged after weeks or months, and what ended then is no news
_NEWS_S = 86400.0

_DOMAINS: dict[str, Domain] = {
    **dict.fromkeys(("node-fail", "boot-fail", "lost", "preempted", "forgotten"), "infrastructure"),
    **dict.fromkeys(("failed", "time-limit", "out-of-memory", "cuda-out-of-memory", "non-finite"), "workload"),
    **dict.fromkeys(("image-changed", "image-missing", "command-missing"), "workload"),
}


def judge_health(snapshot: Snapshot) -> Health:
    """The verdict, with all that was said; what nobody proved is ``unknown``."""
    health = _judge(snapshot)
    domain = _DOMAINS.get(trouble(health), "unknown")
    return replace(health, domain=domain, witnesses=tuple(_witnesses(snapshot)))


def judge_watched(snapshot: Snapshot, logged_at: float | None, stall_limit_s: float) -> Health:
    """The same for a job without a sidecar, from its event files. logged_at: when they were written last, by the clock
    of the filesystem; what is older than the job's start is not its own."""
    truth = snapshot.truth
    health = _judge(snapshot) if truth.phase != "running" else _logging(snapshot, logged_at, stall_limit_s)
    said = "no event file" if logged_at is None else f"last written at step {snapshot.step}"
    witnesses = (*truth.witnesses, Witness("event files", said, logged_at))
    return replace(health, domain=_DOMAINS.get(trouble(health), "unknown"), witnesses=witnesses)


def _logging(snapshot: Snapshot, logged_at: float | None, stall_limit_s: float) -> Health:
    started = snapshot.truth.start or 0.0
    if logged_at is None or logged_at < started:
        return Health("starting", "", f"{snapshot.truth.said_by}; it has written no event file yet")
    quiet = snapshot.now - logged_at
    if quiet > stall_limit_s:
        return Health("stalled", "no progress", f"no new events for {quiet:.0f} s")
    return Health("running", "", f"{snapshot.truth.said_by}; new events {max(0.0, quiet):.0f} s ago")


def is_trouble(health: Health) -> bool:
    """Did the process fail, or stop getting anywhere?"""
    return bool(trouble(health))


def trouble(health: Health) -> str:
    """The one word for what is wrong with the process, empty where nothing is: a cause, ``lost`` or ``stalled``."""
    if health.verdict in ("ended", "starting"):
        return "" if health.cause in ("completed", "cancelled", "superseded") else health.cause
    return health.verdict if health.verdict in ("lost", "stalled") else ""


def _judge(snapshot: Snapshot) -> Health:
    truth = snapshot.truth
    if truth.phase == "pending":
        return Health("pending", truth.reason, truth.said_by)
    if truth.unlisted:
        return _unlisted(snapshot)
    if truth.phase == "ended":
        return _ended(snapshot)
    over = ended_itself(snapshot.beats, snapshot.exits) if truth.phase == "running" else None
    if over is not None and over.restart >= truth.restarts:
        return Health("ended", over.cause, f"exit record: exit code {over.returncode}; its job is ending")
    if truth.phase == "unknown":
        return Health("unknown", truth.state, truth.reason)
    return _running(snapshot)


def _unlisted(snapshot: Snapshot) -> Health:
    """Of what shows no sign of life, Slurm's word is all there is."""
    truth, record, beat = snapshot.truth, _record_of_last_start(snapshot), _latest_of_last_start(snapshot)
    still = beat is not None and _stands_still(snapshot, beat)
    if record is not None and (record.final or still):
        return Health("ended", record.cause, f"exit record: exit code {record.returncode}; {_lost(truth)}")
    if beat is not None and snapshot.now - beat.written_at < _NEWS_S:
        if still:
            return Health("ended", "forgotten", f"{_lost(truth)}; its heartbeat stands still")
        return Health("unknown", truth.state, _lost(truth))
    if truth.phase == "ended" and snapshot.superseded_by is None:
        return Health("ended", "dropped", f"{truth.said_by}; it is CANCELLED, and Slurm does not say by whom")
    return _ended(snapshot) if truth.phase == "ended" else Health("unknown", truth.state, truth.reason)


def _lost(truth: JobTruth) -> str:
    return truth.reason if truth.phase == "unknown" else f"{truth.said_by}, and nobody has cancelled it"


def _running(snapshot: Snapshot) -> Health:
    beat = _latest(snapshot)
    if snapshot.truth.state in _AT_REST:
        return Health("running", "suspended", f"{snapshot.truth.said_by}: {snapshot.truth.state}, by Slurm's will")
    if beat is None or beat.trainer_started_at is None or beat.restart < snapshot.truth.restarts:
        return _starting(snapshot)
    if _stands_still(snapshot, beat):
        age = snapshot.now - beat.written_at
        return Health("lost", "silent", f"the queue says RUNNING, but the heartbeat stands still for {age:.0f} s")
    if snapshot.silent:
        return Health("running", "", "the heartbeat stands still, but the event files grow")
    quiet, limit = _quiet_s(beat), beat.stall_limit_s or STALL_FLOOR_S
    if quiet > limit:
        return Health("stalled", "no progress", f"no new events for {quiet:.0f} s (state {beat.trainer_state})")
    return Health("running", "", f"{snapshot.truth.said_by}; heartbeat {beat.counter} on {beat.node}")


def _starting(snapshot: Snapshot) -> Health:
    """What `setup` takes is not known: to end a job that stages data would be worse than to ask somebody."""
    since = snapshot.now - (snapshot.truth.start or snapshot.now)
    if since > SLOW_START_S:
        return Health("starting", "slow-start", f"running for {since:.0f} s, and the trainer has not started yet")
    return Health("starting", "", f"{snapshot.truth.said_by}; the trainer has not started yet")


def _quiet_s(beat: Heartbeat) -> float:
    """Since the last progress, all by the node's own clock."""
    if beat.since_progress_s is not None:
        return beat.since_progress_s
    return beat.written_at - (beat.last_progress_at or beat.trainer_started_at or beat.written_at)


def _stands_still(snapshot: Snapshot, beat: Heartbeat) -> bool:
    """A heartbeat that can't be written (a quota, a lost mount) is no death while events still come."""
    logged_at = max((float(one.wall_times[-1]) for one in snapshot.curves.series.values() if len(one)), default=0.0)
    return snapshot.silent and logged_at <= beat.written_at + beat.interval_s


def _ended(snapshot: Snapshot) -> Health:
    """Without a record (KILL, a lost node, cancelled while pending) only Slurm's state is left; a job that came to the
    fence when it was cancelled already has ended well, for Slurm."""
    truth, record = snapshot.truth, _final_record(snapshot)
    said = _CAUSES.get(truth.state, truth.state.lower().replace("_", "-"))
    if record is None:
        said = "cancelled" if truth.state == "COMPLETED" and for_good(snapshot.superseded_by) else said
        return Health("ended", said or "vanished", f"{truth.said_by}; no final exit record was left")
    if truth.state in _SLURM_ENDED and record.cause in _CONSEQUENCES and said != record.cause:
        return Health("ended", said, f"{truth.said_by}; the exit record says {record.cause}")
    agreed = f"exit record and {truth.said_by}" if truth.said_by else "exit record"
    return Health("ended", record.cause, f"{agreed}: exit code {record.returncode}")


def _final_record(snapshot: Snapshot) -> ExitRecord | None:
    """How the last start ended, by its own record; None where it left none, or was queued again."""
    record = _record_of_last_start(snapshot)
    return record if record is not None and record.final else None


def _record_of_last_start(snapshot: Snapshot) -> ExitRecord | None:
    """Also a provisional one, which says why it was asked to go; None where it was queued again."""
    record = last_exit(snapshot)
    if record is None or record.requeued:
        return None
    last_start = max([snapshot.truth.restarts, *(beat.restart for beat in snapshot.beats)])
    return record if record.restart >= last_start else None


def last_exit(snapshot: Snapshot) -> ExitRecord | None:
    return snapshot.exits[-1] if snapshot.exits else None


def _latest(snapshot: Snapshot) -> Heartbeat | None:
    return max(snapshot.beats, key=lambda beat: (beat.restart, beat.written_at), default=None)


def _latest_of_last_start(snapshot: Snapshot) -> Heartbeat | None:
    """None while a job that was queued again waits: what stands still is the start before."""
    beat, record = _latest(snapshot), last_exit(snapshot)
    if beat is None or beat.restart < snapshot.truth.restarts:
        return None
    waits = record is not None and record.requeued and record.restart >= beat.restart
    return None if waits else beat


def _witnesses(snapshot: Snapshot) -> Iterator[Witness]:
    yield from snapshot.truth.witnesses
    beat, record = _latest(snapshot), last_exit(snapshot)
    if beat is not None:
        state = f", trainer {beat.trainer_state}" if beat.trainer_state else ""
        still = ", and stands still" if snapshot.silent else ""
        yield Witness("heartbeat", f"beat {beat.counter} of start {beat.restart} on {beat.node}{state}{still}",
                      beat.written_at)  # fmt: skip
    if record is not None:
        word = "queued again" if record.requeued else "final" if record.final else "provisional"
        late = f", {record.burnt_s:.0f} s after the fault" if record.burnt_s else ""
        said = f"{record.cause}{late}, exit code {record.returncode} of start {record.restart} ({word})"
        yield Witness("exit record", said, record.ended_at or record.started_at)
