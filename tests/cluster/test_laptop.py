# SPDX-License-Identifier: Apache-2.0
"""The whole story from a laptop: another user on another machine, an sshd, and a real Slurm behind it.

The laptop's user has an account and a home of their own, and nothing of the cluster but a key. The same story is told
by the user of the cluster who sits at the login node, and what the two can read of it is compared field by field.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ade_hpc import __version__
from ade_hpc.errors import HostSilent
from ade_hpc.remote.connect import connect
from ade_hpc.remote.far import Far
from ade_hpc.remote.send import Sent, pack, send
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import read_ledger
from ade_hpc.store.records import load_exits
from tests.agent.test_story import DOWN, LOOK, TOO_FAR
from tests.cluster.conftest import Lab
from tests.conftest import GIT_CONFIG, cannot_run
from tests.support.account import Account, account
from tests.support.chat_server import KEY, ChatServer, chat_server, say
from tests.support.project import Project, make_project, wait_for
from tests.support.sshd import VENV, Laptop, LoginNode, login_node, make_offline_venv

pytestmark = [pytest.mark.sshd, pytest.mark.slow, pytest.mark.timeout(900)]
PATH = "/usr/local/bin:/usr/bin:/bin"
SITE = "scheduler: slurm\nheartbeat_interval: 1s\n"
RESOURCES = {"partition": "main", "time": "10", "mem": "400M", "cpus_per_task": 1}
EXPLODES = {"steps": 160, "hot_from": 60, "checkpoint_every": 10}
PERSONAL = re.compile(
    r"(?P<RUNS>/\S*(?=/tiny/))|(?P<HASH>\b[0-9a-f]{10,64}\b)|(?P<TOKEN>(?<=-)[0-9a-f]{8}\b)|(?P<ID>\b\d{4,}\b)"
    r"|(?P<NODE>\bn[1-4]\b)|(?P<BEAT>beat \d+)|(?P<AGO>\d+ s before)"
)
WANTED = """# What I want

When the loss explodes, lower the learning rate.

```yaml
objective: {tag: accuracy/val, goal: max}
tunables: {optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 20, tag: lr}}
limits: {mode: auto, max_attempts: 6, cooldown: 0s}
agent: {model: scripted, vision_model: scripted-vision, where: WHERE}
```
"""


@dataclass(frozen=True)
class Cluster:
    """The login node, by whom it is reached, and the Slurm behind it."""

    lab: Lab
    login: LoginNode
    person: Account
    model: ChatServer

    def ade(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """On the laptop, with the key of the model; no shell there has it."""
        env = {"PATH": PATH, "LANG": "C.UTF-8", "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": self.model.url}
        argv = [sys.executable, "-m", "ade_hpc.cli", "--host", "login", *words]
        return self.person.starts(argv, env, cwd)

    def by_hand(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """What somebody types who has logged in with ssh."""
        settings = [f"{name}={value}" for name, value in env.items()]
        line = shlex.join(["env", *settings, f"{self.login.home}/{VENV}/bin/ade-hpc", *words])
        return self.person.starts(["ssh", "login", f"cd project && {line}"], {"PATH": PATH})

    def has_run(self, said: str) -> None:
        """Wait until the job that a command has named has left the queue: its log ends a little earlier."""
        job = re.search(r"\b(?:as|is) job (\d+)", said)
        assert job is not None, said
        self.lab.wait_state(job[1], ["COMPLETED"])


@pytest.fixture
def cluster(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        cannot_run("only root can make an account for the laptop's user")
    more = {"SLURM_CONF": lab.env["SLURM_CONF"], "GIT_CONFIG_NOSYSTEM": "1"}
    with (
        tempfile.TemporaryDirectory(prefix="ade-laptop-") as folder,  # pytest's own are closed to all others
        account(f"ade-laptop-{os.getpid()}", Path(folder)) as person,
        login_node(path=PATH, more=more) as login,
        chat_server() as model,
    ):
        laptop = Laptop.at(person.home, monkeypatch)
        (person.home / ".gitconfig").write_text(GIT_CONFIG)
        make_offline_venv(login.home)
        (login.home / ".gitconfig").write_text(GIT_CONFIG)
        settings = login.home / ".config/ade-hpc"
        settings.mkdir(parents=True, mode=0o700)
        (settings / "site.yaml").write_text(SITE)
        laptop.add("login", login)
        project_in(person.home, "laptop")
        project_in(login.home, "tick")
        person.owns(person.home)
        yield Cluster(lab, login, person, model)


def project_in(home: Path, where: str) -> None:
    """A run that will explode. where: from where a model is asked."""
    project = make_project(home, kind="slurm", config=EXPLODES, experiment=RESOURCES)
    project.write("preferences.md", WANTED.replace("WHERE", where))
    project.commit("what I want")


def test_the_same_story_as_for_somebody_at_the_login_node(cluster: Cluster) -> None:
    cluster.model.says(LOOK, say("It explodes after step 60."), TOO_FAR, DOWN)
    far = from_the_laptop(cluster)
    asked = len(cluster.model.asked)
    assert asked == 4
    cluster.model.says(LOOK, say("It explodes after step 60."), TOO_FAR, DOWN)
    near = at_the_login_node(cluster)
    assert len(cluster.model.asked) == 2 * asked

    assert dict(fields(settled(far))) == dict(fields(settled(near)))
    assert far["history"]["attempts"][1]["changes"] == ["optimizer.lr: 0.5 -> 0.05"]
    assert far["history"]["attempts"][1]["author"] == "model:scripted"
    there = [path for path in cluster.login.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in there if KEY.encode() in path.read_bytes()]
    assert "for-laptop" in cluster.login.told
    assert KEY not in cluster.login.said + cluster.login.told
    pulled_back(cluster)


def from_the_laptop(cluster: Cluster) -> dict[str, Any]:
    """Nothing is there yet but a venv; at the end the second attempt has learned."""
    bare = cluster.ade("status")
    assert (bare.returncode, bare.stdout) == (1, "")
    assert bare.stderr == "ade-hpc: login: ade-hpc is not installed there; run: ade-hpc --host login bootstrap\n"
    made = cluster.ade("bootstrap")
    assert made.stdout.startswith(f"login: ade-hpc {__version__} in {VENV}\n"), made.stderr
    examined = json.loads(cluster.ade("doctor", "--json").stdout)["checks"]
    assert [one["level"] for one in examined if one["name"] in ("connection", "ade-hpc there")] == ["green", "green"]

    project = cluster.person.home / "project"
    before = cluster.login.said.count("Accepted publickey")
    followed = cluster.ade("submit", "experiment.yaml", "--follow", cwd=project)
    assert cluster.login.said.count("Accepted publickey") == before + 1, "one connection for a whole command"
    assert followed.returncode == 0, followed.stderr
    assert "tiny: attempt 1 is job" in followed.stdout
    assert "starts at step 0 with lr 0.5" in followed.stdout
    cluster.has_run(followed.stdout)
    scheduled = cluster.by_hand("tick")
    assert scheduled.returncode == 0, scheduled.stdout + scheduled.stderr
    assert "waits for a model" in cluster.ade("status").stdout
    repaired = cluster.ade("tick")
    assert "resubmitted" in repaired.stdout, repaired.stdout + repaired.stderr
    assert "with lr 0.05" in cluster.ade("logs", "tiny", "--follow").stdout
    cluster.has_run(repaired.stdout)
    assert cluster.ade("tick").returncode == 0
    return {word: json.loads(cluster.ade(word, "tiny", "--json").stdout) for word in ("status", "history")}


def at_the_login_node(cluster: Cluster) -> dict[str, Any]:
    """The same, by the same commands without --host, in another registry."""
    env = {
        "ADE_REGISTRY": str(cluster.login.home / "near"),
        "OPENAI_API_KEY": "another",
        "OPENAI_BASE_URL": cluster.model.url,
    }
    followed = cluster.by_hand("submit", "experiment.yaml", "--follow", **env)
    assert followed.returncode == 0, followed.stderr
    cluster.has_run(followed.stdout)
    scheduled = cluster.by_hand("tick", "--no-llm", **env)
    assert scheduled.returncode == 0, scheduled.stdout + scheduled.stderr
    repaired = cluster.by_hand("tick", **env)
    assert "resubmitted" in repaired.stdout, repaired.stdout + repaired.stderr
    cluster.by_hand("logs", "tiny", "--follow", **env)
    cluster.has_run(repaired.stdout)
    cluster.by_hand("tick", **env)
    return {word: json.loads(cluster.by_hand(word, "tiny", "--json", **env).stdout) for word in ("status", "history")}


def settled(told: dict[str, Any]) -> dict[str, Any]:
    """Without which source had forgotten the job when somebody looked, and without looks that saw nothing new."""
    for row in told["status"]["experiments"]:
        del row["sources"], row["detail"]
    events, before = [], ""
    for event in told["history"]["events"]:
        seen = event["text"] if event["kind"] == "observed" else ""
        if not seen or seen != before:
            events.append({**event, "more": [] if seen else event["more"]})
        before = seen or before
    told["history"]["events"] = events
    return told


def fields(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Each field by its place, without what two stories can't share: times, ids, and where the run folder is."""
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from fields(one, f"{where}.{key}")
    elif where.endswith(("age_s", "_at", "time", "pid")) and value is not None:
        yield where, "a time"
    else:
        yield where, PERSONAL.sub(lambda found: found.lastgroup, value) if isinstance(value, str) else value


def pulled_back(cluster: Cluster) -> None:
    """A picture and a page come to the laptop, for its user alone, and open there."""
    from PIL import Image

    home = cluster.person.home
    run_dir = json.loads(cluster.ade("status", "--json").stdout)["experiments"][0]["output"]
    logdir = str(Path(run_dir).parent / "tensorboard")
    drawn = cluster.ade("plot", logdir, "-o", str(home / "curves.png"))
    assert drawn.returncode == 0, drawn.stderr
    with Image.open(home / "curves.png") as picture:
        picture.verify()
    assert cluster.ade("report", "-o", str(home / "night.html")).returncode == 0
    page = (home / "night.html").read_text()
    assert "tiny" in page
    assert "0.05" in page
    for name in ("curves.png", "night.html"):
        assert (home / name).owner() == cluster.person.name
        assert (home / name).stat().st_mode & 0o777 == 0o600


# --- the connection breaks while a submission is under way -----------------------------------------------------------


@pytest.fixture
def from_here(in_lab: Lab, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LoginNode, Laptop]]:
    """A login node with ade-hpc, and this very process as the laptop."""
    more = {"SLURM_CONF": in_lab.env["SLURM_CONF"], "GIT_CONFIG_NOSYSTEM": "1"}
    with login_node(more=more) as login:
        settings = login.home / ".config/ade-hpc"
        settings.mkdir(parents=True, mode=0o700)
        (settings / "site.yaml").write_text(f"{SITE}max_submissions_per_hour: 100\nmax_live_attempts: 100\n")
        laptop = Laptop.at(isolated, monkeypatch)
        laptop.add("login", login)
        yield login, laptop


def made_for(root: Path, names: Sequence[str]) -> Project:
    """One project with an experiment file for each of these names."""
    project = make_project(root, kind="slurm", config={"optimizer": {"lr": 0.05}, "steps": 20}, experiment=RESOURCES)
    fields = yaml.safe_load((project.path / "experiment.yaml").read_text())
    for name in names:
        project.write(f"{name}.yaml", yaml.safe_dump({**fields, "name": name}))
    project.commit("one for each instant")
    return project


def submit_from_here(project: Project, name: str) -> Sent:
    """Of the same project, as an experiment of this name."""
    parcel = pack(
        "login", project.path / f"{name}.yaml", local=False, dry_run=False, allow_dirty=False, environ=os.environ
    )
    with connect("login", attended=False) as transport:
        return send(Far(transport), parcel)


def test_a_connection_that_drops_at_any_instant_of_submit_leaves_one_start(
    from_here: tuple[LoginNode, Laptop], in_lab: Lab, tmp_path: Path
) -> None:
    """At 20 random instants, over both transports: the same command again finds what has begun, and starts it once."""
    login, laptop = from_here
    names = [f"drop{number:02}" for number in range(21)]
    project = made_for(tmp_path, names)
    began = time.monotonic()
    submit_from_here(project, names[0])
    usual = dict.fromkeys((True, False), time.monotonic() - began)
    dice, told, broken = random.Random(7), {}, 0
    for name in names[1:]:
        instant, shared = dice.random(), dice.random() < 0.5
        breaker = threading.Timer(instant * usual[shared], login.drop)
        with laptop.master("login") if shared else contextlib.nullcontext():
            breaker.start()
            try:
                began = time.monotonic()
                told[name] = submit_from_here(project, name)
                took = time.monotonic() - began
                usual[shared] = min(usual[shared], took)  # the first one may have waited for a busy machine
            except HostSilent:
                broken += 1
            breaker.join()
        told[name] = submit_from_here(project, name) if name not in told else told[name]
    assert broken >= 10, "hardly any of them was under way when the connection broke"
    assert [sent.receipt["attempt"] for sent in told.values()] == [1] * 20
    assert any(sent.receipt["adopted"] for sent in told.values())
    for name, sent in told.items():
        folder = ExperimentDir(Path(sent.receipt["run_dir"]))
        wait_for(lambda folder=folder: load_exits(folder.attempt(1)), 60, f"{name} did not run to its end")
        assert [one.number for one in folder.attempts()] == [1]
        exits = [one for one in load_exits(folder.attempt(1)) if one.trainer_started_at]
        assert [one.job_id for one in exits] == [sent.receipt["job_id"]]
        assert [entry.kind for entry in read_ledger(folder.ledger).entries].count("intent") == 1

    def jobs() -> list[str]:
        rows = in_lab.run(["sacct", "-X", "-n", "-P", "-S", "now-1days", "-o", "JobName"]).stdout.splitlines()
        return [name for name in rows if "drop" in name]

    wait_for(lambda: len(jobs()) >= len(names), 30, "accounting does not know of all jobs")
    assert len(jobs()) == len(set(jobs())) == len(names)
