# SPDX-License-Identifier: Apache-2.0
"""One start of an attempt, from the fence to the final exit record.

The shape that passed on real Slurm: handlers only set a reason; the main loop polls; on a reason a *provisional*
exit record first (the job may be killed at any time from then on), then the declared signal to the trainer, and only
then the question to Slurm, which may take all the time that is left; the final record; a requeue only if the reason is
ours, Slurm says RUNNING and there is no tombstone, because a requeue after scancel brings the job back from the dead.
What the trainer died of, or was ended for, is found out here, beside it; with the fast path the job then asks for a
tick as its last act (fastpath.py).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ade_hpc.errors import AdeError, StoreError
from ade_hpc.job import evidence, fastpath, fence, lastwords
from ade_hpc.job.budget import over_gpu_hours
from ade_hpc.job.further import Standing, storm_before
from ade_hpc.job.identity import JobIdentity, identify
from ade_hpc.job.image import wrong_image
from ade_hpc.job.launchline import LaunchLine, build_launch_line
from ade_hpc.job.mishap import no_space, say
from ade_hpc.job.sidecar import Fault, Sidecar
from ade_hpc.job.signals import Asked, SlurmState, ask_slurm, cause_of, requeue
from ade_hpc.job.trainer import NOT_STARTED, Trainer
from ade_hpc.model import ExitRecord
from ade_hpc.spec.experiment import Experiment
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.pause import paused_by
from ade_hpc.store.records import (
    ENDED_ITSELF,
    SCHEMA,
    AttemptRecord,
    load_attempt,
    owner_of,
    save_exit,
    save_fenced_exit,
)
from ade_hpc.store.service import Service

POLL_S = 0.2
TOMBSTONE_EVERY_S = 1.0
SAME_SIGNAL_S = 0.5
CANCEL_GRACE_S = 8.0  # Slurm's KillWait and the local scheduler's grace end it anyway; this is for a plain TERM


def run_start(attempt: AttemptDir, environ: Mapping[str, str]) -> int:
    """Run one start; returns the exit code of the job. Raises StoreError where there is no such attempt."""
    job = identify(environ)
    record = load_attempt(attempt)
    if record is None:
        raise StoreError(f"{attempt.record}: is missing or damaged: submit the experiment again")
    start = _Start(attempt, job, record)
    code = start.run(environ)
    ended_itself = start.exit.final and start.exit.cause in ENDED_ITSELF and start.asked.signal is None
    if record.fast_path is not None and job.leader and ended_itself:
        say(fastpath.ask_for_tick(attempt.experiment, record.fast_path, environ))
    return code


class _Start:
    def __init__(self, attempt: AttemptDir, job: JobIdentity, record: AttemptRecord) -> None:
        self.attempt = attempt
        self.job = job
        self.record = record
        self.experiment = Experiment.from_json(dict(record.spec))
        self.asked = Asked()
        floor_s = self.experiment.stall_floor_s
        self._fence = fence.Lookout(attempt, job, record.heartbeat_interval_s)
        self.sidecar = Sidecar(attempt, job, record.heartbeat_interval_s, floor_s, record.fast_path)
        self._standing = Standing(attempt, job, self.experiment, self.sidecar)
        self.log = evidence.Log.of(attempt)
        self.exit = ExitRecord(
            SCHEMA, job.job_id, attempt.number, job.restart, job.node, "running", 0, False, time.time()
        )

    def run(self, environ: Mapping[str, str]) -> int:
        try:
            ready = self._prepare(environ)
        except (AdeError, OSError) as error:
            return self._unable(error)
        return ready if isinstance(ready, int) else self._supervise(ready)

    # --- before the trainer ---

    def _prepare(self, environ: Mapping[str, str]) -> LaunchLine | int:
        """Pass the fence; returns what to run, or the exit code of a start that may not run.

        Raises AdeError or OSError where a folder can't be read or written.
        """
        fenced = fence.refuse_at_fence(self.attempt, self.job, self.sidecar.show)
        if fenced is not None:
            return self._fenced(fenced)
        for older in fence.bury_predecessors(self.attempt):
            fence.wait_for_end(older, self.record.heartbeat_interval_s, self._must_go)
        fence.wait_for_end(self.attempt, self.record.heartbeat_interval_s, self._must_go, before=self.job.restart)
        if self._must_go():
            return self._finish(self._why_gone(), 1)
        cause, wrong = wrong_image(self.record.image)
        if cause:
            return self._finish(cause, 1, wrong)
        storm = storm_before(self.attempt, self.job)
        if storm:
            return self._finish("preempted", 0, f"not started again: {storm}")
        return build_launch_line(self.attempt, self.job, self.record, self.experiment, environ)

    def _unable(self, error: AdeError | OSError) -> int:
        """It failed before there was a trainer: say of what, unless the attempt is another job's."""
        if owner_of(self.attempt) not in (None, self.job.job_id):
            raise error
        return self._finish("disk-full" if no_space(error) else "failed", 1, str(error))

    def _fenced(self, why: str) -> int:
        """A job that must not run ends with 0: it did nothing, and Slurm should not run it again."""
        record = replace(self.exit, cause="fenced", final=True, detail=why, ended_at=time.time())
        save_fenced_exit(self.attempt, record)
        return 0

    def _must_go(self) -> bool:
        return self.asked.signal is not None or self._is_over()

    def _is_over(self) -> bool:
        """Another attempt, or a later start of this job, has taken over, or may have: the fence is out of sight."""
        return bool(self._fence.closed())

    def _why_gone(self) -> str:
        return self._fence.closed() or "cancelled"

    # --- with the trainer ---

    def _supervise(self, line: LaunchLine) -> int:
        self._standing.begin(line.began)
        try:
            record = self.attempt.trainer if self.job.leader else None
            evidence.forget_stacks(self.attempt)
            trainer = Trainer.start(line.argv, env=line.env, cwd=line.cwd, pass_fds=line.pass_fds, record=record)
        except OSError as error:
            return self._finish("command-missing", NOT_STARTED, f"{line.argv[0]}: {error.strerror}")
        finally:
            for descriptor in line.pass_fds:
                os.close(descriptor)
        self.exit = replace(self.exit, trainer_started_at=trainer.started_at)
        self.sidecar.watch(trainer.pid, trainer.started_at, line.tensorboard)
        end = self._watch(trainer)
        if isinstance(end, Fault):
            code = self._end_faulty(trainer, end)
        elif end is None or (end > 128 and self._was_asked_too()):
            code = self._interrupt(trainer)
        else:
            code = self._ended(trainer, end)
        return code

    def _watch(self, trainer: Trainer) -> int | Fault | None:
        """Until the trainer ends (its code), is at fault and may be ended for it, or the job is asked to go (None)."""
        next_look = 0.0
        while (code := trainer.poll()) is None:
            if self.asked.signal is not None:
                return None
            if time.monotonic() >= next_look:
                if self._is_over():
                    return None
                fault = self._look()
                if fault is not None and self._may_end():
                    return fault
                next_look = time.monotonic() + TOMBSTONE_EVERY_S
            time.sleep(POLL_S)
        return code

    def _look(self) -> Fault | None:
        try:
            return self.sidecar.look()
        except Exception as error:  # noqa: BLE001 - a fault of the sidecar's own must never harm the trainer
            say(f"the sidecar could not look ({type(error).__name__}: {error})")
            return None

    def _may_end(self) -> bool:
        """A run that is paused is only watched, whatever becomes of it."""
        fast = self.record.fast_path
        if fast is None or not fast.ends:
            return False
        try:
            return not paused_by(self.attempt.experiment, (Service(Path(fast.registry)).hold,))
        except (AdeError, OSError):
            return False  # whether it is paused can't be read now

    def _ended(self, trainer: Trainer, code: int) -> int:
        """It ended by itself."""
        trainer.sweep()
        if code == 0:
            return self._finish("completed", 0)
        words = self.log.last_words()
        cause, signature = lastwords.diagnose(code, words, self.sidecar.oom_kills)
        return self._finish(
            cause, code, signature=signature, evidence=evidence.save_evidence(self.attempt, self.job, words)
        )

    def _end_faulty(self, trainer: Trainer, fault: Fault) -> int:
        """End a trainer that gets nowhere: ask for its stacks, TERM, KILL. The declared signal would save poison."""
        stacks = self._stacks(trainer)
        code = trainer.end() or 1
        trainer.sweep()
        kept = evidence.save_evidence(self.attempt, self.job, self.log.last_words(), stacks)
        return self._finish(fault.cause, code, fault.detail, signature=fault.cause, evidence=kept, fault=fault)

    def _stacks(self, trainer: Trainer) -> str:
        fault = self.sidecar.fault
        stalled = fault is not None and fault.cause == "stalled"
        return evidence.ask_for_stacks(self.attempt, trainer.pid) if stalled else ""

    def _was_asked_too(self) -> bool:
        """Did the signal that ended the trainer come to us as well? Where Slurm signals the whole process tree
        (proctrack/linuxproc), the trainer may have died of it before we saw ours."""
        until = time.monotonic() + SAME_SIGNAL_S
        while not self._must_go() and time.monotonic() < until:
            time.sleep(POLL_S)
        return self._must_go()

    def _interrupt(self, trainer: Trainer) -> int:
        """The job is asked to go: say so on disk, tell the trainer, ask why, say how it ended, queue again if right."""
        fault = self.sidecar.fault
        closed = self._fence.closed()
        if closed:
            stacks = self._stacks(trainer)
            code = trainer.end()
            trainer.sweep()
            kept = evidence.save_evidence(self.attempt, self.job, self.log.last_words(), stacks) if fault else ""
            return self._finish(closed, code, evidence=kept, fault=fault)
        asked = self.asked.signal or signal.SIGTERM
        self._save(replace(self.exit, cause=cause_of(asked, SlurmState(), self.job.slurm), final=False))
        told_at = self._tell(trainer)
        cause = cause_of(asked, ask_slurm(self.job.job_id), True) if self.job.slurm else "cancelled"
        self._save(replace(self.exit, cause=cause, final=False))
        code = trainer.end(told_at + self._grace_s(cause) - time.monotonic() if told_at is not None else 0.0)
        trainer.sweep()
        if code == 0:
            return self._finish("completed", 0)
        if not self._may_requeue(cause):
            return self._finish(cause, code, fault=fault)
        against = self._against_a_requeue(cause)
        return self._finish(cause, code, against, fault=fault) if against else self._requeue(cause, code)

    def _tell(self, trainer: Trainer) -> float | None:
        """Send the signal that `checkpoint.signal` declares; returns when, by the monotonic clock.

        Without one nothing is sent: then the last periodic checkpoint counts.
        """
        checkpoint = self.experiment.checkpoint
        if checkpoint is None or checkpoint.signal is None:
            return None
        trainer.tell(signal.Signals[checkpoint.signal].value)
        return time.monotonic()

    def _grace_s(self, cause: str) -> float:
        """Near the time limit the signal came early enough; a cancelled job has KillWait only."""
        return max(CANCEL_GRACE_S, self.experiment.signal_delay_s - 15) if cause == "time-limit" else CANCEL_GRACE_S

    def _may_requeue(self, cause: str) -> bool:
        if not (self.job.slurm and self.job.leader and cause in ("time-limit", "preempted")):
            return False
        return not self._is_over() and ask_slurm(self.job.job_id).job_state == "RUNNING"

    def _against_a_requeue(self, cause: str) -> str:
        """Why one more start is not for Slurm to give, or an empty string."""
        self._look()  # what it logged when it was told
        try:
            vain = self._standing.against_one_more(replace(self.exit, cause=cause))
            if vain:
                return f"not queued again: {vain}"
            return over_gpu_hours(self.attempt, self.record, since=self.exit.started_at)
        except (AdeError, OSError) as error:
            return f"not queued again: {error}"

    def _requeue(self, cause: str, code: int) -> int:
        self._finish(cause, code, requeued=True)
        problem = requeue(self.job.job_id)
        if problem:
            self._finish(cause, code, f"could not be queued again: {problem}")
        return 1

    # --- the record ---

    def _finish(
        self,
        cause: str,
        code: int,
        detail: str = "",
        *,
        requeued: bool = False,
        signature: str = "",
        evidence: str = "",
        fault: Fault | None = None,
    ) -> int:
        self._look()
        now = time.time()
        self.exit = replace(
            self.exit,
            cause=cause,
            returncode=code,
            final=True,
            ended_at=now,
            detail=detail,
            requeued=requeued,
            last_step=self.sidecar.last_step,
            further=self._standing.further(),
            signature=signature,
            evidence=evidence,
            burnt_s=round(max(0.0, now - fault.since), 1) if fault else None,
        )
        self._save(self.exit)
        if detail:
            say(f"{cause}: {detail}")
        return code

    def _save(self, record: ExitRecord) -> None:
        if not self.job.leader:
            return
        try:
            save_exit(self.attempt, record)
        except OSError as error:
            say(f"the exit record could not be written: {error.strerror}")
