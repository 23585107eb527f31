# SPDX-License-Identifier: Apache-2.0
"""pyslurm, asked in a process of its own: used where it fits, and never a reason to see less than without it.

Here it is a module that behaves as 25.11.2 was recorded to: its objects, its errors, its minute without a slurm.conf.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

import pytest

from ade_hpc.launch.schedulers import open_scheduler
from ade_hpc.model import JobRef
from ade_hpc.scheduler.parse import SEPARATOR
from ade_hpc.scheduler.pyslurm_client import PyslurmScheduler
from ade_hpc.scheduler.slurm import SlurmScheduler
from ade_hpc.scheduler.states import conclude
from ade_hpc.spec.site import Site
from tests.scheduler.conftest import FIXTURES
from tests.support.stand_ins import StandIns

MODULE = """
import json, os, sys, time, types
if not os.access(os.environ.get("SLURM_CONF", ""), os.R_OK):
    time.sleep(59)
    os._exit(1)
class RPCError(Exception):
    pass
def load(name):
    if {error!r}:
        raise RPCError({error!r})
    jobs = json.load(open(f"{folder}/{{name}}.json"))["jobs"]
    return {{job["id"]: types.SimpleNamespace(**job) for job in jobs}}
class Jobs:
    load = staticmethod(lambda: load("{moment}-queue"))
class JobFilter:
    def __init__(self, ids):
        self.ids = ids
class DbJobs:
    load = staticmethod(lambda wanted: {{k: job for k, job in load("{moment}-accounting").items() if k in wanted.ids}})
db = types.SimpleNamespace(Jobs=DbJobs, JobFilter=JobFilter)
"""


class Site25:
    """A login node of Slurm 25.11 whose interpreter has a pyslurm."""

    def __init__(self, folder: Path, slurm: StandIns) -> None:
        self.folder = folder
        self.slurm = slurm
        slurm.program("sbatch", "echo slurm 25.11.7")
        (folder / "slurm.conf").touch()

    def install(self, version: str = "25.11.2", moment: str = "final", error: str = "") -> None:
        metadata = self.folder / f"pyslurm-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pyslurm\nVersion: {version}\n")
        recorded = FIXTURES / "pyslurm-25.11.2"
        (self.folder / "pyslurm.py").write_text(MODULE.format(folder=recorded, moment=moment, error=error))

    def client(self, **options: float) -> PyslurmScheduler:
        python = self.folder / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(self.folder))} exec {sys.executable} "$@"\n')
        python.chmod(0o755)
        return PyslurmScheduler(lambda path: os.getpid, python=str(python), **options)


@pytest.fixture
def site(tmp_path: Path, slurm: StandIns, monkeypatch: pytest.MonkeyPatch) -> Site25:
    made = Site25(tmp_path, slurm)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    return made


def ref(job_id: str) -> JobRef:
    """As it was recorded: its name tells a job from another one of that id."""
    jobs = json.loads((FIXTURES / "pyslurm-25.11.2" / "final-accounting.json").read_text())["jobs"]
    name = next((job["name"] for job in jobs if job["id"] == int(job_id)), "digits.0001.k3f9")
    return JobRef(job_id, name, Path("/nowhere"))


def test_the_site_file_switches_it_on():
    assert type(open_scheduler("slurm", Site())) is SlurmScheduler
    assert type(open_scheduler("slurm", Site.model_validate({"pyslurm": True}))) is PyslurmScheduler


def test_it_is_asked_instead_of_squeue_and_sacct(site):
    site.install()
    seen = site.client().observe([ref("2093"), ref("2041"), ref("99999999")])
    truths = {job_id: conclude(view, seen.queue, seen.accounting) for job_id, view in seen.jobs.items()}
    assert (truths["2093"].state, truths["2093"].exit_code) == ("FAILED", 3)
    assert truths["2041"].state == "OUT_OF_MEMORY", "which only the derived exit code tells"
    assert truths["99999999"].phase == "unknown"
    assert site.slurm.called("squeue") == site.slurm.called("sacct") == []


def test_the_history_of_a_requeued_job_is_asked_of_sacct(site, slurm):
    """Its hours and restarts count into budgets, and pyslurm has the last life only."""
    site.install()
    rows = [
        "2098 REQUEUED 0:0 0:0 1795360200 1795360210 1795360252 42 k1 None requeue_run".split(),
        "2098 COMPLETED 0:0 0:0 1795360252 1795360258 1795360260 2 k1 None requeue_run".split(),
    ]
    slurm.program("sacct", "\n".join(f"echo {shlex.quote(SEPARATOR.join(row))}" for row in rows))
    seen = site.client().observe([ref("2098"), ref("2093")])
    truth = conclude(seen.jobs["2098"], seen.queue, seen.accounting)
    assert (truth.state, truth.restarts, truth.elapsed_s) == ("COMPLETED", 1, 44.0)
    (asked,) = slurm.called("sacct")
    assert "--jobs 2098" in asked
    slurm.program("sacct", "echo 'Problem talking to the database' >&2; exit 1")
    assert site.client().observe([ref("2098")]).accounting.answer == "failed"


def by_text(slurm: StandIns) -> None:
    """What Slurm's own programs say of job 7."""
    row = SEPARATOR.join(["7", "RUNNING", "100", "100", "n1", "None", ""])
    slurm.program("squeue", f"echo {shlex.quote(row)}")


@pytest.mark.parametrize(
    ("install", "why"),
    [
        (None, "not installed"),
        ({"version": "22.5.3"}, "22.5.3 was built for another release than slurm 25.11.7"),
        ({"error": "Unable to contact slurm controller (connect failure)"}, "Unable to contact slurm controller"),
    ],
)
def test_where_it_does_not_answer_the_programs_do(site, slurm, install, why):
    by_text(slurm)
    if install is not None:
        site.install(**install)
    seen = site.client().observe([ref("7")])
    assert conclude(seen.jobs["7"], seen.queue, seen.accounting).phase == "running"
    assert why in seen.queue.detail
    assert why in seen.accounting.detail
    assert seen.queue.answered
    assert seen.accounting.answered


def test_an_import_that_blocks_and_ends_its_interpreter_costs_the_timeout_and_nothing_else(site, slurm, monkeypatch):
    by_text(slurm)
    site.install()
    monkeypatch.setenv("SLURM_CONF", "/nonexistent/slurm.conf")
    begun = time.monotonic()
    seen = site.client(timeout=1.5).observe([ref("7")])
    assert time.monotonic() - begun < 20
    assert conclude(seen.jobs["7"], seen.queue, seen.accounting).phase == "running"
    assert "no answer within 1.5 s" in seen.queue.detail


@pytest.mark.parametrize("said", ["", "not json", "[]", '{"jobs": [{"id": 7}]}', '{"jobs": 3}', '{"jobs": [null]}'])
def test_what_it_says_is_not_trusted(site, slurm, said):
    by_text(slurm)
    client = site.client()
    (site.folder / "python").write_text(f"#!/bin/sh\nprintf %s {shlex.quote(said)}\n")
    seen = client.observe([ref("7")])
    assert seen.jobs["7"].queue is not None
    assert "unreadable" in seen.queue.detail


def test_no_job_is_no_question(site):
    site.install()
    assert site.client().observe([]).queue.answered
    assert site.slurm.called("sbatch") == []
