# SPDX-License-Identifier: Apache-2.0
"""What submitit pickles: a class by reference and one path. Everything else lies in the attempt's folder.

So any old pickle of an attempt is good, and nothing secret can be in one.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ade_hpc.errors import AdeError
from ade_hpc.store.layout import AttemptDir


@dataclass(frozen=True)
class Payload:
    """Runs one start of an attempt on the compute node."""

    attempt_dir: str

    def __call__(self) -> None:
        """Always ends the process: ``return`` would be COMPLETED 0:0 to Slurm, whatever happened."""
        sys.exit(main(self.attempt_dir))


def main(attempt_dir: str) -> int:
    from ade_hpc.job.run import run_start

    os.umask(0o077)
    try:
        return run_start(AttemptDir(Path(attempt_dir).resolve()), os.environ)
    except (AdeError, OSError) as error:
        print(f"ade-hpc: {error}", file=sys.stderr)
        return 1
