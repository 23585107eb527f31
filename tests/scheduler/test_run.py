# SPDX-License-Identifier: Apache-2.0
"""A scheduler's command is bounded in time and leaves nothing running."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ade_hpc.errors import SchedulerError, SchedulerSilent
from ade_hpc.scheduler.run import run

ENV = {"PATH": "/usr/bin:/bin"}


def test_a_command_that_ends():
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=5, env=ENV)
    assert (done.returncode, done.stdout, done.stderr, done.words) == (3, "out\n", "err\n", "err")


def test_a_command_that_a_signal_ended():
    assert run(["sh", "-c", "kill -9 $$"], timeout=5, env=ENV).returncode == -9


def test_only_the_given_environment_is_seen(monkeypatch):
    monkeypatch.setenv("CANARY", "x")
    assert "CANARY" not in run(["env"], timeout=5, env=ENV).stdout


def test_bytes_that_are_no_utf8_do_no_harm():
    assert "\ufffd" in run(["printf", r"a\377b"], timeout=5, env=ENV).stdout


def test_a_time_out_ends_the_whole_group_and_says_so(tmp_path: Path):
    marker = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(SchedulerSilent, match=r"sh gave no answer within 2 s"):
        run(["sh", "-c", f"sleep 60 & echo $! > {marker}; wait"], timeout=2, env=ENV)
    assert time.monotonic() - started < 30
    child = int(marker.read_text())
    assert not Path(f"/proc/{child}").exists() or ") Z " in Path(f"/proc/{child}/stat").read_text()


def test_a_time_out_is_not_prolonged_by_a_child_that_left_the_group():
    started = time.monotonic()
    with pytest.raises(SchedulerSilent):
        run(["sh", "-c", "setsid sleep 30 & sleep 60"], timeout=0.3, env=ENV)
    assert time.monotonic() - started < 20


def test_a_missing_program_says_what_to_do():
    with pytest.raises(SchedulerError, match="sbatch is not in PATH: load the site's Slurm module"):
        run(["sbatch"], timeout=5, env={"PATH": "/nonexistent"})


def test_files_that_a_command_makes_are_private(tmp_path: Path):
    before = os.umask(0o022)
    try:
        run(["touch", str(tmp_path / "file")], timeout=5, env=ENV)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o077 == 0


def test_an_unreadable_slurm_conf_is_named_as_the_likely_cause():
    with pytest.raises(SchedulerSilent, match="SLURM_CONF"):
        run(["sleep", "9"], timeout=0.2, env={**ENV, "SLURM_CONF": "/nonexistent/slurm.conf"})
