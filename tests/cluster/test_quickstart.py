# SPDX-License-Identifier: Apache-2.0
"""docs/quickstart.md as written, by a new user of a cluster with scrontab."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_commands import ade
from tests.support.lab import Lab
from tests.support.newcomer import walk


@pytest.mark.timeout(400)
def test_the_quick_start_on_a_cluster(
    in_lab: Lab, scrontab_program: Path, isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tmp_path: the home, on the filesystem that all nodes share."""
    monkeypatch.setenv("PATH", f"{scrontab_program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "state" / "registry"))
    try:
        said = walk(tmp_path, os.environ)
        assert "green  probe job" in said
        assert not re.search("^red ", said, re.MULTILINE), said
        assert "my-experiment: attempt 1 is job" in said
        assert "scrontab: a tick every 1h" in said
        table = subprocess.run(["scrontab", "-l"], capture_output=True, text=True, timeout=30, check=True).stdout
        assert str(tmp_path / "state" / "registry") in table
        assert "<svg" in (tmp_path / "myproject" / "night.html").read_text()
        assert ade("cancel", "my-experiment").returncode == 0
        assert ade("schedule", "remove").returncode == 0
    finally:
        subprocess.run(["scrontab", "-r"], timeout=30, check=False)
