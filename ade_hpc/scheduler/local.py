# SPDX-License-Identifier: Apache-2.0
"""The embedded default: jobs as processes of this machine, behind the same Protocol.

A job outlives whoever submitted it (a session of its own, no terminal), and any later process can ask for it, wait
for it and end it: everything is in the attempt's folder and in ``/proc``. Resources are not managed: directives are
left out, and all jobs run at once unless they depend on one another.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ade_hpc.errors import SchedulerError, SubmitRefused, SubmitUnclear
from ade_hpc.model import JobView, Lookup, Observation, Source
from ade_hpc.scheduler.environment import clean_env
from ade_hpc.scheduler.local_job import LocalJob, describe, folder, load
from ade_hpc.scheduler.process import PROC
from ade_hpc.scheduler.run import PRIVATE_UMASK
from ade_hpc.scheduler.script import LOGS, NAME
from ade_hpc.store.files import create_exclusive, private_dir, read_json, write_atomic, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ade_hpc.model import JobRef, StepRow, Submission

RUNNER = "ade_hpc.scheduler.local_runner"
START_S = 20.0  # a Python that starts from a slow disk
CLAIM_S = 20.0
SETTLE_S = 5.0  # a job that is just being started is seen in /proc
LOG = "local.out"
# Under Slurm slurmd sets these on the node; here the user's own choice of a device counts
DEVICES = frozenset({"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"})


class LocalScheduler:
    """Jobs as detached processes. ``command`` with the attempt's folder behind it starts the payload."""

    kind: Literal["local"] = "local"
    settle_s = SETTLE_S

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    def script(self, job: Submission) -> str:
        if not NAME.fullmatch(job.name):
            raise SubmitRefused(f"{job.name!r} can't be a job name: use letters, digits, dots, dashes and underscores")
        command = shlex.join([*self._command, str(job.attempt_dir)])
        return "\n".join(["#!/bin/bash", *job.setup, f"exec {command}", ""])

    def submit(self, job: Submission) -> str:
        """As in the Protocol. An attempt has one job for good: a second submission returns the first one's id."""
        text = self.script(job)
        try:
            private_dir(folder(job.attempt_dir))
            private_dir(job.attempt_dir / LOGS)
            if load(job.attempt_dir) is None:
                write_atomic(folder(job.attempt_dir) / "job.sh", text.encode())
                write_json(folder(job.attempt_dir) / "request.json", _request(job))
                _start_runner(job.attempt_dir)
        except OSError as error:
            raise SchedulerError(f"no job could be started in {job.attempt_dir}: {error.strerror}") from error
        return _await_claim(job)

    def find(self, name: str, since: float) -> Lookup:
        """Live jobs of this name, from ``/proc``. One that ended is not found; to submit it again returns its id."""
        found = []
        for attempt_dir, is_runner in _running_attempts():
            job = load(attempt_dir)
            if job is not None and job.name == name and job.here and job.process.is_alive():
                found.append(job.job_id)
            elif job is None and is_runner and _asked_name(attempt_dir) == name:
                return Lookup(answered=False, detail=f"a job is just being started in {attempt_dir}")
        return Lookup(answered=True, jobs=tuple(dict.fromkeys(found)))

    def observe(self, jobs: Sequence[JobRef]) -> Observation:
        return Observation(Source("answered"), Source("answered"), {job.job_id: _view(job) for job in jobs})

    def steps(self, jobs: Sequence[JobRef]) -> Mapping[str, tuple[StepRow, ...]]:
        """A local job has no steps."""
        return {}

    def glance(self, jobs: Sequence[JobRef], before: Observation | None, turn: int) -> Observation:
        return self.observe(jobs)

    def cancel(self, job: JobRef) -> None:
        """TERM now; whoever looks at the job after CANCEL_GRACE_S seconds sends KILL."""
        found = _claimed_by(job)
        if found is None:
            return
        if not found.here:
            raise SchedulerError(f"job {job.job_id} was started on {found.host}: cancel it there")
        if found.process.is_alive():
            create_exclusive(folder(job.attempt_dir) / "cancel.json", json.dumps({"time": time.time()}).encode())
            found.process.send(signal.SIGTERM)


def _claimed_by(job: JobRef) -> LocalJob | None:
    """The attempt's job, if it is the one that is asked for."""
    found = load(job.attempt_dir)
    return found if found is not None and found.job_id == job.job_id else None


def _view(job: JobRef) -> JobView:
    try:
        found = _claimed_by(job)
        return JobView(job.job_id) if found is None else describe(found)
    except OSError:
        return JobView(job.job_id)  # known to nobody: the folder can't be read now


def _request(job: Submission) -> dict[str, object]:
    after = None if job.after is None else {"job_id": job.after.job_id, "attempt_dir": str(job.after.attempt_dir)}
    return {"name": job.name, "after": after}


def _asked_name(attempt_dir: Path) -> object:
    return (read_json(folder(attempt_dir) / "request.json") or {}).get("name")


def _start_runner(attempt_dir: Path) -> None:
    """Start the runner, which forks into the background at once. Raises SchedulerError where it can't run."""
    log = os.open(attempt_dir / LOGS / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        runner = subprocess.Popen(
            [sys.executable, "-P", "-m", RUNNER, str(attempt_dir)],
            env=_job_env(os.environ),
            cwd=attempt_dir,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=PRIVATE_UMASK,
        )
    finally:
        os.close(log)
    try:
        code = runner.wait(START_S)
    except subprocess.TimeoutExpired:
        raise SubmitUnclear(f"the runner of {attempt_dir} takes more than {START_S:g} s to start") from None
    if code != 0:
        raise SchedulerError(f"the runner could not start: see {attempt_dir / LOGS / LOG}")


def _await_claim(job: Submission) -> str:
    until = time.monotonic() + CLAIM_S
    while (found := load(job.attempt_dir)) is None and time.monotonic() < until:
        time.sleep(0.01)
    if found is None:
        raise SubmitUnclear(f"no job has claimed {job.attempt_dir} within {CLAIM_S:g} s; it may still do so")
    if found.name != job.name:
        raise SubmitRefused(f"{job.attempt_dir} has a job already, {found.name}: submit a new attempt")
    return found.job_id


def _running_attempts() -> Iterator[tuple[Path, bool]]:
    """Attempts that a process of this user has as its last argument, and whether that process is a runner."""
    for entry in PROC.iterdir():
        with contextlib.suppress(OSError):
            if not entry.name.isdigit() or entry.stat().st_uid != os.getuid():
                continue
            words = (entry / "cmdline").read_text(errors="surrogateescape").split("\0")[:-1]
            if words and words[-1].startswith("/") and folder(Path(words[-1])).is_dir():
                yield Path(words[-1]), RUNNER in words


def _job_env(environ: Mapping[str, str]) -> dict[str, str]:
    return {**clean_env(environ), **{key: value for key, value in environ.items() if key in DEVICES}}
