# SPDX-License-Identifier: Apache-2.0
"""Carry out a plan: commit, freeze, submit, record, see the old job off. Every step can be done again.

The order is invariant 1's: mkdir, intent, commit, snapshot, record, `trying`, sbatch with its dependency, fact,
tombstone on the old attempt, scancel, fact. A process killed anywhere leaves an open intent, and `carry_out` with the
same plan finishes the story. Until the attempt's record stands there can be no job, and commit and snapshot are made
anew; from then on what was frozen is what runs, whatever has become of checkout, branch and image. Once `trying` is in
the ledger there may be a job: it is looked for by its unique name before another is submitted, and nothing but the
proof that there is none lets an error close the intent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ade_hpc.errors import AdeError, AttemptExists, SchedulerSilent, StoreError, SubmitRefused, SubmitUnclear
from ade_hpc.launch.freeze import commit_plan, freeze_attempt
from ade_hpc.launch.lineage import job_of
from ade_hpc.launch.plan import Plan, fact
from ade_hpc.model import JobRef, Submission
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.spec.experiment import Experiment
from ade_hpc.spec.site import Site
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.ledger import Ledger, append, read_ledger
from ade_hpc.store.records import (
    ended_itself,
    for_good,
    load_attempt,
    load_exits,
    load_heartbeats,
    owner_of,
    save_attempt,
    supersede,
    superseded_by,
)


def _silent(step: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Launcher:
    """Everything that a plan needs to become a job.

    announce: told ``NAME:before`` and ``NAME:after`` at each boundary: progress for people, kill points for tests.
    """

    experiment_dir: ExperimentDir
    experiment: Experiment
    site: Site
    scheduler: Scheduler
    announce: Callable[[str], None] = field(default=_silent)

    def begin(self, plan: Plan) -> None:
        """Claim the attempt and write the intent. Raises AttemptExists where somebody else was first."""
        with self._step("mkdir"):
            self.experiment_dir.claim_attempt(plan.attempt)
        self._bury_unannounced(plan.attempt)
        with self._step("intent"):
            self._record("intent", plan.to_json())

    def carry_out(self, plan: Plan) -> str:
        """From intent to job; returns the job id. May be called again for the same plan after any interruption.

        Raises SubmitUnclear or SchedulerSilent where the intent stays open for a later call. Any other AdeError closes
        it as refused, and says why, if it comes from what has to be done before there is a job.
        """
        job_id = self._submitted(plan) or self._submit(plan)
        if plan.replaces is not None:
            self._see_off(plan, self.experiment_dir.attempt(plan.replaces))
        return job_id

    def submission(self, plan: Plan) -> Submission:
        """The plan as its scheduler sees it."""
        directives = {
            **self.experiment.request(plan.directives).options,
            "signal": f"USR2@{int(self.experiment.signal_delay_s)}",
        }
        old = self.job_of(plan.replaces) if plan.replaces is not None else None
        return Submission(
            name=plan.token,
            attempt_dir=self._attempt(plan).path,
            directives=directives,
            setup=self.experiment.setup,
            skip=self.experiment.skip,
            after=old,
        )

    def job_of(self, number: int) -> JobRef | None:
        return job_of(self.experiment_dir, self._ledger(), number)

    # --- the steps ---

    def _submitted(self, plan: Plan) -> str | None:
        done = fact(self._ledger(), "submitted", plan.attempt)
        return str(done.data["job_id"]) if done else None

    def _submit(self, plan: Plan) -> str:
        if fact(self._ledger(), "trying", plan.attempt) is None:
            with self._or_refused(plan):
                self._freeze(plan)
        job_id = self._find(plan)
        if job_id is None:
            with self._or_refused(plan):
                job_id = self._sbatch(plan)
        self._record_job(plan, job_id)
        return job_id

    def _freeze(self, plan: Plan) -> None:
        """Once for an attempt: what is on record is not looked at again."""
        if load_attempt(self._attempt(plan)) is not None:
            return
        with self._step("commit"):
            commit = commit_plan(self.experiment_dir, self.experiment, plan)
        with self._step("snapshot"):
            record = freeze_attempt(self.experiment_dir, self.experiment, self.site, plan, commit)
        with self._step("record"):
            save_attempt(self._attempt(plan), record)

    def _record_job(self, plan: Plan, job_id: str) -> None:
        frozen = load_attempt(self._attempt(plan))
        data = {"attempt": plan.attempt, "job_id": job_id, "commit": frozen.commit if frozen else ""}
        try:
            with self._step("fact"):
                self._record("submitted", data)
        except StoreError as error:
            raise SubmitUnclear(
                f"attempt {plan.attempt} is job {job_id}, but that could not be put on record: {error}"
            ) from error

    def _find(self, plan: Plan) -> str | None:
        """A job of this plan that an earlier try left behind. "Not there" is proof only after the time to settle."""
        owner = owner_of(self._attempt(plan))
        tried = fact(self._ledger(), "trying", plan.attempt)
        if owner or tried is None:
            return owner
        found = self.scheduler.find(plan.token, tried.time)
        if not found.answered:
            raise SchedulerSilent(f"the queue does not answer ({found.detail}): attempt {plan.attempt} is left open")
        if not found.jobs and time.time() - tried.time < self.scheduler.settle_s:
            raise SubmitUnclear(f"attempt {plan.attempt} may still appear in the queue; the next tick will look again")
        return found.jobs[0] if found.jobs else None

    def _sbatch(self, plan: Plan) -> str:
        by = superseded_by(self._attempt(plan))
        if by is not None:
            how = "cancelled" if for_good(by) else f"superseded by {by}"
            raise AttemptExists(f"attempt {plan.attempt} was {how} before it was submitted")
        with self._step("trying"):
            self._record("trying", {"attempt": plan.attempt})
        try:
            with self._step("sbatch"):
                return self.scheduler.submit(self.submission(plan))
        except SubmitRefused as refusal:
            found = self.scheduler.find(plan.token, time.time() - 60)
            if not found.answered:
                raise SubmitUnclear(f"{refusal} (and the queue does not answer)") from refusal
            if found.jobs:
                return found.jobs[0]  # the client failed after the controller had admitted the job
            raise

    def _see_off(self, plan: Plan, old: AttemptDir) -> None:
        if fact(self._ledger(), "replaced", plan.attempt):
            return
        with self._step("tombstone"):
            supersede(old, f"attempt {plan.attempt}")
        job = self.job_of(old.number)
        with self._step("scancel"):
            # A job whose trainer has come to its end is ending too, and it may be the one that runs this very tick
            if job is not None and ended_itself(load_heartbeats(old), load_exits(old)) is None:
                self.scheduler.cancel(job)
        with self._step("replaced"):
            self._record(
                "replaced", {"attempt": plan.attempt, "old": old.number, "job_id": job.job_id if job else None}
            )

    @contextmanager
    def _or_refused(self, plan: Plan) -> Iterator[None]:
        """What fails in here leaves no job, unless it says so. The intent is closed, and should a job of this attempt
        come late it must find a tombstone. The old job is left alone."""
        try:
            yield
        except (SchedulerSilent, SubmitUnclear):
            raise
        except AdeError as error:
            supersede(self._attempt(plan), "its own refusal")
            self._record("refused", {"attempt": plan.attempt, "message": str(error)})
            raise

    def _bury_unannounced(self, number: int) -> None:
        """An attempt folder without an intent is a submission that died between mkdir and intent, or one that is
        at that very place now: the tombstone keeps its job from ever passing the fence."""
        announced = {entry.data.get("attempt") for entry in self._ledger().of_kind("intent")}
        for other in self.experiment_dir.attempts():
            if other.number < number and other.number not in announced:
                supersede(other, f"attempt {number}")

    # --- small helpers ---

    def _attempt(self, plan: Plan) -> AttemptDir:
        return self.experiment_dir.attempt(plan.attempt)

    def _ledger(self) -> Ledger:
        return read_ledger(self.experiment_dir.ledger)

    def _record(self, kind: str, data: dict[str, Any]) -> None:
        append(self.experiment_dir.ledger, kind, data, now=time.time())

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self.announce(f"{name}:before")
        yield
        self.announce(f"{name}:after")
