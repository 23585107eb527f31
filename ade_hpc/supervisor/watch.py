# SPDX-License-Identifier: Apache-2.0
"""Watch: the verdict on a job that ade-hpc did not submit, and on its curves. It looks, and does nothing.

There is no sidecar and no exit record here: queue and accounting say whether the job lives, and its event files whether
it gets anywhere. What the built-in answers would do is said, as the first step of trust.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ade_hpc.errors import UsageError
from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.detect import diagnose as judge_curves
from ade_hpc.metrics.detect import find
from ade_hpc.metrics.event_files import event_files
from ade_hpc.metrics.objective import guess
from ade_hpc.metrics.series import Curves
from ade_hpc.model import Finding, Health, JobRef, JobTruth, Observation, Proposal
from ade_hpc.policy.answers import answer
from ade_hpc.policy.health import STALL_FLOOR_S, is_trouble, judge_watched
from ade_hpc.policy.snapshot import Past, Snapshot
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.scheduler.parse import JOB_ID
from ade_hpc.scheduler.states import conclude, explain_reason, with_steps
from ade_hpc.spec.preference_fields import Objective

SCHEMA = 1
EVERY_S = 60.0
CLEAN, DEGRADED, PERSON_NEEDED = 0, 3, 4


@dataclass(frozen=True, eq=False)
class Sight:
    """What one look at a job showed. would: what ade-hpc would do about it, None where nothing."""

    job_id: str
    snapshot: Snapshot
    health: Health
    findings: tuple[Finding, ...]
    curves: dict[str, Any]
    would: Proposal | None

    @property
    def code(self) -> int:
        """3 where a source did not answer, 4 where a person should look, else 0."""
        if self.snapshot.degraded or self.health.verdict == "unknown":
            return DEGRADED
        failing = is_trouble(self.health) or any(one.severity == "intervene" for one in self.findings)
        return PERSON_NEEDED if failing or self.would is not None else CLEAN


def look(job_id: str, logdir: Path, scheduler: Scheduler, objective: Objective | None) -> Sight:
    """One queue query, one accounting query (and the steps, if it failed), and the event files below ``logdir``.

    Raises UsageError for what can't be a job id, or no folder.
    """
    job = _job(job_id, logdir)
    return _sight(job, scheduler.observe([job]), scheduler, objective)


def follow(
    job_id: str, logdir: Path, scheduler: Scheduler, objective: Objective | None, *, every_s: float = EVERY_S
) -> Iterator[Sight]:
    """A look every minute, until the job has ended.

    The first look asks the queue and accounting and counts for two; from then on they are asked in turn, so that no
    minute costs more than one call (invariant 9).
    """
    job = _job(job_id, logdir)
    seen, turn = scheduler.observe([job]), 0
    yield (sight := _sight(job, seen, scheduler, objective))
    while sight.health.verdict != "ended":
        time.sleep(every_s if turn else 2 * every_s)
        seen, turn = scheduler.glance([job], seen, turn), turn + 1
        yield (sight := _sight(job, seen, scheduler, objective))


def _job(job_id: str, logdir: Path) -> JobRef:
    if not JOB_ID.fullmatch(job_id):
        raise UsageError(f"{job_id!r} is no job id: give the number that sbatch printed, as 1234 or 1234_5")
    if not logdir.is_dir():
        raise UsageError(f"{logdir}: is no folder; give the one that the job's TensorBoard events go to")
    return JobRef(job_id, "", logdir)


def _sight(job: JobRef, seen: Observation, scheduler: Scheduler, objective: Objective | None) -> Sight:
    truth, degraded = _truth(job, seen, scheduler)
    curves = collect([job.attempt_dir])
    snapshot = Snapshot(
        experiment=f"job {job.job_id}",
        now=time.time(),
        attempt=1,
        truth=truth,
        curves=curves,
        past=Past(attempts=1),
        degraded=degraded,
        step=max((int(one.steps[-1]) for one in curves.series.values() if len(one)), default=None),
        resumable=True,  # nobody told us where its checkpoints are, and what its trainer can do with them
        takes_weights=True,
    )
    health = judge_watched(snapshot, _last_write(job.attempt_dir), stall_limit_s(curves))
    findings = find(curves, objective or guess(curves))
    would = answer(snapshot, health, findings, model=False)
    return Sight(job.job_id, snapshot, health, findings, judge_curves(curves, objective), would)


def as_json(sight: Sight) -> dict[str, Any]:
    """The answer of ``ade-hpc watch --json``; times are POSIX seconds."""
    truth, health, now = sight.snapshot.truth, sight.health, sight.snapshot.now
    sources = [{"source": one.source, "said": one.said, "age_s": _age(one.at, now)} for one in health.witnesses]
    would = sight.would
    return {
        "schema": SCHEMA,
        "job_id": sight.job_id,
        "health": health.verdict,
        "cause": health.cause,
        "domain": health.domain,
        "detail": health.detail,
        "sources": sources,
        "state": truth.state,
        "reason": explain_reason(truth.reason)[1] if truth.phase == "pending" and truth.reason else "",
        "nodes": truth.nodes,
        "restarts": truth.restarts,
        "elapsed_s": truth.elapsed_s,
        "starts_at": truth.start if truth.phase == "pending" else None,
        "step": sight.snapshot.step,
        **{key: sight.curves[key] for key in ("verdict", "findings", "objective", "notes")},
        "would": None if would is None else {"action": would.action, "answer": would.author, "reason": would.reason},
        "problems": list(sight.snapshot.degraded),
    }


def stall_limit_s(curves: Curves) -> float:
    """The silence that this log's own past makes unusual: three times its longest usual gap, at least 240 s."""
    times = np.concatenate([np.zeros(0), *(one.wall_times for one in curves.series.values())])
    gaps = np.diff(np.unique(times[np.isfinite(times)]))
    return max(STALL_FLOOR_S, 3 * float(np.quantile(gaps, 0.99))) if len(gaps) else STALL_FLOOR_S


def _truth(job: JobRef, seen: Observation, scheduler: Scheduler) -> tuple[JobTruth, tuple[str, ...]]:
    truth = conclude(seen.jobs[job.job_id], seen.queue, seen.accounting)
    if (truth.phase, truth.state) == ("ended", "FAILED"):
        truth = with_steps(truth, scheduler.steps([job]).get(job.job_id, ()))
    sources = (("queue", seen.queue), ("accounting", seen.accounting))
    return truth, tuple(f"{name}: {one.detail}" for name, one in sources if one.answer == "failed")


def _last_write(logdir: Path) -> float | None:
    """When the newest event file was written last; None where there is none."""
    times = []
    for found in event_files(logdir):
        try:
            times.append(found.path.stat().st_mtime)
        except OSError:
            continue  # rotated away meanwhile
    return max(times, default=None)


def _age(at: float | None, now: float) -> float | None:
    return None if at is None else max(0.0, now - at)
