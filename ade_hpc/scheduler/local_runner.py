# SPDX-License-Identifier: Apache-2.0
"""``python -m ade_hpc.scheduler.local_runner ATTEMPT_DIR``: becomes the one local job of an attempt.

It forks into the background, claims the attempt, waits for the job that it depends on, and gives its process to the
payload: the pid that was claimed is the pid that runs.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ade_hpc.scheduler.local_job import claim, folder, is_over, load
from ade_hpc.scheduler.process import Process
from ade_hpc.store.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

SHELL = "/bin/bash"
POLL_S = 0.1


def main(attempt_dir: Path) -> int:
    """Fork, and return in the parent: 0, or 1 where there is nothing to run."""
    request = read_json(folder(attempt_dir) / "request.json")
    if request is None:
        print(f"ade-hpc: {folder(attempt_dir) / 'request.json'} is missing or damaged: submit again", file=sys.stderr)
        return 1
    if os.fork() == 0:
        _become_job(attempt_dir, request)
    return 0  # the job is nobody's child: it leaves no zombie to whoever submitted it


def _become_job(attempt_dir: Path, request: Mapping[str, Any]) -> NoReturn:
    me = Process.current(os.getpid())
    if me is None or not claim(attempt_dir, str(request.get("name")), me):
        os._exit(0)  # another runner was first
    _wait_for(request.get("after"))
    write_json(folder(attempt_dir) / "started.json", {"time": time.time()})
    environ = {**os.environ, "ADE_JOB_ID": f"{me.pid}.{me.starttime}"}
    argv = [SHELL, str(folder(attempt_dir) / "job.sh"), str(attempt_dir)]
    os.execve(SHELL, argv, environ)  # noqa: S606 - the script's path is ours, and no text goes through the shell


def _wait_for(after: object) -> None:
    """Until the other job has ended, with its trainer. One that is not there, or not on this machine, has."""
    if not isinstance(after, dict):
        return
    job = load(Path(str(after.get("attempt_dir"))))
    while job is not None and job.job_id == after.get("job_id") and job.here and not is_over(job):
        time.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
