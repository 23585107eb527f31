# SPDX-License-Identifier: Apache-2.0
"""docs/quickstart.md as written, by somebody who has no cluster; with one: tests/cluster/test_quickstart.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ade_hpc.store.service import Service
from tests.cli.test_commands import ade
from tests.cli.test_schedule import crontab as crontab  # noqa: PLC0414 - a fixture
from tests.cli.test_schedule import table
from tests.support.newcomer import walk


def test_the_quick_start_on_one_machine(crontab: Service, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = isolated / "site.yaml"
    site.write_text("scheduler: local\nheartbeat_interval: 1s\n")
    monkeypatch.setenv("ADE_SITE", str(site))
    said = walk(isolated, os.environ)
    assert "my-experiment: attempt 1 is job" in said
    assert b"ade-hpc" in table()
    assert "<svg" in (isolated / "myproject" / "night.html").read_text()
    assert ade("cancel", "my-experiment").returncode == 0
