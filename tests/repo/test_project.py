# SPDX-License-Identifier: Apache-2.0
"""Where the project is found, and what a user reads when git says no."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from ade_hpc.errors import RepoError
from ade_hpc.repo import project as rim
from ade_hpc.repo.project import open_project, printable, run_git


def test_a_folder_within_a_work_tree(repo) -> None:
    (repo.path / "exps" / "one").mkdir(parents=True)
    project = open_project(repo.path / "exps" / "one")
    assert project.top == repo.path
    assert project.prefix == PurePosixPath("exps/one")
    assert open_project(repo.path).prefix == PurePosixPath()


def test_a_relative_folder(repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo.path.parent)
    assert open_project(Path("project")).top == repo.path


def test_a_linked_work_tree_is_its_own_top(repo) -> None:
    repo.git("worktree", "add", "-q", "--detach", "../linked")
    assert open_project(repo.path.parent / "linked").top == repo.path.parent / "linked"


def test_what_a_surrounding_git_hook_exports_is_ignored(repo, make_repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside `git rebase --exec` GIT_DIR names another repository: it must be neither read nor written."""
    other = make_repo("other", {"a": "a"})
    monkeypatch.setenv("GIT_DIR", str(other.path / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.path / ".git/index"))
    project = open_project(repo.path)
    assert project.top == repo.path
    assert project.git_path("index") == repo.path / ".git/index"


def test_a_vanished_repository_is_not_replaced_by_one_further_up(make_repo) -> None:
    make_repo("outer", {"a": "a"})
    inner = make_repo("outer/inner", {"b": "b"})
    project = open_project(inner.path)
    (inner.path / ".git").rename(inner.path / "moved")
    with pytest.raises(RepoError, match="in no git repository"):
        project.git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is in no git repository: run `git init`"),
        (lambda path: subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True), "is a bare repository"),
        (lambda path: None, "is not a folder that you may enter"),
    ],
)
def test_no_work_tree_there(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "place")
    with pytest.raises(RepoError, match=said):
        open_project(tmp_path / "place")


def test_somebody_elses_repository_comes_with_the_command_that_trusts_it(repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its own test of this
    with pytest.raises(RepoError, match=f"run `git config --global --add safe.directory {repo.path}`"):
        open_project(repo.path)


@pytest.fixture
def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a script in git's place: the one way to have a full disk or a hanging filesystem in a test."""

    def install(script: str) -> None:
        run_git(tmp_path, "--version")  # GitPython looks for the real one first
        path = tmp_path / "bin" / "git"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")

    return install


@pytest.mark.parametrize(
    ("err", "said"),
    [
        (
            "fatal: write error: No space left on device",
            r"could not write in /p \(No space left on device\): make room",
        ),
        ("error: unable to write: Disk quota exceeded", r"Disk quota exceeded\): make room"),
        ("fatal: loose object directory: Permission denied", "you may not write to the repository of /p"),
        (
            "warning: x: Permission denied\nfatal: odd \x1b[31mthing",
            r"git status failed in /p \(status 128\): fatal: odd",
        ),
        ("", "it said nothing"),
    ],
)
def test_every_refusal_is_one_printable_sentence(fake_git: Callable[[str], None], err: str, said: str) -> None:
    fake_git(f"cat >&2 <<'END'\n{err}\nEND\nexit 128")
    with pytest.raises(RepoError, match=said) as caught:
        run_git(Path("/p"), "status")
    assert str(caught.value).isprintable()


def test_a_git_that_hangs_is_killed(fake_git: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git("exec sleep 50")
    monkeypatch.setattr(rim, "TIMEOUT_S", 0.3)
    with pytest.raises(RepoError, match="git gave no answer in time"):
        run_git(Path("/p"), "status")


def test_no_git_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_git(tmp_path, "--version")
    (tmp_path / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RepoError, match="`git` was not found on PATH"):
        run_git(tmp_path, "--version")


def test_names_of_files_can_not_command_a_terminal() -> None:
    assert printable("a\x1b[2J\nb\u202ec\u2028d") == "a [2J b c d"
