# SPDX-License-Identifier: Apache-2.0
"""Why is this job being asked to go? Handlers only note the signal; the question is answered in ordinary code.

Slurm uses TERM for scancel, for preemption and for an admin's requeue alike. What tells them apart is what Slurm says
at that moment (recorded on 22.05, 25.11 and 26.05): scancel and requeue say COMPLETING; preemption in its grace time
says RUNNING with a PreemptTime, which the requeue clears. A TERM while Slurm says RUNNING without one was sent by
somebody (``scancel -s TERM``, a site's reaper of idle GPUs), who wants the job to end.
"""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from types import FrameType

from ade_hpc.errors import SchedulerError
from ade_hpc.scheduler.environment import clean_env
from ade_hpc.scheduler.run import run

SCONTROL_TIMEOUT_S = 20.0


class Asked:
    """Notes the first signal that asked the job to go."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.at = 0.0
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)
        signal.signal(signal.SIGCONT, signal.SIG_IGN)  # Slurm sends CONT with TERM: no reason of its own

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self.at = number, time.time()


@dataclass(frozen=True)
class SlurmState:
    """``scontrol show job``: the two fields that tell the reasons apart. Empty where Slurm did not answer."""

    job_state: str = ""
    preempted: bool = False


def ask_slurm(job_id: str) -> SlurmState:
    try:
        answer = run(["scontrol", "show", "job", "-o", job_id], timeout=SCONTROL_TIMEOUT_S, env=clean_env(os.environ))
    except SchedulerError:
        return SlurmState()
    # The job's name is our own token, so no user text stands before JobState
    state = re.search(r" JobState=([A-Z_]+)", answer.stdout)
    preempt = re.search(r" PreemptTime=(\S+)", answer.stdout)
    return SlurmState(state[1] if state else "", preempt is not None and preempt[1] != "None")


def requeue(job_id: str) -> str:
    """Ask Slurm to queue this job again; returns what went wrong, or an empty string."""
    try:
        answer = run(["scontrol", "requeue", job_id], timeout=SCONTROL_TIMEOUT_S, env=clean_env(os.environ))
    except SchedulerError as error:
        return str(error)
    return answer.stderr.strip() if answer.returncode else ""


def cause_of(asked: int, state: SlurmState, slurm: bool) -> str:
    """time-limit, preempted or cancelled. Where Slurm did not answer, the signal alone decides."""
    if slurm and state.job_state == "RUNNING" and state.preempted:
        return "preempted"
    return "time-limit" if slurm and asked == signal.SIGUSR2 and state.job_state in ("RUNNING", "") else "cancelled"
