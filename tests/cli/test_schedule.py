# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc schedule` with a real crontab, and what `status` says of a tick that comes or does not."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ade_hpc.store.service import Installed, Service
from tests.cli.test_commands import ade
from tests.conftest import cannot_run
from tests.support.project import make_project

CRONTAB = shutil.which("crontab") or ""
MINE = "# m\xfcne, not UTF-8\nMAILTO=ada\n\n5 4 * * 1 echo 100\\% >> /dev/null\n".encode("latin-1")


def table() -> bytes:
    return subprocess.run([CRONTAB, "-l"], capture_output=True, timeout=60, check=False).stdout


def put(text: bytes) -> None:
    argv = [CRONTAB, "-"] if text else [CRONTAB, "-r"]
    subprocess.run(argv, input=text, capture_output=True, timeout=60, check=bool(text))


@pytest.fixture
def crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """This user's real crontab, with entries of their own; what was in it before comes back."""
    if not CRONTAB:
        cannot_run("crontab not found; to enable: sudo apt-get install cron")
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "state of 50%" / "registry"))
    monkeypatch.setenv("SLURM_CONF", "/nowhere/slurm.conf")
    with Path(f"/tmp/ade-hpc-test-crontab-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = table()
        put(MINE)
        try:
            yield Service(tmp_path / "state of 50%" / "registry")
        finally:
            put(before)


def test_cron_is_installed_once_and_removed_without_a_trace(crontab: Service) -> None:
    """Bytes that are no UTF-8, a %: the user's own lines come back as they were."""
    done = ade("schedule", "install", "--every", "10m", "--with", "cron")
    assert done.returncode == 0, done.stderr
    installed = table()
    assert installed.endswith(MINE)
    assert ade("schedule", "install", "--every", "10m", "--with", "cron").returncode == 0
    assert table() == installed

    seen = json.loads(ade("schedule", "status", "--json").stdout)
    assert (seen["state"], seen["kind"], seen["every_s"], seen["problem"]) == ("installed", "cron", 600, "")
    assert "SLURM_CONF=/nowhere/slurm.conf" in seen["entry"]

    assert ade("schedule", "remove").returncode == 0
    assert table() == MINE
    assert json.loads(ade("schedule", "status", "--json").stdout)["state"] == "absent"
    assert ade("schedule", "remove").returncode == 0


def test_the_line_does_what_cron_would_do_with_it(crontab: Service) -> None:
    """Run as cron(8) does: an empty environment, /bin/sh, the home folder, and % unescaped."""
    ade("schedule", "install", "--every", "1m", "--with", "cron")
    line = table().split(b"\n")[1].decode()
    command = line.removeprefix("* * * * * ").replace(r"\%", "%")
    assert command != line
    home = Path(os.environ["HOME"])
    (home / "json.py").write_text("raise SystemExit('a module of the user was imported')\n")
    subprocess.run(["/bin/sh", "-c", command], env={"HOME": str(home)}, cwd=home, timeout=60, check=False)
    assert "no registry" not in crontab.log.read_text()
    last = crontab.last_tick()
    assert last is not None
    assert last.exit_code == 0
    assert "exit code 0" in ade("schedule", "status").stdout


def test_an_entry_that_vanished_is_said_and_exits_3(crontab: Service) -> None:
    ade("schedule", "install", "--with", "cron")
    put(MINE)
    done = ade("schedule", "status")
    assert done.returncode == 3
    assert "vanished" in done.stdout
    assert "ade-hpc schedule install" in done.stdout


def test_a_crontab_that_can_not_be_read_is_never_taken_for_an_empty_one(
    crontab: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "crontab"
    broken.parent.mkdir()
    broken.write_text(
        f'#!/bin/sh\n[ "$1" = -l ] || touch {tmp_path}/written\n[ "$1" != -l ] || {{ echo \'on fire\' >&2; exit 1; }}\n'
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    done = ade("schedule", "install", "--with", "cron")
    assert done.returncode == 1
    assert "on fire" in done.stderr
    assert not (tmp_path / "written").exists()
    assert "Traceback" not in done.stderr


def test_what_crontab_can_not_show_faithfully_is_not_written_back(crontab: Service) -> None:
    """Debian's `crontab -l` prints a carriage return as a backslash and an r."""
    put(MINE + b"1 1 1 1 * true\r\n")
    before = table()
    done = ade("schedule", "install", "--with", "cron")
    assert done.returncode == 1
    assert "carriage return" in done.stderr
    assert table() == before


@pytest.mark.parametrize("every", ["7m", "soon", "10"])
def test_what_can_not_be_scheduled_is_a_usage_error(crontab: Service, every: str) -> None:
    assert ade("schedule", "install", "--with", "cron", "--every", every).returncode == 2
    assert table() == MINE


def test_a_missing_tick_makes_status_degraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead man's switch: who looks sees that nobody else did."""
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    site = tmp_path / "site.yaml"
    site.write_text("scheduler: local\n")
    monkeypatch.setenv("ADE_SITE", str(site))
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 60})
    project.submit()
    project.wait_for_exit(1)
    service = Service(tmp_path / "registry")

    assert ade("tick", "tiny").returncode == 0
    assert service.last_tick() is None, "a tick over some experiments is not the service"
    assert ade("tick", "--dry-run").returncode == 0
    assert service.last_tick() is None
    assert ade("tick").returncode == 0
    status = ade("status")
    assert status.returncode == 0
    assert "last tick: " in status.stdout

    service.record_install(Installed("cron", 60.0, "", time.time() - 86400))
    assert ade("status").returncode == 0
    service.last_tick_path.write_text(service.last_tick_path.read_text().replace('"time": 1', '"time": 0'))
    late = ade("status", "--json")
    assert late.returncode == 3
    assert "late" in json.loads(late.stdout)["tick"]["problem"]
    assert "late" in ade("status").stdout


def test_a_tick_that_fails_as_a_whole_renews_the_dead_man_file_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    assert ade("tick").returncode == 3
    last = Service(tmp_path / "registry").last_tick()
    assert last is not None
    assert last.exit_code == 3
