# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for Slurm's programs, first on PATH, that write down how they were called."""

from __future__ import annotations

import stat
from pathlib import Path


class StandIns:
    """Programs of a Slurm that is not there, first on PATH; each is the body of a shell script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"

    def program(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >> {self.calls}\nenv > {self.folder}/{name}.env\n{body}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def called(self, name: str) -> list[str]:
        """The command lines with which a program was called."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line for line in lines if line.split()[0] == name]

    def forget(self) -> None:
        self.calls.unlink(missing_ok=True)

    def environ(self, name: str) -> dict[str, str]:
        """The environment of the program's last call."""
        lines = (self.folder / f"{name}.env").read_text().splitlines()
        return dict(line.partition("=")[::2] for line in lines)


def slurm_of_stand_ins(folder: Path) -> StandIns:
    """Nothing queued, nothing accounted, and sbatch says 42. ``folder`` is to be put first on PATH."""
    folder.mkdir()
    stand_ins = StandIns(folder)
    stand_ins.program("sbatch", "echo 42")
    for name in ("squeue", "sacct", "scancel", "scontrol", "sinfo", "srun"):
        stand_ins.program(name, "exit 0")
    return stand_ins
