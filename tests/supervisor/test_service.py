# SPDX-License-Identifier: Apache-2.0
"""The tick as a service: what is wrong with one experiment is said, and never keeps the others from their answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.scheduler.scrontab import Entry, block
from ade_hpc.store.lease import lease
from ade_hpc.store.ledger import append
from ade_hpc.store.registry import register
from ade_hpc.store.service import LOG_KEEPS, Installed, Service
from tests.support.project import Project, make_project
from tests.support.stand_ins import slurm_of_stand_ins

CRASHES = {"optimizer": {"lr": 0.05}, "steps": 10, "exit_at": 5, "exit_with": 3}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "site.yaml").write_text("scheduler: local\nmax_submissions_per_hour: 100\nmax_live_attempts: 100\n")
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    return tmp_path / "registry"


def tick(*options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ade_hpc.cli", "tick", *options]
    return subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, timeout=100, check=False)


def crashed(root: Path, registry: Path, name: str) -> Project:
    """An experiment whose first attempt has crashed: the answer is to start it again."""
    project = make_project(root / name, experiment={"name": name}, config=CRASHES)
    project.submit()
    register(registry, project.folder)
    return project


def twice(project: Project) -> None:
    text = project.folder.ledger.read_bytes()
    project.folder.ledger.write_bytes(text + text.splitlines(keepends=True)[-1])


def no_longer_a_folder(project: Project) -> None:
    project.folder.attempts_dir.rename(project.folder.path / "moved")
    project.folder.attempts_dir.write_text("")


def a_folder_now(project: Project) -> None:
    project.folder.ledger.unlink()
    project.folder.ledger.mkdir()


def of_another_version(project: Project) -> None:
    append(project.folder.ledger, "intent", {"attempt": "one"}, now=time.time())


def nonsense(project: Project) -> None:
    """What no version ever wrote: whatever our code makes of it, it is a fault of ours."""
    append(project.folder.ledger, "observed", {"attempt": 1, "health": "words", "job": [1]}, now=time.time())


def without_a_record(project: Project) -> None:
    project.folder.attempt(1).record.unlink()


WRONG: dict[str, tuple[Callable[[Project], Any], str]] = {
    "gone": (lambda project: project.folder.record.unlink(), "is missing or damaged"),
    "garbled": (lambda project: project.folder.record.write_text("{"), "is missing or damaged"),
    "two-writers": (twice, "two writers were at work"),
    "no-wishes": (lambda project: (project.path / "preferences.md").unlink(), "preferences.md"),
    "bad-wishes": (lambda project: project.write("preferences.md", "```yaml\nlimit: {}\n```\n"), "limits"),
    "open-wishes": (lambda project: (project.path / "preferences.md").chmod(0o666), "chmod"),
    "no-attempts": (no_longer_a_folder, "can't be read"),
    "no-ledger": (a_folder_now, "can't be read"),
    "other-version": (of_another_version, "another version"),
    "nonsense": (nonsense, "please report it"),
    "no-record": (without_a_record, "is missing or damaged"),
}


@pytest.mark.timeout(300)
def test_eleven_wrong_things_are_eleven_reports_and_the_twelfth_is_answered(tmp_path: Path, registry: Path) -> None:
    """Each in one sentence, none a traceback; and whoever comes last in the alphabet is started again all the same."""
    projects = {name: crashed(tmp_path, registry, name) for name in (*WRONG, "zz-fine")}
    for project in projects.values():
        project.wait_until_over(1)
    for name, (break_it, _) in WRONG.items():
        break_it(projects[name])

    done = tick("--json")

    assert "Traceback" not in done.stderr
    said = {row["name"]: row for row in json.loads(done.stdout)["experiments"]}
    assert set(said) == set(projects)
    for name, (_, sentence) in WRONG.items():
        assert any(sentence in problem for problem in said[name]["problems"]), (name, said[name]["problems"])
        assert said[name]["code"] in (1, 3, 4), name
        assert not said[name]["done"]
    assert said["zz-fine"]["done"].startswith("resubmitted")
    assert done.returncode == max(row["code"] for row in said.values()) == 4
    assert Service(registry).last_tick().exit_code == 4  # type: ignore[union-attr]  # there was one
    projects["zz-fine"].wait_for_exit(2)


def test_one_tick_at_a_time(tmp_path: Path, registry: Path) -> None:
    """While another one is at work on an experiment, it is left alone, and nothing is wrong."""
    project = crashed(tmp_path, registry, "tiny")
    project.wait_until_over(1)
    with lease(project.folder, now=time.time()) as held:
        assert held
        done = tick()
    assert "another tick is at work on it" in done.stdout
    assert done.returncode == 0
    assert len(project.folder.attempts()) == 1


def test_a_tick_has_a_time_limit_of_its_own_and_its_silence_shows(
    tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line that cron runs, over a queue that hangs: it is ended, holds nothing, and the dead-man file tells."""
    stand_ins = slurm_of_stand_ins(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{stand_ins.folder}:{os.environ['PATH']}")
    project = make_project(tmp_path, kind="slurm", config=CRASHES)
    project.submit()
    register(registry, project.folder)
    stand_ins.program("squeue", "exec sleep 60")
    service, now = Service(registry), time.time()
    service.record_install(Installed("cron", 60.0, "", now - 86400))
    kept = {name: os.environ[name] for name in ("PATH", "ADE_SITE", "ADE_REGISTRY")}
    argv = (sys.executable, "-P", "-m", "ade_hpc.cli", "tick")
    line = block("cron", Entry(argv, kept, str(service.log), "* * * * *", {}, limit_s=4)).splitlines()[1]

    began = time.monotonic()
    command = ["/bin/sh", "-c", line.removeprefix("* * * * * ").replace(r"\%", "%")]
    done = subprocess.run(command, env={"HOME": os.environ["HOME"]}, timeout=60, check=False)

    assert 3.5 < time.monotonic() - began < 45
    assert done.returncode == 124
    assert service.last_tick() is None
    assert service.overdue_s(now) is not None
    stand_ins.program("squeue", "exit 0")
    assert tick("--json").stdout, "the next one is not kept out by what it left"
    assert "another tick" not in tick().stdout
    assert service.overdue_s(time.time()) is None


def test_a_tick_keeps_its_log_bounded(tmp_path: Path, registry: Path) -> None:
    registry.mkdir()
    log = Service(registry).log
    log.write_bytes(b"a line of an earlier tick\n" * (3 * LOG_KEEPS // 26))
    tick()
    assert log.stat().st_size <= LOG_KEEPS
