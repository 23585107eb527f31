# SPDX-License-Identifier: Apache-2.0
"""Slurm behind the Protocol: ``sbatch``, ``squeue``, ``sacct``, ``scancel``, each bounded, in a clean environment."""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from ade_hpc.errors import SchedulerError, SchedulerSilent, SubmitRefused, SubmitUnclear
from ade_hpc.model import JobView, Lookup, Observation, Source
from ade_hpc.scheduler.environment import clean_env, query_env
from ade_hpc.scheduler.parse import (
    JOB_ID,
    SACCT_FORMAT,
    SEPARATOR,
    SQUEUE_FORMAT,
    parse_accounting,
    parse_job_ids,
    parse_queue,
    parse_steps,
)
from ade_hpc.scheduler.refusal import (
    NO_CONFIG,
    NO_CONFIG_ADVICE,
    NO_SUCH_JOB,
    SILENCE,
    is_unclear,
    own_words,
    what_to_change,
)
from ade_hpc.scheduler.run import find_program, run
from ade_hpc.scheduler.script import FOLDER, LOGS, NAME, script_text
from ade_hpc.store.files import private_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ade_hpc.model import AccountingRow, JobRef, QueueRow, StepRow, Submission
    from ade_hpc.scheduler.run import Completed

TIMEOUT_S = 30.0
MESSAGE_TIMEOUT_S = 10.0  # Slurm's default; within it slurmctld has taken a message or dropped it
SETTLE_MARGIN_S = 5.0
LOOK_BACK_S = 3600  # clocks of the submitter and of slurmdbd differ
ACCOUNTING_OFF = re.compile(r"accounting storage is disabled", re.IGNORECASE)

NOT_ASKED = Source("off", "not asked this time")
NO_JOBS = Observation(Source("answered"), Source("answered"), {})


class SlurmScheduler:
    """A cluster's Slurm, through its command line. Keeps no state: any process can ask about any job."""

    kind: Literal["slurm"] = "slurm"

    def __init__(
        self,
        payload: Callable[[Path], Callable[[], object]],
        *,
        timeout: float = TIMEOUT_S,
        python: str = sys.executable,
    ) -> None:
        """``payload`` makes the picklable object that runs on the compute node, from the attempt's folder alone."""
        self._payload = payload
        self._timeout = timeout
        self._python = python

    @cached_property
    def settle_s(self) -> float:
        """sbatch may send until it is stopped, and slurmctld may take the message until MessageTimeout later.

        The cluster is asked once, and only by who needs it.
        """
        try:
            config = self._query("scontrol", "show", "config").stdout
        except SchedulerError:
            config = ""
        match = re.search(r"^MessageTimeout\s*=\s*([0-9]{1,5})\b", config, re.MULTILINE)
        message_timeout = float(match[1]) if match else MESSAGE_TIMEOUT_S
        return self._timeout + message_timeout + SETTLE_MARGIN_S

    def script(self, job: Submission) -> str:
        return script_text(job, self._python)

    def submit(self, job: Submission) -> str:
        from ade_hpc.scheduler.executor import AttemptExecutor  # heavy, and only a submission needs it

        self.script(job)  # refuse what can't be written before anything is touched
        find_program("srun", clean_env(os.environ))  # submitit refuses to start without
        if job.after is not None and not self._is_live(job.after):
            job = replace(job, after=None)  # newer Slurm refuses to depend on a job that it has forgotten
        for folder in (FOLDER, LOGS):
            private_dir(job.attempt_dir / folder)
        try:
            executor = AttemptExecutor(job, self._python, self._sbatch)
            return str(executor.submit(self._payload(job.attempt_dir)).job_id)
        except OSError as error:
            raise SchedulerError(f"{job.attempt_dir}: can't be written: {error.strerror}") from error

    def find(self, name: str, since: float) -> Lookup:
        if not NAME.fullmatch(name):
            return Lookup(answered=True, detail=f"{name!r} can't be a job's name")
        queue, text = self._ask_queue("--states=all", "--name", name)
        if not queue.answered:
            return Lookup(answered=False, detail=queue.detail)
        rows, _ = parse_queue(text, parse_job_ids(text))
        admitted = [job_id for job_id, row in rows.items() if not _refused(row)]
        if admitted:
            return Lookup(answered=True, jobs=_sorted(admitted))
        return self._find_in_accounting(name, since)

    def _find_in_accounting(self, name: str, since: float) -> Lookup:
        """A job may have ended and left the queue before we looked."""
        seconds = max(0, int(time.time() - since)) + LOOK_BACK_S
        accounting, text = self._ask_accounting("--name", name, "--starttime", f"now-{seconds}seconds")
        if accounting.answer == "failed":
            return Lookup(answered=False, detail=accounting.detail)
        lives, _ = parse_accounting(text, parse_job_ids(text))
        admitted = [job_id for job_id, rows in lives.items() if not all(map(_refused, rows))]
        return Lookup(answered=True, jobs=_sorted(admitted), detail=accounting.detail)

    def observe(self, jobs: Sequence[JobRef]) -> Observation:
        asked = _asked(jobs)
        if not asked:
            return replace(NO_JOBS, jobs={job.job_id: JobView(job.job_id) for job in jobs})
        # The queue first: what it no longer lists cannot come back, so accounting, asked later, can only know more
        queue, queued = self._queued(asked)
        accounting, lives = self._lives(asked)
        views = {job.job_id: JobView(job.job_id, queued.get(job.job_id), lives.get(job.job_id, ())) for job in jobs}
        return Observation(queue, accounting, views)

    def glance(self, jobs: Sequence[JobRef], before: Observation | None, turn: int) -> Observation:
        """The queue and accounting in turn; the other half is as it was, and unknown of jobs that are new since."""
        asked = _asked(jobs)
        if not asked:
            return self.observe(jobs)
        before = before or Observation(NOT_ASKED, NOT_ASKED, {})
        if turn % 2 == 0:
            queue, queued = self._queued(asked)
            lives = {job_id: view.accounting for job_id, view in before.jobs.items()}
            views = {one: JobView(one, queued.get(one), lives.get(one, ())) for one in asked}
            return Observation(queue, before.accounting, views)
        accounting, found = self._lives(asked)
        views = {one: JobView(one, before.jobs[one].queue, found.get(one, ())) for one in asked if one in before.jobs}
        return Observation(before.queue, accounting, views)

    def steps(self, jobs: Sequence[JobRef]) -> Mapping[str, tuple[StepRow, ...]]:
        asked = _asked(jobs)
        return parse_steps(self._ask_accounting("--jobs", ",".join(asked), whole=False)[1], asked) if asked else {}

    def cancel(self, job: JobRef) -> None:
        if not (JOB_ID.fullmatch(job.job_id) and NAME.fullmatch(job.name)):
            raise SchedulerError(f"{job.job_id!r} ({job.name!r}) is no job of Slurm")
        # With the name, a wrong id in a damaged record can't hit another job
        answer = self._run(["scancel", f"--name={job.name}", job.job_id], clean_env(os.environ))
        if answer.returncode == 0 or NO_SUCH_JOB.search(answer.stderr):
            return
        if answer.returncode < 0 or SILENCE.search(answer.stderr):
            raise SchedulerSilent(f"job {job.job_id} may live on: {answer.words}")
        raise SchedulerError(f"job {job.job_id} could not be cancelled: {answer.words}")

    # --- the calls ---

    def _sbatch(self, argv: list[str]) -> str:
        """Run sbatch and return the job id; see ``Scheduler.submit`` for what it raises."""
        try:
            answer = self._run(argv, clean_env(os.environ))
        except SchedulerSilent as error:
            raise SubmitUnclear(f"{error}; the job may exist") from error
        if answer.returncode == 0:
            match = re.fullmatch(r"([0-9]{1,10})(;\S+)?", answer.stdout.strip())
            if match is None:
                raise SubmitUnclear(f"sbatch did not print a job id but {answer.words[:200]!r}; the job may exist")
            return match[1]
        if is_unclear(answer):
            raise SubmitUnclear(f"sbatch broke off ({own_words(answer)[:300] or 'no words'}); the job may exist")
        hint = what_to_change(answer, self._partitions)
        raise SubmitRefused(f"Slurm refused the job: {own_words(answer)}. {hint}".strip())

    def _is_live(self, job: JobRef) -> bool:
        """Does the queue list it among jobs that have not ended? Raises SchedulerSilent: nothing was submitted."""
        queue, text = self._ask_queue("--jobs", job.job_id)
        if not queue.answered:
            raise SchedulerSilent(f"nothing was submitted: {queue.detail}")
        return job.job_id in parse_queue(text, {job.job_id}, _asked([job]))[0]

    def _queued(self, asked: Mapping[str, str]) -> tuple[Source, dict[str, QueueRow]]:
        queue, text = self._ask_queue("--states=all", "--jobs", ",".join(asked))
        rows, notes = parse_queue(text, asked, asked)
        return noted(queue, notes), rows

    def _lives(self, asked: Mapping[str, str]) -> tuple[Source, dict[str, tuple[AccountingRow, ...]]]:
        accounting, text = self._ask_accounting("--jobs", ",".join(asked))
        rows, notes = parse_accounting(text, asked, asked)
        return noted(accounting, notes), rows

    def _ask_queue(self, *arguments: str) -> tuple[Source, str]:
        """Only this user's jobs: slurmctld then sends no others, and nobody else's job can bear our name."""
        options = ("--noheader", f"--format={SQUEUE_FORMAT}", f"--user={os.getuid()}")
        try:
            answer = self._query("squeue", *options, *arguments)
        except SchedulerError as error:
            return Source("failed", str(error)), ""
        # One unknown id alone is an error to squeue; two are not
        if answer.returncode == 0 or NO_SUCH_JOB.search(answer.stderr):
            return Source("answered"), answer.stdout
        return Source("failed", f"squeue: {answer.words}"), ""

    def _ask_accounting(self, *arguments: str, whole: bool = True) -> tuple[Source, str]:
        """whole: all lives of a job without their steps; else the last life with them."""
        which = ("--duplicates", "--allocations") if whole else ()
        options = (*which, "--parsable2", "--noheader", f"--user={os.getuid()}")
        try:
            answer = self._query("sacct", *options, f"--delimiter={SEPARATOR}", f"--format={SACCT_FORMAT}", *arguments)
        except SchedulerError as error:
            return Source("failed", str(error)), ""
        if answer.returncode == 0:
            return Source("answered"), answer.stdout
        return Source("off" if ACCOUNTING_OFF.search(answer.stderr) else "failed", f"sacct: {answer.words}"), ""

    def _partitions(self) -> str:
        """The partitions by name, for a message; empty where nobody answers."""
        try:
            return " ".join(self._query("sinfo", "--noheader", "--format=%R").stdout.split())
        except SchedulerError:
            return ""

    def _query(self, *argv: str) -> Completed:
        return self._run(argv, query_env(os.environ))

    def _run(self, argv: Sequence[str], env: Mapping[str, str]) -> Completed:
        """Raises SchedulerError where Slurm's commands don't know their cluster: then nothing was asked or sent."""
        answer = run(argv, timeout=self._timeout, env=env)
        if NO_CONFIG.search(answer.stderr):
            raise SchedulerError(NO_CONFIG_ADVICE)
        return answer


def _asked(jobs: Sequence[JobRef]) -> dict[str, str]:
    """The jobs' names by their ids; of several with one id the last is meant.

    A slurmctld that is killed before it has saved a job gives that job's id to the next one that is submitted.
    """
    return {job.job_id: job.name for job in jobs if JOB_ID.fullmatch(job.job_id)}


def _refused(row: QueueRow | AccountingRow) -> bool:
    """The row that a refused submission leaves behind: FAILED, and it never had a node.

    Should an admitted job ever look like this, it never ran and never will: to submit it again is right.
    """
    return row.state == "FAILED" and not row.nodes


def _sorted(job_ids: list[str]) -> tuple[str, ...]:
    return tuple(sorted(job_ids, key=lambda job_id: (len(job_id), job_id)))


def noted(source: Source, notes: list[str]) -> Source:
    """An answer, with what was odd about it."""
    return replace(source, detail="; ".join(notes[:3])) if source.answered and notes else source
