# SPDX-License-Identifier: Apache-2.0
"""Twelve hours of the week that scripts/bench week lives through, with three experiments."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.week import run_week
from benchmarks.week_cast import CAST
from tests.cluster.conftest import Lab

NAMES = ("steady", "explodes", "spotkill")
FAULTS = (
    "trainer killed",
    "slurmdbd down",
    "trainer stops",
    "two ticks",
    "slurmctld down",
    "preemption",
    "tick killed",
)


@pytest.mark.timeout(150)
def test_twelve_hours_with_faults(lab: Lab, tmp_path: Path) -> None:
    """No overlap, no budget or cap exceeded, nobody forgotten, and the report says what accounting says."""
    members = [member for member in CAST if member.name in NAMES]
    result = run_week(tmp_path, lab, 12, 1, members, every_s=2.5, faults=("", "", *FAULTS))
    assert result["violations"] == []
    assert result["faults"] >= len(FAULTS)
    assert result["attempts"] > len(NAMES), "something was repaired"
