# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc schedule` with a real scrontab: the tick comes by itself, on a compute node, and nobody's entries change."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ade_hpc.store.records import load_attempt, load_exits
from ade_hpc.store.service import Service
from tests.cli.test_commands import ade
from tests.cli.test_schedule import crontab as crontab  # noqa: PLC0414 - a fixture
from tests.cli.test_schedule import table as cron_table
from tests.support.lab import Lab
from tests.support.project import assert_no_overlap, make_project, wait_for

MINE = '# my own\nWHERE=/somewhere\n#SCRON -t 5 -J yearly\n30 3 1 1 * true "x y" $WHERE\n'


@pytest.fixture
def scrontab(in_lab: Lab, scrontab_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's table on the lab, with an entry of their own; empty again afterwards."""
    monkeypatch.setenv("PATH", f"{scrontab_program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    site = tmp_path / "site.yaml"
    site.write_text(
        "heartbeat_interval: 1s\nmax_submissions_per_hour: 100\n"
        "schedule: {partition: main, mem: 1G, time: '00:05:00'}\n"
    )
    monkeypatch.setenv("ADE_SITE", str(site))
    put(MINE)
    yield scrontab_program
    subprocess.run(["scrontab", "-r"], timeout=30, check=True)
    wait_for(lambda: not in_lab.named("ade-hpc-tick"), 60, "a tick of this test is still there")


def put(text: str) -> None:
    subprocess.run(["scrontab", "-"], input=text.encode(), timeout=30, check=True)


def table() -> str:
    return subprocess.run(["scrontab", "-l"], capture_output=True, text=True, timeout=30, check=True).stdout


def state() -> dict[str, object]:
    return dict(json.loads(ade("schedule", "status", "--json").stdout))


def test_the_scheduled_tick_repairs_a_diverging_run_by_itself(scrontab: Path, in_lab: Lab, tmp_path: Path) -> None:
    """Installed, fires on the minute, ticks, repairs within two firings; the log and the dead-man file tell it."""
    project = make_project(
        tmp_path, kind="slurm", experiment={"partition": "main", "time": "10", "mem": "1000M", "cpus_per_task": 1}
    )
    done = ade("submit", "experiment.yaml", cwd=project.path)
    assert done.returncode == 0, done.stderr
    service = Service(tmp_path / "registry")

    assert ade("schedule", "install", "--every", "1m").returncode == 0
    assert table().endswith(MINE)
    installed_at = time.time()

    def tale() -> str:
        log = service.log.read_text() if service.log.exists() else "no log"
        return f"{log}\n{in_lab.run(['squeue']).stdout}"

    deadline = time.monotonic() + 200
    while not (exits := load_exits(project.folder.attempt(2))) or not exits[-1].final:
        assert time.monotonic() < deadline, tale()
        time.sleep(0.5)

    assert exits[-1].cause == "completed", tale()
    record = load_attempt(project.folder.attempt(2))
    assert record is not None
    assert record.config["optimizer.lr"] == 0.05
    assert time.time() < installed_at + 2 * 60 + 30, "more than two firings"
    assert "resubmitted as job" in service.log.read_text()
    assert table().endswith(MINE)
    assert re.search(r"last tick: \d+[sm] ago on \S+, exit code 0\n", ade("status").stdout)
    seen = state()
    assert (seen["state"], seen["kind"], seen["problem"]) == ("installed", "scrontab", "")
    assert isinstance(seen["heart"], dict)
    assert seen["heart"]["last"]["exit_code"] == 0
    assert_no_overlap(project)

    assert ade("schedule", "remove").returncode == 0
    assert table() == MINE
    assert state()["state"] == "absent"


def test_a_cancelled_entry_is_known_and_installed_again(scrontab: Path, in_lab: Lab) -> None:
    """scancel of the cron job comments the entry out, and nothing would ever run again."""
    assert ade("schedule", "install", "--every", "1d", "--with", "scrontab").returncode == 0
    job = in_lab.run(["squeue", "-h", "-n", "ade-hpc-tick", "-o", "%i"]).stdout.split()[0]
    limits = in_lab.run(["squeue", "-h", "-j", job, "-o", "%P %l"]).stdout.split()
    assert limits == ["main", "5:00"]
    assert ade("schedule", "install", "--every", "1d").returncode == 0
    assert in_lab.run(["squeue", "-h", "-n", "ade-hpc-tick", "-o", "%i"]).stdout.split() == [job], "idempotent"

    in_lab.run(["scancel", job])
    wait_for(lambda: "#DISABLED" in table(), 60, "Slurm did not disable the entry")
    done = ade("schedule", "status")
    assert done.returncode == 3
    assert "disabled" in done.stdout

    assert ade("schedule", "install", "--every", "1d").returncode == 0
    assert state()["state"] == "installed"
    assert ade("schedule", "remove").returncode == 0
    assert table() == MINE


def test_an_entry_that_vanished_is_said_and_installed_again(scrontab: Path) -> None:
    """Somebody edited the table, or the site wiped it: the dead man's switch alone would take hours."""
    assert ade("schedule", "install", "--every", "1d").returncode == 0
    put(MINE)
    done = ade("schedule", "status")
    assert done.returncode == 3
    assert "vanished" in done.stdout
    assert "run: ade-hpc schedule install" in done.stdout
    assert ade("schedule", "install", "--every", "1d").returncode == 0
    assert state()["state"] == "installed"
    assert ade("schedule", "remove").returncode == 0
    assert table() == MINE


def test_what_slurm_refuses_is_said_and_changes_nothing(scrontab: Path, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("schedule: {partition: nowhere}\n")
    done = ade("schedule", "install")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert table() == MINE


@pytest.fixture
def without_scrontab(in_lab: Lab, tmp_path: Path) -> str:
    """Clients read `ScronParameters` themselves, so a slurm.conf without it is such a cluster."""
    lines = Path(in_lab.env["SLURM_CONF"]).read_text().splitlines()
    conf = tmp_path / "slurm.conf"
    conf.write_text("\n".join(line for line in lines if not line.startswith("ScronParameters")) + "\n")
    conf.chmod(0o600)
    for name in ("cgroup.conf", "gres.conf"):
        source = Path(in_lab.env["SLURM_CONF"]).with_name(name)
        if source.exists():
            (tmp_path / name).write_bytes(source.read_bytes())
    return str(conf)


def test_where_scrontab_is_disabled_that_is_said(scrontab: Path, without_scrontab: str) -> None:
    done = ade("schedule", "install", "--with", "scrontab", SLURM_CONF=without_scrontab)
    assert done.returncode == 1
    assert "disabled on this cluster" in done.stderr


def test_where_scrontab_is_disabled_cron_takes_the_tick(
    crontab: Service, scrontab: Path, without_scrontab: str
) -> None:
    done = ade("schedule", "install", "--every", "1h", SLURM_CONF=without_scrontab)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("crontab: a tick every 1h")
    assert f"SLURM_CONF={without_scrontab}".encode() in cron_table()
    assert table() == MINE
    assert ade("schedule", "remove", SLURM_CONF=without_scrontab).returncode == 0
    assert b"ade-hpc" not in cron_table()
