# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.support.killed submit|tick ROOT KIND BOUNDARY``: act on a project, and die at a boundary.

The submission is for the request REQUEST.

SIGKILL, so nothing is cleaned up: what a later tick finds is what a crash, an OOM killer or a reboot would leave.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from ade_hpc.launch.submit import submit
from ade_hpc.supervisor.tick import Ticker
from tests.support.project import reopen

REQUEST = "killed"


def main(action: str, root: Path, kind: str, boundary: str) -> None:
    def die(step: str) -> None:
        if step == boundary:
            os.kill(os.getpid(), signal.SIGKILL)

    project = reopen(root, kind)
    if action == "submit":
        submit(
            project.experiment, project.site, project.scheduler, project.registry, allow_dirty=False, announce=die,
            request=REQUEST,
        )  # fmt: skip
        return
    for _ in range(200):
        Ticker(project.site, lambda _: project.scheduler, die).tick([project.folder])
        time.sleep(0.2)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])
