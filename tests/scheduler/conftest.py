# SPDX-License-Identifier: Apache-2.0
"""Recorded output of three releases of Slurm, in the columns that we ask for; and stand-ins for Slurm's programs."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.scheduler.parse import SACCT_FORMAT, SEPARATOR
from ade_hpc.scheduler.run import Completed

FIXTURES = Path(__file__).parent / "fixtures"
SQUEUE_COLUMNS = "i F K A T r P u M L l S V N R j".split()
OURS_OF_SQUEUE = "i T V S N r".split()
SACCT_COLUMNS = (
    "JobID JobIDRaw JobName State ExitCode DerivedExitCode Submit Start End ElapsedRaw TimelimitRaw NodeList Reason"
).split()
ODD_NAMES = ("pipe|in|name", "line1\nline2")  # separators in a column that we do not ask for


@dataclass(frozen=True)
class Recorded:
    """What one release printed."""

    version: str

    @property
    def folder(self) -> Path:
        return FIXTURES / f"slurm-{self.version}"

    def has(self, name: str) -> bool:
        return (self.folder / f"{name}.txt").exists()

    def queue(self, name: str) -> str:
        return self._project(f"{name}-queue", SQUEUE_COLUMNS, OURS_OF_SQUEUE)

    def accounting(self, name: str) -> str:
        text = self._project(f"{name}-accounting", SACCT_COLUMNS, SACCT_FORMAT.split(","))
        return "\n".join(line for line in text.split("\n") if "." not in line.split(SEPARATOR)[0])  # -X: no steps

    def jobs(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / f"{name}-jobs.json").read_text())

    @cached_property
    def calls(self) -> dict[str, Completed]:
        return {name: Completed(**call) for name, call in json.loads((self.folder / "calls.json").read_text()).items()}

    def _project(self, name: str, columns: list[str], ours: list[str]) -> str:
        text = (self.folder / f"{name}.txt").read_text()
        for odd in ODD_NAMES:
            text = text.replace(odd, "odd")
        rows = (dict(zip(columns, line.split("|"), strict=False)) for line in text.splitlines())
        return "\n".join(SEPARATOR.join(row[column] for column in ours) for row in rows)


@pytest.fixture(params=["22.05.8", "25.11.7", "26.05.5"])
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(request.param)


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

    def environ(self, name: str) -> dict[str, str]:
        """The environment of the program's last call."""
        lines = (self.folder / f"{name}.env").read_text().splitlines()
        return dict(line.partition("=")[::2] for line in lines)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """A Slurm of stand-ins: nothing queued, nothing accounted, and sbatch says 42."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    stand_ins = StandIns(folder)
    stand_ins.program("sbatch", "echo 42")
    for name in ("squeue", "sacct", "scancel", "scontrol", "sinfo", "srun"):
        stand_ins.program(name, "exit 0")
    return stand_ins


@pytest.fixture
def attempt_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "digits" / "attempts" / "0001"
    folder.parent.mkdir(parents=True)
    folder.mkdir(mode=0o700)
    return folder
