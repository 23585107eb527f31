# SPDX-License-Identifier: Apache-2.0
"""The last act of a job that came to grief: ask for a tick of its own experiment, in the foreground.

In the foreground, because Slurm kills what outlives the job's script. Without a language model, because an allocation
is held meanwhile. The order is what makes it work: the final exit record is on disk before, so the tick knows how the
job has ended although the queue still lists it; the successor waits for this job by its dependency, and for its records
at the fence. Whatever becomes of the tick, the next scheduled one finds the same record and does the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from ade_hpc.errors import AdeError
from ade_hpc.scheduler.environment import clean_env
from ade_hpc.scheduler.run import run
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.records import FastPath

CAP_S = 30.0
LEASE_S = 10.0  # of these: another tick may be at work, and may have looked before the record was there
POLL_S = 0.2


def ask_for_tick(experiment: ExperimentDir, fast: FastPath, environ: Mapping[str, str]) -> str:
    """Returns what the tick said, or why there was none. Never raises: it must not change how the job ends."""
    until = time.monotonic() + CAP_S
    try:
        _wait_for_lease(experiment, until - CAP_S + LEASE_S)
        argv = [sys.executable, "-P", "-m", "ade_hpc.cli", "tick", experiment.name, "--no-llm"]
        done = run(argv, timeout=until - time.monotonic(), env=_environment(fast, environ))
    except (AdeError, OSError) as error:
        return f"no tick from here: {error}"
    return (done.stdout + done.stderr).strip() or f"the tick ended with {done.returncode}"


def _environment(fast: FastPath, environ: Mapping[str, str]) -> dict[str, str]:
    """The one of every scheduler call, plus where the attempt's record says that registry and site file are."""
    ours = {"ADE_REGISTRY": fast.registry, **({"ADE_SITE": fast.site} if fast.site else {})}
    return {**clean_env(environ), **ours}


def _wait_for_lease(experiment: ExperimentDir, until: float) -> None:
    while experiment.lease.exists() and time.monotonic() < until:
        time.sleep(POLL_S)
