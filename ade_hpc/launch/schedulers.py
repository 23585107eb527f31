# SPDX-License-Identifier: Apache-2.0
"""Which scheduler runs an experiment: Slurm, or the embedded local one. This is where a scheduler meets the payload."""

from __future__ import annotations

import sys
from pathlib import Path

from ade_hpc.errors import UsageError
from ade_hpc.job.payload import Payload
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.spec.site import Site


def open_scheduler(kind: str, site: Site) -> Scheduler:
    """``slurm`` or ``local``. Imports submitit only where a job may be submitted."""
    if kind == "local":
        from ade_hpc.scheduler.local import LocalScheduler

        return LocalScheduler([sys.executable, "-m", "ade_hpc.job"])
    if kind == "slurm":
        from ade_hpc.scheduler.pyslurm_client import PyslurmScheduler
        from ade_hpc.scheduler.slurm import SlurmScheduler

        client = PyslurmScheduler if site.pyslurm else SlurmScheduler
        return client(_payload, timeout=site.slurm_timeout_s)
    raise UsageError(f"no scheduler is called {kind!r}; known: slurm, local")


def _payload(attempt_dir: Path) -> Payload:
    return Payload(str(attempt_dir))
