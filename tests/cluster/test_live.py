# SPDX-License-Identifier: Apache-2.0
"""`status --watch` and `--follow` on a real cluster: what they show, and how often they ask (invariant 9)."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ade_hpc.report.onlooker import Onlooker
from ade_hpc.scheduler.states import conclude
from ade_hpc.supervisor.experiment import load_supervised
from tests.cli.test_commands import ade
from tests.support.counting import counted, wrap
from tests.support.lab import Lab
from tests.support.project import Project, make_project, wait_for

HOUR_S = 3600.0


@pytest.fixture
def calls(in_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every call of a Slurm client leaves a line in this file."""
    monkeypatch.setenv("PATH", wrap(tmp_path / "calls", os.environ["PATH"]))
    return tmp_path / "calls"


@pytest.fixture
def running(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A job that runs on the cluster; whoever watches does it with this registry and site."""
    (tmp_path / "site.yaml").write_text("heartbeat_interval: 1s\nmax_submissions_per_hour: 100\n")
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    resources = {"partition": "main", "time": "10", "mem": "500M", "cpus_per_task": 1}
    project = make_project(
        tmp_path, kind="slurm", experiment=resources, config={"optimizer": {"lr": 0.05}, "steps": 300, "step_s": 0.03}
    )
    project.submit()
    wait_for(lambda: list(project.folder.attempt(1).heartbeats.glob("*.json")), 60, "it never ran")
    calls.write_text("")
    yield project
    for job in load_supervised(project.folder).jobs:
        project.scheduler.cancel(job)


def plain(seen: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)


def on_a_terminal(argv: list[str], enough: Callable[[str], bool], columns: int, **env: str) -> str:
    """What a person sees on a terminal of so many columns until it is enough for them; then Ctrl-C."""
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        argv, stdin=secondary, stdout=secondary, stderr=secondary, start_new_session=True,
        env={**os.environ, "COLUMNS": str(columns), "LINES": "40", "TERM": "xterm-256color", **env},
    )  # fmt: skip
    os.close(secondary)
    seen, until = b"", time.monotonic() + 60
    try:
        while not enough(seen.decode(errors="replace")):
            assert time.monotonic() < until, seen
            if select.select([primary], [], [], 1.0)[0]:
                seen += os.read(primary, 65536)
    finally:
        os.killpg(process.pid, signal.SIGINT)
    with suppress(OSError):  # EIO: nobody has the terminal any more. Who does not read to the end holds it up
        while more := os.read(primary, 65536):
            seen += more
    assert process.wait(timeout=30) == 130
    os.close(primary)
    return seen.decode(errors="replace")


def test_watching_shows_it_anew_and_asks_once(running: Project, calls: Path) -> None:
    argv = [sys.executable, "-m", "ade_hpc.cli", "status", "--watch"]

    def renewed(seen: str) -> bool:
        return plain(seen).count("experiment") >= 3 and "running" in plain(seen)

    seen = on_a_terminal(argv, renewed, 60, NO_COLOR="1")
    assert "  job " in plain(seen), "what is too wide for 60 columns stands below"
    assert max(len(line) for line in plain(seen).splitlines()) <= 60
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", seen), "NO_COLOR"
    assert counted(calls) == {"squeue": 1}


def test_an_hour_of_watching_is_a_call_a_minute(running: Project, calls: Path) -> None:
    """Real calls, and an hour by a clock of the test: the queue and accounting in turn, and the truth from both."""
    running.wait_until_over(1)
    calls.write_text("")
    now = [0.0]
    watcher = Onlooker(running.scheduler, lambda: now[0])
    job = load_supervised(running.folder).jobs[-1]
    while now[0] < HOUR_S:
        seen = watcher.observe([job])
        assert sum(counted(calls).values()) <= now[0] // 60 + 1
        now[0] += 2.0
    assert conclude(seen.jobs[job.job_id], seen.queue, seen.accounting).state == "COMPLETED"
    assert sum(counted(calls).values()) == 60
    assert abs(counted(calls)["squeue"] - counted(calls)["sacct"]) <= 1


def test_following_a_log_to_its_end_asks_nothing(running: Project, calls: Path) -> None:
    done = ade("logs", "tiny", "--follow")
    assert "finished at step 300" in done.stdout
    assert counted(calls) == {}


def test_watching_needs_a_terminal(running: Project) -> None:
    done = ade("status", "--watch")
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert ade("status", "--watch", "--json").returncode == 2
