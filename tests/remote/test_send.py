# SPDX-License-Identifier: Apache-2.0
"""`submit` from a laptop through a real sshd: the commit and the image reach the cluster, and nothing happens twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from ade_hpc.errors import AdeError, RepoError, UsageError
from ade_hpc.launch.depot import Depot, Order
from ade_hpc.launch.plan import Plan, new_token
from ade_hpc.remote.connect import connect
from ade_hpc.remote.far import Far, FarError
from ade_hpc.remote.send import Sent, pack, send
from ade_hpc.remote.transport import Progress
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import append
from ade_hpc.store.records import AttemptRecord, load_attempt
from tests.support.project import Project, make_project, wait_for
from tests.support.sshd import Laptop, LoginNode, login_node

pytestmark = pytest.mark.sshd
LEARNS = {"optimizer": {"lr": 0.05}, "steps": 20}
SITE = "scheduler: local\nheartbeat_interval: 1s\nmax_submissions_per_hour: 100\n"


@pytest.fixture
def login(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoginNode]:
    with login_node(more={"GIT_CONFIG_NOSYSTEM": "1"}) as node:
        settings = node.home / ".config" / "ade-hpc"
        settings.mkdir(parents=True, mode=0o700)
        (settings / "site.yaml").write_text(SITE)
        Laptop.at(isolated, monkeypatch).add("login", node)
        yield node


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, config=LEARNS)


def submit(project: Project, progress: Progress | None = None, **more: bool) -> Sent:
    wanted = {"local": False, "dry_run": False, "allow_dirty": False, **more}
    parcel = pack("login", project.path / "experiment.yaml", environ=os.environ, **wanted)
    with connect("login") as transport:
        return send(Far(transport), parcel, progress)


def over(sent: Sent) -> ExperimentDir:
    """Wait until the attempt has left its final exit record."""
    folder = ExperimentDir(Path(sent.receipt["run_dir"]))
    attempt = folder.attempt(sent.receipt["attempt"])
    wait_for(
        lambda: [one for one in attempt.exits.glob("*.json") if json.loads(one.read_text())["final"]], 60, "no end"
    )
    return folder


def record_of(sent: Sent) -> AttemptRecord:
    record = load_attempt(ExperimentDir(Path(sent.receipt["run_dir"])).attempt(sent.receipt["attempt"]))
    assert record is not None
    return record


def test_the_committed_tree_runs_there_and_the_next_one_after_it(project: Project, login: LoginNode) -> None:
    first = submit(project)
    folder = over(first)

    assert record_of(first).commit == project.git("rev-parse", "HEAD") == project.git("rev-parse", "ade/tiny")
    assert folder.path.is_relative_to(login.home / ".ade-hpc")
    assert (folder.attempt(1).code / "config.yaml").read_text() == (project.path / "config.yaml").read_text()
    assert not list((login.home / ".ade-hpc").rglob("*.bundle"))
    assert {path.stat().st_mode & 0o077 for path in (login.home / ".ade-hpc").rglob("*") if not path.is_symlink()} == {
        0
    }

    project.write("config.yaml", (project.path / "config.yaml").read_text().replace("steps: 20", "steps: 100000"))
    with pytest.raises(RepoError, match="--allow-dirty"):
        submit(project)
    second = submit(project, allow_dirty=True)

    assert second.receipt["attempt"] == 2
    assert record_of(second).config["steps"] == 100_000
    assert project.git("log", "--format=%H", "ade/tiny", "^HEAD") == record_of(second).commit
    assert project.git("status", "--porcelain").split() == ["M", "config.yaml"]
    (preferences,) = (login.home / ".ade-hpc" / "projects").glob("*/tiny/preferences.md")
    before = preferences.read_text()
    project.write("preferences.md", before.replace("mode: auto", "mode: observe"))
    with pytest.raises(FarError, match="is alive"):
        submit(project, allow_dirty=True)
    assert preferences.read_text() == before, "a refused submission must not change the bounds of what runs"
    with connect("login") as transport:
        assert transport.run(["ade-hpc", "cancel", "tiny"], timeout_s=60).returncode == 0
    over(second)


def test_an_image_goes_over_once_by_its_digest(project: Project, login: LoginNode, tmp_path: Path) -> None:
    """Verified there, in its place whole, for this user alone; a damaged one is said and sent again."""
    image = tmp_path / "elsewhere" / "trainer image.sif"
    image.parent.mkdir()
    image.write_bytes(os.urandom(300_000))
    fields = yaml.safe_load((project.path / "experiment.yaml").read_text())
    project.write("experiment.yaml", yaml.safe_dump({**fields, "image": str(image)}))
    project.commit()
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    images = login.home / ".ade-hpc" / "images"
    told: list[tuple[int, int]] = []

    sent = submit(project, dry_run=True, progress=lambda done, total: told.append((done, total)))

    assert "tiny" in sent.receipt["script"]
    assert told[-1] == (300_000, 300_000)
    arrived = images / f"sha256-{digest}.sif"
    assert arrived.read_bytes() == image.read_bytes()
    assert arrived.stat().st_mode & 0o777 == 0o600
    told.clear()
    submit(project, dry_run=True, progress=lambda done, total: told.append((done, total)))
    assert told == []
    assert list(images.iterdir()) == [arrived]

    arrived.unlink()
    with (images / f"incoming-{digest}").open("wb") as file:
        file.write(b"half of it")
    order = Order("project", "0" * 40, "tiny", "0" * 40, "experiment.yaml", "0" * 32, digest)
    with pytest.raises(AdeError, match="arrived damaged"):
        Depot(login.home).image(order)
    assert list(images.iterdir()) == []


def test_what_would_not_reach_the_cluster_is_said_before_anything_is_sent(
    project: Project, login: LoginNode, tmp_path: Path
) -> None:
    project.write(".gitignore", ".ade/\npreferences.md\n")
    project.git("rm", "--cached", "--quiet", "preferences.md")
    project.commit()
    with pytest.raises(RepoError, match=r"preferences\.md is not in commit"):
        submit(project)

    elsewhere = tmp_path / "preferences.md"
    shutil.copy(project.path / "preferences.md", elsewhere)
    fields = yaml.safe_load((project.path / "experiment.yaml").read_text())
    project.write("experiment.yaml", yaml.safe_dump({**fields, "preferences": "../preferences.md"}))
    project.commit()
    with pytest.raises(UsageError, match="can't reach the cluster"):
        submit(project)
    assert not (login.home / ".ade-hpc").exists()


def test_what_was_edited_on_the_cluster_is_not_written_over(project: Project, login: LoginNode) -> None:
    over(submit(project))
    (there,) = (login.home / ".ade-hpc" / "projects").glob("*/tiny/preferences.md")
    there.write_text(there.read_text() + "\nAnd be careful.\n")
    project.write("note.md", "work goes on")
    project.commit()

    with pytest.raises(FarError, match=r"preferences\.md in .* was edited there: take the change over"):
        submit(project)

    assert "And be careful." in there.read_text()


def test_a_dry_run_shows_what_would_be_submitted_while_the_experiment_lives(project: Project, login: LoginNode) -> None:
    """And what ticks read stays as it was submitted, while it lives and after."""
    fields = {**yaml.safe_load((project.path / "experiment.yaml").read_text()), "runs_dir": "../runs"}
    project.write("experiment.yaml", yaml.safe_dump(fields))
    project.write("config.yaml", (project.path / "config.yaml").read_text().replace("steps: 20", "steps: 3000"))
    project.commit()
    sent = submit(project)
    folder = ExperimentDir(Path(sent.receipt["run_dir"]))
    (preferences,) = (login.home / ".ade-hpc" / "projects").glob("*/tiny/preferences.md")
    before = preferences.read_text()
    project.write("preferences.md", before.replace("mode: auto", "mode: observe"))
    project.write("experiment.yaml", yaml.safe_dump({**fields, "setup": ["module load cuda"]}))
    project.commit()

    alive = submit(project, dry_run=True)
    with connect("login") as transport:
        assert transport.run(["ade-hpc", "cancel", "tiny"], timeout_s=60).returncode == 0
    over(sent)
    ended = submit(project, dry_run=True)

    for shown in (alive, ended):
        assert set(shown.receipt) == {"script"}
        assert "module load cuda" in shown.receipt["script"]
        assert shown.receipt["script"].endswith(f"{folder.attempt(2).path}\n")
    assert preferences.read_text() == before
    assert sorted(path.name for path in preferences.parents[1].iterdir()) == ["repository", "runs", "tiny"]
    assert [one.number for one in folder.attempts()] == [1]


def test_a_dry_run_leaves_alone_what_was_cut_off(project: Project, login: LoginNode) -> None:
    """Attempt 2 has been announced there, and its request is remembered here: as if `submit` had died on both sides."""
    first = submit(project)
    folder = over(first)
    parcel = pack(
        "login", project.path / "experiment.yaml", local=False, dry_run=False, allow_dirty=False, environ=os.environ
    )
    plan = Plan(2, new_token("tiny", 2), "local", "person", "submitted by hand", request=parcel.order.request)
    folder.claim_attempt(2)
    append(folder.ledger, "intent", plan.to_json(), now=time.time())
    announced = folder.ledger.read_bytes()

    sent = submit(project, dry_run=True)

    assert folder.ledger.read_bytes() == announced
    assert str(folder.attempt(3).path) in sent.receipt["script"]
    adopted = submit(project)
    assert (adopted.receipt["attempt"], adopted.receipt["adopted"]) == (2, True)
    over(adopted)


HOSTILE = [
    {"experiment": "../../x"}, {"project": "../x"}, {"project": "-x"}, {"file": "../experiment.yaml"},
    {"file": "/etc/x"}, {"commit": "--upload-pack=x"}, {"origin": "x/../y"}, {"request": "../x"}, {"image": "../x"},
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: "-".join(map(str, change.items())))
def test_an_order_with_a_hostile_word_is_refused(change: dict[str, Any]) -> None:
    good = asdict(Order("project", "0" * 40, "tiny", "0" * 40, "experiment.yaml", "0" * 32))
    assert Order.from_json(json.dumps(good).encode()).experiment == "tiny"

    with pytest.raises(UsageError, match="order"):
        Order.from_json(json.dumps({**good, **change}).encode())
