# SPDX-License-Identifier: Apache-2.0
"""What can go wrong before a job exists: the message says what to do, the ledger what happened, later it works."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from ade_hpc.errors import AdeError, RepoError, SpecError, StoreError, UsageError
from ade_hpc.launch.submit import submit
from ade_hpc.spec.experiment import load_experiment
from ade_hpc.store.ledger import append
from tests.support.full_disk import room_for
from tests.support.project import Project, lives, make_project

LEARNS = {"optimizer": {"lr": 0.05}, "steps": 20}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, config=LEARNS)


def fields(project: Project, **changes: object) -> None:
    known = yaml.safe_load((project.path / "experiment.yaml").read_text())
    project.write("experiment.yaml", yaml.safe_dump({**known, **changes}))
    project.commit("change the experiment")


def assert_refused_then_works(project: Project, error: type[AdeError], words: str) -> None:
    with pytest.raises(error, match=words):
        project.submit()
    last = project.ledger.entries[-1]
    assert last.kind == "refused"
    assert words in str(last.data["message"])


def test_a_dirty_tree_is_refused_and_allow_dirty_commits_it_aside(project: Project) -> None:
    project.write("config.yaml", (project.path / "config.yaml").read_text().replace("steps: 20", "steps: 30"))
    assert_refused_then_works(project, RepoError, "--allow-dirty")

    number, _ = project.submit(allow_dirty=True)

    assert number == 2
    assert project.wait_for_exit(2) == "completed"
    assert project.git("log", "--format=%H", "ade/tiny", "^HEAD")
    assert "steps: 30" in project.git("show", "ade/tiny:config.yaml")
    assert project.git("status", "--porcelain").split() == ["M", "config.yaml"]


def test_outside_of_a_git_repository(project: Project) -> None:
    shutil.rmtree(project.path / ".git")
    assert_refused_then_works(project, RepoError, "git init")


def test_a_missing_image(project: Project) -> None:
    fields(project, image="absent.sif")
    assert_refused_then_works(project, AdeError, "absent.sif")
    fields(project, image=None)
    assert project.submit()[0] == 2
    assert project.wait_for_exit(2) == "completed"


def test_a_tree_of_too_many_files_needs_code(project: Project) -> None:
    (project.path / "data").mkdir()
    for number in range(5100):
        (project.path / "data" / f"{number}.txt").write_text("x")
    project.commit("data in git")
    assert_refused_then_works(project, RepoError, "code:")
    fields(project, code=["train.py", "config.yaml"])
    assert project.submit()[0] == 2
    assert project.wait_for_exit(2) == "completed"


def test_wrong_files_create_nothing(project: Project) -> None:
    project.write("experiment.yaml", "name: tiny\ncommand: [a]\npartitoin: x\n")
    with pytest.raises(SpecError, match="partition"):
        load_experiment(project.path / "experiment.yaml", project.site)
    assert not (project.path / ".ade").exists()


def test_a_living_experiment_is_not_submitted_twice(project: Project) -> None:
    project.write("config.yaml", (project.path / "config.yaml").read_text().replace("steps: 20", "steps: 100000"))
    project.commit("longer")
    _, job = project.submit()
    with pytest.raises(UsageError, match=job):
        project.submit()
    (project.folder.attempt(1).scratch / "order").write_text("finish")
    assert project.wait_until_over(1) == "completed"
    assert project.submit()[0] == 2
    project.end()


def test_a_command_that_is_not_there_leaves_an_exit_record(project: Project) -> None:
    fields(project, command=["no-such-program"])
    project.submit()
    assert project.wait_until_over(1) == "command-missing"
    assert project.tick().code == 4


def test_the_user_s_checkout_is_untouched(tmp_path: Path) -> None:
    """Branch, HEAD, index, reflog, stash and work tree, with mtimes, are the same after a commit (invariant 6)."""
    project = make_project(tmp_path, config={"steps": 200, "hot_from": 60})
    project.write("notes.txt", "a")
    project.git("add", "notes.txt")
    project.git("stash")
    hook = project.path / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    project.git("config", "commit.gpgsign", "true")
    before = fingerprint(project.path)

    project.submit()
    project.run_to_end()

    assert project.git("rev-list", "--count", "HEAD..ade/tiny") == "1"
    assert fingerprint(project.path) == before


def fingerprint(path: Path) -> dict[str, tuple[int, str]]:
    """Every file of work tree and .git by mtime and content, less git's objects and the experiment's own branch."""
    ours = (".ade/", ".git/objects/", ".git/refs/heads/ade/", ".git/logs/refs/heads/ade/")
    found = {}
    for file in sorted(path.rglob("*")):
        name = str(file.relative_to(path))
        if file.is_file() and not name.startswith(ours):
            found[name] = (file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest())
    return found


def test_no_space_for_the_run_folder(project: Project) -> None:
    """A runs_dir that can't be made says so, and nothing is left behind."""
    (project.path.parent / "file").write_text("")
    fields(project, runs_dir=str(project.path.parent / "file" / "runs"))
    with pytest.raises(AdeError, match="runs_dir"):
        project.submit()


def test_a_run_folder_that_is_open_to_others_is_refused(project: Project) -> None:
    open_to_all = project.path.parent / "shared"
    (open_to_all / "tiny").mkdir(parents=True)
    (open_to_all / "tiny").chmod(0o750)
    fields(project, runs_dir=str(open_to_all))
    with pytest.raises(AdeError, match="chmod 700"):
        project.submit()


@pytest.mark.parametrize("moment", ["intent:before", "trying:before"])
def test_nothing_is_submitted_that_the_ledger_has_no_room_for(project: Project, moment: str) -> None:
    """A disk that is full for a moment tears the intent, or the word that it is being tried."""
    folder = project.folder
    folder.make_folders()
    append(folder.ledger, "note", {"text": "x" * 200_000}, now=0.0)  # nothing else is as big
    with ExitStack() as full:

        def fill(place: str) -> None:
            full.close()
            if place == moment:
                full.enter_context(room_for(folder.ledger.stat().st_size + 20))

        with pytest.raises(StoreError, match="written"):
            submit(
                project.experiment, project.site, project.scheduler, project.registry, allow_dirty=False, announce=fill
            )

    project.tick()
    assert project.submit()[0] == 2
    assert project.wait_until_over(2) == "completed"
    assert [life for _, _, life in lives(project)] == ["2.0"]
