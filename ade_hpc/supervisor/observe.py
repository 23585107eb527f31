# SPDX-License-Identifier: Apache-2.0
"""Observe: gather a frozen Snapshot of every experiment. It judges nothing.

One queue query and one accounting query for all experiments of a scheduler (invariant 9), then heartbeats, exit
records and new events from the run folders.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ade_hpc.errors import AdeError
from ade_hpc.job.checkpoints import Checkpoint, list_checkpoints
from ade_hpc.metrics.series import Curves
from ade_hpc.model import ExitRecord, Heartbeat, JobRef, JobTruth, Observation, Source
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.scheduler.base import Observer
from ade_hpc.scheduler.states import conclude, with_steps
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.ledger import read_ledger
from ade_hpc.store.records import AttemptRecord, load_attempt, load_exits, load_heartbeats, superseded_by
from ade_hpc.supervisor.experiment import Supervised
from ade_hpc.supervisor.past import Usage, changed_from, past_of, usage_of

STALE_AFTER_BEATS = 3
MAX_SECOND_LOOK_S = 45.0  # a tick is short: a heartbeat that may come less often is never proved to stand still

ReadCurves = Callable[[Supervised, AttemptDir], Curves]


@dataclass(frozen=True)
class Look:
    """What was seen of all experiments together: the schedulers' word on every job, and the heartbeats.

    degraded: sources that failed to answer, by scheduler. silent: experiments whose heartbeat is old and whose
    counter did not move while we looked.
    """

    now: float
    truths: Mapping[str, JobTruth]
    degraded: Mapping[str, tuple[str, ...]]
    usage: Usage
    beats: Mapping[str, Sequence[Heartbeat]]
    silent: frozenset[str]

    def snapshot(self, one: Supervised, read_curves: ReadCurves) -> Snapshot | None:
        """One experiment's snapshot, or None before it has a job. Raises AdeError where its records are damaged.

        read_curves: how to get at an attempt's curves. It is given, because that needs NumPy and `status` does without.
        """
        if one.attempt is None or one.job is None:
            return None
        record = load_attempt(one.attempt)
        degraded = list(self.degraded.get(one.scheduler, ()))
        curves = _curves(one, one.attempt, read_curves, degraded)
        changes = record.changes if record else ()
        changed = changed_from(one.ledger, one.attempt.number) if changes and curves.series else None
        beats, exits = tuple(self.beats[one.name]), tuple(load_exits(one.attempt))
        saved = saved_checkpoints(one)
        return Snapshot(
            experiment=one.name,
            now=self.now,
            attempt=one.attempt.number,
            truth=self.truths[one.job.job_id],
            superseded_by=superseded_by(one.attempt),
            paused_by=one.paused_by(),
            beats=beats,
            silent=one.name in self.silent,
            exits=exits,
            curves=curves,
            config=record.config if record else {},
            changes=changes,
            before=_curves(one, one.folder.attempt(changed), read_curves, degraded) if changed else Curves(),
            past=past_of(one, self.truths, self.usage, now=self.now),
            degraded=tuple(degraded),
            step=_last_step(curves, beats, exits, _own(one.attempt, record, saved)),
            signature=_signature(exits),
            resumable=bool(saved),
            takes_weights=one.experiment.checkpoint is not None and one.experiment.checkpoint.weights is not None,
            request=one.experiment.request(one.plan(one.attempt.number).directives),
        )

    def after(self, one: Supervised) -> Look:
        """The same look once this experiment has had its turn: what it has submitted since counts for all others."""
        submissions = len(read_ledger(one.folder.ledger).of_kind("trying")) - len(one.ledger.of_kind("trying"))
        if not submissions:
            return self
        ended = one.job is not None and self.truths[one.job.job_id].phase == "ended"  # else it only takes its place
        return replace(self, usage=self.usage.plus(live=int(ended), submissions=submissions))

    def renew(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot of this look, with what this user has alive and has submitted by now."""
        usage = self.usage
        past = replace(snapshot.past, live_attempts=usage.live_attempts, recent_submissions=usage.recent_submissions)
        return replace(snapshot, past=past)


def look(
    supervised: Sequence[Supervised],
    open_scheduler: Callable[[str], Observer],
    *,
    second_look: bool = True,
    others: Sequence[Supervised] = (),
) -> Look:
    """Ask each scheduler once for the jobs of all experiments, and read all heartbeats.

    second_look: read stale heartbeats again after a beat should have come, all at once, which takes up to 45 s.
    others: experiments that are not looked at, but whose jobs and submissions count for the caps of the site.
    """
    truths: dict[str, JobTruth] = {}
    degraded: dict[str, tuple[str, ...]] = {}
    everybody = [*supervised, *others]
    for kind in sorted({one.scheduler for one in everybody}):
        jobs = [job for one in everybody if one.scheduler == kind for job in one.jobs]
        seen = _ask(kind, jobs, open_scheduler)
        truths |= {job.job_id: _conclude(job, seen) for job in jobs}
        truths |= _failed_steps(kind, supervised, truths, open_scheduler)
        sources = (("queue", seen.queue), ("accounting", seen.accounting))
        degraded[kind] = tuple(f"{kind} {name}: {one.detail}" for name, one in sources if one.answer == "failed")
    now = time.time()
    charged = {one.name: one.attempt for one in supervised if one.attempt is not None}
    beats = {name: load_heartbeats(attempt) for name, attempt in charged.items()}
    silent = _second_look(charged, beats, now) if second_look else frozenset()
    return Look(now, truths, degraded, usage_of(everybody, truths, now=now), beats, silent)


def _ask(kind: str, jobs: Sequence[JobRef], open_scheduler: Callable[[str], Observer]) -> Observation:
    try:
        return open_scheduler(kind).observe(jobs)
    except AdeError as error:
        failed = Source("failed", str(error))
        return Observation(failed, failed, {})


def _failed_steps(
    kind: str,
    supervised: Sequence[Supervised],
    truths: Mapping[str, JobTruth],
    open_scheduler: Callable[[str], Observer],
) -> dict[str, JobTruth]:
    """The one follow-up of a tick: of jobs in charge that failed, the steps may say more."""
    mine = [one.job for one in supervised if one.scheduler == kind and one.job is not None]
    failed = [job for job in mine if (truths[job.job_id].phase, truths[job.job_id].state) == ("ended", "FAILED")]
    if not failed:
        return {}
    steps = open_scheduler(kind).steps(failed)
    return {job.job_id: with_steps(truths[job.job_id], steps.get(job.job_id, ())) for job in failed}


def _conclude(job: JobRef, seen: Observation) -> JobTruth:
    view = seen.jobs.get(job.job_id)
    return conclude(view, seen.queue, seen.accounting) if view else JobTruth("unknown", said_by="nobody answered")


def _second_look(
    attempts: Mapping[str, AttemptDir], first: Mapping[str, Sequence[Heartbeat]], now: float
) -> frozenset[str]:
    """The experiments whose heartbeat is old and whose counter did not move while we looked (invariant 2)."""
    stale = {name for name, beats in first.items() if beats and all(_is_old(beat, now) for beat in beats)}
    waits = {name: 1.5 * max(beat.interval_s for beat in first[name]) for name in stale}
    stale = {name for name in stale if waits[name] <= MAX_SECOND_LOOK_S and not _has_ended(attempts[name])}
    if not stale:
        return frozenset()
    time.sleep(max(waits[name] for name in stale))
    again = {name: load_heartbeats(attempts[name]) for name in stale}
    return frozenset(name for name in stale if _counters(again[name]) == _counters(first[name]))


def _is_old(beat: Heartbeat, now: float) -> bool:
    return now - beat.written_at > STALE_AFTER_BEATS * beat.interval_s


def _has_ended(attempt: AttemptDir) -> bool:
    exits = load_exits(attempt)
    return bool(exits) and exits[-1].final


def _counters(beats: Sequence[Heartbeat]) -> set[tuple[str, int, int]]:
    return {(beat.node, beat.restart, beat.counter) for beat in beats}


def saved_checkpoints(one: Supervised) -> list[Checkpoint]:
    """Everything that the attempt in charge could go on from; whether it is whole is asked when it is chosen."""
    checkpoint = one.experiment.checkpoint
    if checkpoint is None or one.attempt is None:
        return []
    folders = (one.attempt.start, one.attempt.checkpoints)
    return [found for folder in folders for found in list_checkpoints(folder, checkpoint.pattern)]


def _own(attempt: AttemptDir, record: AttemptRecord | None, saved: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Those whose step is the attempt's: one that took the weights alone of its parent has begun to count anew."""
    anew = record is not None and record.parent is not None and record.parent.weights_only
    return [one for one in saved if not (anew and one.path.is_relative_to(attempt.start))]


def _last_step(
    curves: Curves, beats: Sequence[Heartbeat], exits: Sequence[ExitRecord], saved: Sequence[Checkpoint]
) -> int | None:
    """How far the attempt has come, by whoever knows most: a writer buffers, and not every trainer logs."""
    steps = [int(one.steps[-1]) for one in curves.series.values() if len(one)]
    said = [beat.last_step for beat in beats] + [record.last_step for record in exits] + [one.step for one in saved]
    return max([*steps, *(step for step in said if step is not None)], default=None)


def _signature(exits: Sequence[ExitRecord]) -> str:
    """What makes two crashes the same one: the words that the node found, else how it ended."""
    last = exits[-1] if exits else None
    return (last.signature or f"{last.cause} {last.returncode}") if last else ""


def _curves(one: Supervised, attempt: AttemptDir, read_curves: ReadCurves, degraded: list[str]) -> Curves:
    try:
        return read_curves(one, attempt)
    except OSError as error:
        degraded.append(f"event files of {one.name}: {error.strerror}")
        return Curves()
