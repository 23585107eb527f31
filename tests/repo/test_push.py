# SPDX-License-Identifier: Apache-2.0
"""A push moves the experiment's branch on the remote forward, or says why not; it never forces."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ade_hpc.errors import RepoError
from ade_hpc.repo.branch import commit_file, freeze, open_project, tip
from ade_hpc.repo.project import Project
from ade_hpc.repo.push import push_branch

if TYPE_CHECKING:
    from tests.repo.conftest import Repo


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, repo: Repo) -> Project:
    """A project with a branch ade/tiny, and a bare remote called origin."""
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    repo.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    project = open_project(repo.path)
    freeze(project, "tiny", allow_dirty=False, trailers={})
    return project


def change(project: Project, lr: str) -> str:
    parent = tip(project, "tiny")
    assert parent is not None
    path = project.prefix / "config.yaml"
    return commit_file(
        project,
        "tiny",
        path,
        f"optimizer:\n  lr: {lr}\n",
        parent=parent,
        subject=lr,
        body="",
        trailers={"Ade-Attempt": lr},
    )


def on_remote(project: Project) -> str:
    return git(project.top.parent / "remote.git", "for-each-ref", "--format=%(refname) %(objectname)")


def test_only_the_branch_of_the_experiment_is_pushed(project: Project) -> None:
    commit = change(project, "0.05")
    assert push_branch(project, "tiny", "origin")
    assert on_remote(project) == f"refs/heads/ade/tiny {commit}"
    assert not push_branch(project, "tiny", "origin")


def test_a_remote_that_went_on_is_not_overwritten(project: Project, tmp_path: Path) -> None:
    change(project, "0.05")
    push_branch(project, "tiny", "origin")
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", "--branch", "ade/tiny", "remote.git", "other")
    git(
        other,
        "-c",
        "user.name=Bo",
        "-c",
        "user.email=bo@example.org",
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "elsewhere",
    )
    git(other, "push", "--quiet", "origin", "ade/tiny")
    theirs = on_remote(project)
    change(project, "0.01")
    with pytest.raises(RepoError, match="commits on ade/tiny that are not here"):
        push_branch(project, "tiny", "origin")
    assert on_remote(project) == theirs


def test_a_remote_that_is_ahead_of_what_we_know_but_not_of_us_is_caught_up(project: Project) -> None:
    """Our own push from another clone, say after a crash: nothing is refused that is ours already."""
    commit = change(project, "0.05")
    git(project.top, "push", "--quiet", "origin", "ade/tiny")
    git(project.top, "update-ref", "-d", "refs/remotes/origin/ade/tiny")
    assert push_branch(project, "tiny", "origin")
    assert commit in on_remote(project)


def test_a_remote_that_is_away_is_one_sentence(project: Project) -> None:
    git(project.top, "remote", "set-url", "origin", str(project.top / "nowhere"))
    with pytest.raises(RepoError, match="could not be pushed to origin"):
        push_branch(project, "tiny", "origin")
