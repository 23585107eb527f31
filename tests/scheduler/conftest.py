# SPDX-License-Identifier: Apache-2.0
"""Recorded output of three releases of Slurm, in the columns that we ask for; and stand-ins for Slurm's programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.scheduler.parse import SACCT_FORMAT, SEPARATOR
from ade_hpc.scheduler.run import Completed
from tests.support.stand_ins import StandIns, slurm_of_stand_ins

FIXTURES = Path(__file__).parent / "fixtures"
SQUEUE_COLUMNS = "i F K A T r P u M L l S V N R j".split()
OURS_OF_SQUEUE = "i T V S N r j".split()
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

    def steps(self, name: str) -> str:
        """Jobs and their steps, as sacct shows them without --allocations."""
        return self._project(f"{name}-accounting", SACCT_COLUMNS, SACCT_FORMAT.split(","))

    def accounting(self, name: str) -> str:
        text = self.steps(name)
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


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """A Slurm of stand-ins: nothing queued, nothing accounted, and sbatch says 42."""
    stand_ins = slurm_of_stand_ins(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{stand_ins.folder}:/usr/bin:/bin")
    return stand_ins


@pytest.fixture
def attempt_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "digits" / "attempts" / "0001"
    folder.parent.mkdir(parents=True)
    folder.mkdir(mode=0o700)
    return folder
