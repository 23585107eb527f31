# SPDX-License-Identifier: Apache-2.0
"""``python -m ade_hpc.scheduler.pyslurm_source SLURM queue|accounting ID...``: ask pyslurm, and print JSON.

A program of its own, because ``import pyslurm`` without a readable slurm.conf blocks for a minute and then ends the
interpreter, and because a pyslurm is built for one X.Y of Slurm: whoever calls this gives it its time and reads stdout.
SLURM is what ``sbatch --version`` said. Exits with 1, and says why on stderr, where it can't answer.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

IDENTITY = ("id", "name", "array_id", "array_task_id", "array_tasks_waiting")
STATE = ("state", "state_reason", "requeue_count")
TIMES = ("submit_time", "start_time")
QUEUE = (*IDENTITY, *STATE, *TIMES, "allocated_nodes")
ENDS = ("cancelled_by", "exit_code", "exit_code_signal", "derived_exit_code_signal")
ACCOUNTING = (*IDENTITY, *STATE, *TIMES, "end_time", "elapsed_time", "nodelist", *ENDS)


def main(slurm: str, what: str, *ids: str) -> int:
    try:
        installed = metadata.version("pyslurm")
    except metadata.PackageNotFoundError:
        return _refuse("pyslurm is not installed beside ade-hpc: see docs/site.md")
    if _release(installed) != _release(slurm):
        return _refuse(f"pyslurm {installed} was built for another release than {slurm}: see docs/site.md")
    asked = {int(job_id.partition("_")[0]) for job_id in ids}
    try:
        rows = _queue(asked) if what == "queue" else _accounting(asked)
    except Exception as error:  # noqa: BLE001 - its errors can't be named before it is imported
        return _refuse(f"pyslurm: {error}")
    print(json.dumps({"version": installed, "jobs": rows}))
    return 0


def _queue(asked: Collection[int]) -> list[dict[str, Any]]:
    """There is one call for all jobs of the cluster, and one for each job; none for some jobs."""
    import pyslurm

    jobs = _each(pyslurm.Jobs.load())
    return [_fields(job, QUEUE) for job in jobs if {job.id, job.array_id} & set(asked)]


def _accounting(asked: Collection[int]) -> list[dict[str, Any]]:
    import pyslurm

    if not asked:
        return []  # without ids it would load all jobs of the day
    return [_fields(job, ACCOUNTING) for job in _each(pyslurm.db.Jobs.load(pyslurm.db.JobFilter(ids=sorted(asked))))]


def _each(jobs: Any) -> Iterable[Any]:
    """A dict in 22.5 and 25.11, a list in the releases between."""
    return jobs.values() if isinstance(jobs, dict) else jobs


def _fields(job: Any, names: Iterable[str]) -> dict[str, Any]:
    """What a release does not know is null."""
    return {name: getattr(job, name, None) for name in names}


def _release(text: str) -> tuple[int, ...]:
    """22.5.3 and "slurm 22.05.8" are of one release: protocol and library change with X.Y."""
    match = re.search(r"([0-9]{2})\.([0-9]{1,2})\b", text)
    return (int(match[1]), int(match[2])) if match else ()


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
