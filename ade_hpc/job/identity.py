# SPDX-License-Identifier: Apache-2.0
"""Who am I: the job, its restart and the node, from what Slurm (or the local scheduler) put into the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ade_hpc.errors import StoreError


@dataclass(frozen=True)
class JobIdentity:
    """One start of one task.

    restart: counts requeues (``SLURM_RESTART_COUNT``). leader: is it the node's first task; only that one writes
    heartbeats and exit records. tasks: of the whole step.
    """

    job_id: str
    restart: int
    node: str
    leader: bool
    tasks: int
    slurm: bool


def identify(environ: Mapping[str, str]) -> JobIdentity:
    """Raises StoreError outside of a job: a payload without a job id could not claim the fence."""
    slurm = environ.get("SLURM_JOB_ID", "")
    job_id = environ.get("ADE_JOB_ID", "") or slurm
    if not job_id:
        raise StoreError("this is not a job: neither SLURM_JOB_ID nor ADE_JOB_ID is set")
    node = environ.get("SLURMD_NODENAME") or os.uname().nodename
    return JobIdentity(
        job_id=job_id,
        restart=int(environ.get("SLURM_RESTART_COUNT") or 0),
        node=re.sub(r"[^A-Za-z0-9.-]", "_", node),  # it becomes a file name
        leader=environ.get("SLURM_LOCALID", "0") == "0",
        tasks=int(environ.get("SLURM_STEP_NUM_TASKS") or environ.get("SLURM_NTASKS") or 1),
        slurm=bool(slurm) and "ADE_JOB_ID" not in environ,
    )
