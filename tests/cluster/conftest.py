# SPDX-License-Identifier: Apache-2.0
"""A real Slurm for the tests of this folder: one lab for the session, from scripts/slurm-lab."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import cannot_run
from tests.support.images import image

SLURM_LAB = Path(__file__).resolve().parents[2] / "scripts" / "slurm-lab"


def slurm_lab(command: str, root: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run scripts/slurm-lab for the lab in ``root``; the caller judges its exit code."""
    argv = [str(SLURM_LAB), command, "--dir", str(root)]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=100, check=False)


@dataclass(frozen=True)
class Lab:
    """A running lab. ``env`` is the whole environment of a user of that cluster: PATH, HOME, SLURM_CONF."""

    root: Path
    env: Mapping[str, str]

    def run(self, argv: Sequence[str], timeout: float = 30, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as that user, in that user's home."""
        done = subprocess.run(
            argv, env=self.env, cwd=self.env["HOME"], capture_output=True, text=True, timeout=timeout, check=False
        )
        assert not check or done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stderr}{done.stdout}"
        return done

    def sbatch(self, script: str, *options: str) -> str:
        """Submit a shell script with 100 MB of memory unless ``options`` say otherwise; returns the job id."""
        path = Path(self.env["HOME"]) / f"script-{time.monotonic_ns()}.sh"
        path.write_text(f"#!/bin/bash\n{script}\n")
        argv = ["sbatch", "--parsable", "--mem=100", "--output=%j.out", *options, str(path)]
        return self.run(argv).stdout.strip().partition(";")[0]

    def output(self, job: str) -> str:
        return (Path(self.env["HOME"]) / f"{job}.out").read_text()

    def states(self, job: str) -> list[str]:
        """The states of all lives of a job, oldest first, as accounting has them (``CANCELLED by 0`` is CANCELLED)."""
        rows = self.run(["sacct", "-D", "-X", "-n", "-P", "-j", job, "-o", "State"]).stdout.split("\n")
        return [row.split()[0] for row in rows if row]

    def wait_state(self, job: str, states: Collection[str], timeout: float = 30) -> str:
        """Wait until the job's newest life is in one of ``states``; returns which."""
        deadline = time.monotonic() + timeout
        while (seen := self.states(job))[-1:] == [] or seen[-1] not in states:
            assert time.monotonic() < deadline, f"job {job} is {seen}, not {states}: {self.story(job)}"
            time.sleep(0.2)
        return seen[-1]

    def story(self, job: str) -> str:
        """What the queue says of a job: for messages of failed tests."""
        return self.run(["scontrol", "show", "job", job], check=False).stdout


def lab_in(root: Path) -> Lab:
    """The lab that runs in ``root``, with a home for its user beside it."""
    home = root.with_name(f"{root.name}-home")
    home.mkdir(exist_ok=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "SLURM_CONF": str(root / "etc/slurm.conf")}
    return Lab(root, env)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running lab, shared by the session's tests: leave its nodes idle and its configuration as it was."""
    root = tmp_path_factory.mktemp("slurm") / "lab"
    try:
        up = slurm_lab("up", root)
        assert up.returncode == 0, up.stderr
        yield lab_in(root)
    finally:
        slurm_lab("down", root)


@pytest.fixture
def in_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The same lab, and this test's own process is a user of it."""
    monkeypatch.setenv("SLURM_CONF", lab.env["SLURM_CONF"])
    return lab


@pytest.fixture(scope="session")
def scrontab_program() -> Path:
    """Built from Debian's source where the package lacks it; only scripts/test --install builds it."""
    argv = [SLURM_LAB.with_name("build-scrontab"), "--find"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        cannot_run(done.stderr.strip())
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def base_image() -> Path:
    """A SIF with python3 and nothing else."""
    return image("--base")


@pytest.fixture(scope="session")
def trainer_image() -> Path:
    """The SIF of apptainer/trainer.def, with torch."""
    return image()
