# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc doctor` on a real cluster: green where all is well, and one broken thing is one red line with advice."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ade_hpc.report.checkup import Check
from ade_hpc.report.doctor import examine
from ade_hpc.report.doctor_job import examine_job
from ade_hpc.store.service import Installed, Service
from tests.cli.test_commands import ade
from tests.support.chat_server import Asked, Reply, chat_server, fail, say
from tests.support.lab import Lab
from tests.support.project import wait_for

PROGRAMS = (
    "sbatch srun squeue sacct scancel scontrol sinfo scrontab crontab git unshare true sh fusermount3 apptainer".split()
)


@dataclass(frozen=True)
class Place:
    """A user's place on the lab in which everything is right, and how to break it."""

    path: Path
    lab: Lab
    monkeypatch: pytest.MonkeyPatch
    cleanup: ExitStack = field(default_factory=ExitStack)

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

    def project(self, model: Callable[[Asked, int], Reply]) -> None:
        """A project in this folder that is pushed to a remote, and judged by a model that looks at pictures."""
        for argv in (["init", "-q"], ["init", "-q", "--bare", "remote"], ["remote", "add", "origin", "remote"]):
            subprocess.run(["git", *argv], cwd=self.path, check=True, timeout=30)
        (self.path / "experiment.yaml").write_text("name: mine\ncommand: [true]\npush: origin\n")
        preferences = self.path / "preferences.md"
        preferences.write_text("```yaml\nagent: {model: small, vision_model: seer}\n```\n")
        preferences.chmod(0o600)
        argv = ["git", "commit", "-q", "--allow-empty", "-m", "begin"]
        subprocess.run(argv, cwd=self.path, check=True, timeout=30)
        chat = self.cleanup.enter_context(chat_server())
        chat.script = model
        self.site(llm={"base_url": chat.url})

    @property
    def service(self) -> Service:
        return Service(self.path / "state" / "registry")


def seer(asked: Asked, number: int) -> Reply:
    """A model that looks: it answers with the colour that the picture really has."""
    pixel = Image.open(io.BytesIO(asked.images[0])).convert("RGB").getpixel((0, 0))
    seen = {(255, 0, 0): "Red.", (0, 128, 0): "It is green", (0, 0, 255): "blue"}
    return say(seen[pixel])  # type: ignore[index]  # of an RGB image it is three numbers


def no_eyes(asked: Asked, number: int) -> Reply:
    """What a server of text models says to a picture."""
    return fail(400, message="image_url is not supported by this model")


def guesses(asked: Asked, number: int) -> Reply:
    return say("I can't look at pictures, but it may be red, green or blue.")


@pytest.fixture
def place(in_lab: Lab, scrontab_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("PATH", f"{scrontab_program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "state" / "registry"))
    made = Place(tmp_path, in_lab, monkeypatch)
    made.service.registry.mkdir(mode=0o700, parents=True)
    (tmp_path / "runs").mkdir()
    made.site()
    monkeypatch.chdir(tmp_path)
    with made.cleanup:
        yield made


def reds(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if check.level == "red"]


@pytest.mark.container
def test_the_lab_is_green_here_and_on_a_compute_node(place: Place) -> None:
    """The clock of one machine differs from itself by nothing, and its files are seen at once."""
    place.project(seer)
    done = ade("doctor", "--job", "--json")
    answer = json.loads(done.stdout)
    level = {check["name"]: check["level"] for check in answer["checks"]}
    said = {check["name"]: check["said"] for check in answer["checks"]}
    assert done.returncode == 0, answer
    assert answer["healthy"]
    wanted = [
        "site file", "Slurm clients", "slurmctld", "accounting", "submission", "scrontab", "container", "git",
        "registry", "model", "git push", "vision model", "probe job", "python on the node", "container on the node",
        "user namespaces on the node", "FUSE on the node", "shared filesystem", "clock", "GPUs on the node",
        "network on the node",
    ]  # fmt: skip
    for name in wanted:
        assert level[name] == "green", (name, said[name])
    lag = float(said["shared filesystem"].split()[5])
    assert abs(float(said["clock"].split()[3])) <= lag + 0.1, "as exact as the way to and fro allows"
    assert list((place.path / "runs").iterdir()) == [], "it leaves nothing behind"
    wait_for(lambda: not place.lab.named("ade-hpc-doctor"), 30, "it leaves its job behind")


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


def used_up_quota(place: Place) -> None:
    """The kernel refuses what goes beyond half a megabyte, as it does for a quota."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    place.cleanup.callback(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))


def gone_remote(place: Place) -> None:
    place.project(seer)
    shutil.rmtree(place.path / "remote")


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
    "a quota that is used up": ("runs_dir", "with room", used_up_quota),
    "a remote that is gone": ("git push", "push: never", gone_remote),
    "a model without eyes": ("vision model", "by their numbers", lambda place: place.project(no_eyes)),
    "a model that only guesses": ("vision model", "by their numbers", lambda place: place.project(guesses)),
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
        ({"setup": ["export PYTHONHOME=/nowhere"]}, "probe job", "encodings"),
        ({"defaults": {"gpus_per_node": 1}}, "GPUs on the node", "1 asked for, 0 seen"),
        ({"setup": ["export PATH=/usr/bin:/bin"], "container": "apptainer"}, "container on the node", "works there"),
    ],
)
@pytest.mark.container
def test_what_only_a_compute_node_can_tell(place: Place, changes: dict[str, object], name: str, words: str) -> None:
    """A node without our filesystem; a module that spoils Python; GPUs without a driver; a module loaded here only."""
    place.site(**changes)
    patient, checks = examine(os.environ)
    assert reds(checks) == []
    checks = examine_job(patient)
    assert reds(checks) == [name], checks
    assert words in next(check.said for check in checks if check.level == "red")
    assert list((place.path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("patch", "name", "words", "advice"),
    [
        ("import time; time.time = lambda now=time.time: now() + 65", "clock", r"\+6\d\.\d s", "clocks differ"),
        ("import socket\ndef create_connection(*_, **__): raise OSError\nsocket.create_connection = create_connection",
         "network on the node", "can't be reached", "where: laptop"),
    ],
)  # fmt: skip
def test_what_is_worse_on_the_node_is_yellow(place: Place, patch: str, name: str, words: str, advice: str) -> None:
    """The node's own Python lives in another time, or in a network that leads nowhere."""
    place.project(seer)
    (place.path / "patch").mkdir()
    (place.path / "patch" / "sitecustomize.py").write_text(patch)
    fields = yaml.safe_load((place.path / "site.yaml").read_text())
    place.site(**fields, setup=[f"export PYTHONPATH={place.path}/patch"])
    patient, checks = examine(os.environ)
    found = [*checks, *examine_job(patient)]
    assert reds(found) == []
    (check,) = (check for check in found if check.name == name)
    assert check.level == "yellow"
    assert re.search(words, check.said)
    assert advice in check.advice
