# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc doctor` without a cluster; with one: tests/cluster/test_doctor.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import ade


def test_a_machine_for_local_runs_needs_no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("scheduler: local\n")
    monkeypatch.setenv("ADE_SITE", str(site))
    done = ade("doctor", "--json", cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert done.returncode == 0, answer
    level = {check["name"]: check["level"] for check in answer["checks"]}
    assert level["Slurm"] == level["git"] == level["runs_dir"] == level["model"] == "green"
    assert "slurmctld" not in level
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site.yaml"], "it leaves nothing behind"


def test_a_run_folder_that_can_not_be_made_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc takes no folder at all, whoever asks."""
    site = tmp_path / "site.yaml"
    site.write_text("scheduler: local\nruns_dir: /proc/ade\n")
    monkeypatch.setenv("ADE_SITE", str(site))
    done = ade("doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert "red    runs_dir: /proc/ade" in done.stdout
    assert "set `runs_dir:`" in done.stdout
