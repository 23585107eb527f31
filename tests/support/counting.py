# SPDX-License-Identifier: Apache-2.0
"""Count the calls of Slurm's clients: a wrapper of each writes one line and becomes the real one."""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from pathlib import Path

CLIENTS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")  # a job runs srun, by the PATH it was given


def wrap(calls: Path, path: str) -> str:
    """A PATH on which every call leaves its client's name in ``calls``; ``path`` is where the real ones are."""
    folder = calls.with_name(f"{calls.name}-bin")
    folder.mkdir()
    calls.touch()
    for client in CLIENTS:
        if real := shutil.which(client, path=path):
            wrapper = folder / client
            wrapper.write_text(f'#!/bin/sh\necho {client} >> {shlex.quote(str(calls))}\nexec {real} "$@"\n')
            wrapper.chmod(0o755)
    return f"{folder}:{path}"


def counted(calls: Path) -> Counter[str]:
    """How often each client was called."""
    return Counter(calls.read_text().split())
