# SPDX-License-Identifier: Apache-2.0
"""A real Slurm for the tests of this folder: one lab for the session, from scripts/slurm-lab."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot_run
from tests.support.images import image
from tests.support.lab import SLURM_LAB, Lab, lab_up


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running lab, shared by the session's tests: leave its nodes idle and its configuration as it was."""
    with lab_up(tmp_path_factory.mktemp("slurm") / "lab") as running:
        yield running


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
