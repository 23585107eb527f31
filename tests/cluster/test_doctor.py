# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc doctor` on a real cluster: green where all is well, and one broken thing is one red line with advice."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ade_hpc.report.checkup import Check
from ade_hpc.report.doctor import examine
from ade_hpc.report.doctor_job import examine_job
from ade_hpc.store.service import Installed, Service
from tests.cli.test_commands import ade
from tests.support.lab import Lab

PROGRAMS = (
    "sbatch srun squeue sacct scancel scontrol sinfo scrontab crontab git unshare true sh fusermount3 apptainer".split()
)


@dataclass(frozen=True)
class Place:
    """A user's place on the lab in which everything is right, and how to break it."""

    path: Path
    lab: Lab
    monkeypatch: pytest.MonkeyPatch

    def site(self, **changes: object) -> None:
        fields = {"runs_dir": str(self.path / "runs"), **changes}
        (self.path / "site.yaml").write_text(yaml.safe_dump(fields))

    def without(self, *programs: str) -> None:
        """A PATH that lacks these programs and has all others that are needed."""
        farm = self.path / "bin"
        farm.mkdir()
        for program in PROGRAMS:
            found = shutil.which(program)
            if found and program not in programs:
                (farm / program).symlink_to(found)
        self.monkeypatch.setenv("PATH", str(farm))

    def slurm_conf(self, change: Callable[[str], str]) -> None:
        """Other lines in this user's slurm.conf: clients read them themselves."""
        conf = Path(self.lab.env["SLURM_CONF"])
        copy = self.path / "etc" / "slurm.conf"
        shutil.copytree(conf.parent, copy.parent)
        copy.write_text("\n".join(change(line) for line in conf.read_text().splitlines()) + "\n")
        self.monkeypatch.setenv("SLURM_CONF", str(copy))

    @property
    def service(self) -> Service:
        return Service(self.path / "state" / "registry")


@pytest.fixture
def place(in_lab: Lab, scrontab_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("PATH", f"{scrontab_program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "state" / "registry"))
    made = Place(tmp_path, in_lab, monkeypatch)
    made.service.registry.mkdir(mode=0o700, parents=True)
    (tmp_path / "runs").mkdir()
    made.site()
    return made


def reds(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if check.level == "red"]


@pytest.mark.container
def test_the_lab_is_green_here_and_on_a_compute_node(place: Place) -> None:
    """The clock of one machine differs from itself by nothing, and its files are seen at once."""
    done = ade("doctor", "--job", "--json")
    answer = json.loads(done.stdout)
    level = {check["name"]: check["level"] for check in answer["checks"]}
    said = {check["name"]: check["said"] for check in answer["checks"]}
    assert done.returncode == 0, answer
    assert answer["healthy"]
    for name in ("site file", "Slurm clients", "slurmctld", "accounting", "submission", "scrontab", "container", "git",
                 "registry", "model", "probe job", "python on the node", "container on the node", "shared filesystem",
                 "clock", "GPUs on the node"):  # fmt: skip
        assert level[name] == "green", (name, said[name])
    assert abs(float(said["clock"].split()[3])) < 2
    assert list((place.path / "runs").iterdir()) == [], "it leaves nothing behind"
    assert place.lab.run(["squeue", "-h", "-n", "ade-hpc-doctor"]).stdout == ""


def test_it_is_one_line_each_for_people(place: Place) -> None:
    (place.path / "site.yaml").write_text("container: /nowhere/apptainer\nruns_dir: runs\n")
    done = ade("doctor")
    assert done.returncode == 1
    assert "red    site file: " in done.stdout
    assert "       -> mend it" in done.stdout
    assert "Traceback" not in done.stderr


def broken_site(place: Place) -> None:
    (place.path / "site.yaml").write_text(f"runs_dir: {place.path}/runs\npartition: main\n")


def gone_experiment(place: Place) -> None:
    (place.service.registry / "x.json").write_text('{"path": "/nowhere/runs/x"}')


def open_key(place: Place) -> None:
    key = place.path / "key"
    key.write_text("a key\n")
    key.chmod(0o644)
    place.site(llm={"base_url": "https://llm.example.org/v1", "key_file": str(key)})


def no_table_at_all(place: Place) -> None:
    place.slurm_conf(lambda line: "" if line.startswith("ScronParameters") else line)
    place.without("crontab")


def file_in_the_way(place: Place) -> None:
    (place.path / "file").write_text("")
    place.site(runs_dir=str(place.path / "file" / "runs"))


def vanished_entry(place: Place) -> None:
    place.service.record_install(Installed("scrontab", 3600.0, "", time.time()))


BROKEN: dict[str, tuple[str, str, Callable[[Place], None]]] = {
    "a wrong site file": ("site file", "mend it", broken_site),
    "no sacct": ("Slurm clients", "module", lambda place: place.without("sacct")),
    "no slurm.conf": ("Slurm clients", "SLURM_CONF", lambda place: place.monkeypatch.setenv("SLURM_CONF", "/nowhere")),
    "no slurmctld": (
        "slurmctld",
        "support",
        lambda place: place.slurm_conf(lambda line: "SlurmctldPort=9" if line.startswith("SlurmctldPort") else line),
    ),
    "no slurmdbd": (
        "accounting",
        "slurmdbd",
        lambda place: place.slurm_conf(
            lambda line: "AccountingStoragePort=9" if line.startswith("AccountingStoragePort") else line
        ),
    ),
    "an unknown partition": ("submission", "main", lambda place: place.site(defaults={"partition": "nowhere"})),
    "no scrontab and no cron": ("scrontab", "another machine", no_table_at_all),
    "a vanished entry": ("schedule", "schedule install", vanished_entry),
    "no such container program": ("container", "image", lambda place: place.site(container="/nowhere/apptainer")),
    "no git": ("git", "2.30", lambda place: place.without("git")),
    "a run folder that can't be made": ("runs_dir", "runs_dir", file_in_the_way),
    "a registry open to others": ("registry", "permissions", lambda place: place.service.registry.chmod(0o755)),
    "a run folder that is gone": ("registry", "mount it", gone_experiment),
    "a model that nobody serves": (
        "model",
        "laptop",
        lambda place: place.monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"),
    ),
    "a key that others can read": ("model", "chmod 600", open_key),
}


@pytest.mark.parametrize("what", BROKEN)
def test_one_broken_thing_is_one_red_line_with_its_advice(place: Place, what: str) -> None:
    name, advice, broken = BROKEN[what]
    broken(place)
    _, checks = examine(os.environ)
    assert reds(checks) == [name], checks
    (check,) = (check for check in checks if check.level == "red")
    assert check.said
    assert advice in check.advice


def test_pyslurm_is_looked_at_where_the_site_asks_for_it_and_its_lack_is_nothing_to_wait_for(place: Place) -> None:
    place.site(pyslurm=True)
    _, checks = examine(os.environ)
    (check,) = (check for check in checks if check.name == "pyslurm")
    assert reds(checks) == []
    assert check.level == "green" or "squeue and sacct answer instead" in check.advice


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"setup": ["echo the filesystem is not there", "exit 3"]}, "probe job", "filesystem is not there"),
        ({"defaults": {"gpus_per_node": 1}}, "GPUs on the node", "1 asked for, 0 seen"),
        ({"setup": ["export PATH=/usr/bin:/bin"], "container": "apptainer"}, "container on the node", "works there"),
    ],
)
@pytest.mark.container
def test_what_only_a_compute_node_can_tell(place: Place, changes: dict[str, object], name: str, words: str) -> None:
    """A node without our filesystem; GPUs that Slurm gives and no driver shows; a module that is loaded here only."""
    place.site(**changes)
    patient, checks = examine(os.environ)
    assert reds(checks) == []
    checks = examine_job(patient)
    assert reds(checks) == [name], checks
    assert words in next(check.said for check in checks if check.level == "red")
    assert list((place.path / "runs").iterdir()) == []
