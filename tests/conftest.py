# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: nothing that is missing goes unsaid, and no test sees the state of whoever runs it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).resolve().parents[1]
FOLDER_MARKERS = ("cluster", "container")
FOREIGN = re.compile(
    r"^(ADE|GIT|SLURM|SBATCH|SRUN|SALLOC|SACCT|SQUEUE|LANGCHAIN|LANGSMITH|OPENAI|XDG)_|_API_KEY$"
    r"|^(COLUMNS|LINES|NO_COLOR|FORCE_COLOR)$|(?i:_proxy)$"  # no proxy: the servers of the tests are on this machine
)
OURS = ("ADE_REQUIRE_ALL",)
GIT_CONFIG = "[user]\n\tname = A Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n"


# --- what a test needs ----------------------------------------------------------------------------------------------


@cache
def missing(marker: str) -> str:
    """Why tests of this marker can't run here, and what would enable them; empty where they can."""
    if marker == "cluster":
        check = subprocess.run(
            [PROJECT / "scripts/slurm-lab", "check"], capture_output=True, text=True, timeout=30, check=False
        )
        return check.stderr.strip() if check.returncode else ""
    program, enable = {
        "browser": ("chromium", "sudo apt-get install chromium"),
        "container": ("apptainer", "scripts/install-apptainer, and /opt/apptainer/bin on PATH"),
        "sshd": ("sshd", "sudo apt-get install openssh-server"),
    }[marker]
    return "" if shutil.which(program) else f"{program} not found; to enable: {enable}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's folder says what it needs."""
    for item in items:
        for marker in FOLDER_MARKERS:
            if marker in item.path.relative_to(PROJECT).parts:
                item.add_marker(marker)


def cannot_run(reason: str) -> NoReturn:
    """Skip this test, saying why; under ADE_REQUIRE_ALL=1 (CI) fail it instead."""
    if os.environ.get("ADE_REQUIRE_ALL") == "1":
        pytest.fail(f"required, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture: what a test is marked to need must be here, and its group must be on one worker."""
    if "PYTEST_XDIST_WORKER" in os.environ and item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
        pytest.fail("its group is not kept: --dist loadgroup, and the versions of constraints.txt", pytrace=False)
    for marker in ("browser", "cluster", "container", "sshd"):
        if item.get_closest_marker(marker) and (reason := missing(marker)):
            cannot_run(reason)


def pytest_configure() -> None:
    """Find daemons and Apptainer where they are installed, whatever the PATH of whoever runs the tests.

    No example of a generated test fails because the machine was busy with something else (by default: for 0.2 s).
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would ours
    os.environ["PATH"] = ":".join([os.environ.get("PATH", "/usr/bin:/bin"), "/opt/apptainer/bin", "/usr/sbin", "/sbin"])
    settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("unhurried")


# --- what a test sees -----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own, a neutral git, and no key, job, cluster or setting of the caller. Returns the home."""
    home = tmp_path_factory.mktemp("home")
    isolate(home, monkeypatch)
    return home


def isolate(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a fixture of a wider scope, which comes before that of the test."""
    for name in [name for name in os.environ if FOREIGN.search(name) and name not in OURS]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for kind in ("CONFIG", "STATE", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / kind.lower()))
    (home / "gitconfig").write_text(GIT_CONFIG)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
