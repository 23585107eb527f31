# SPDX-License-Identifier: Apache-2.0
"""Bring commits from one repository to another in one file, a git bundle, where no git server stands between them.

A bundle is thin: it leaves out what the other side has. Whoever reads one checks that it got what it was promised.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ade_hpc.errors import RepoError
from ade_hpc.repo.commits import full_id
from ade_hpc.repo.project import Project, decoded, listed, open_project, run_git

_BROUGHT = "refs/ade-hpc/brought"


def origin(project: Project, commit: str) -> str:
    """The first commit of the line of ``commit``: what all clones of a project have in common."""
    return decoded(project.git("rev-list", "--max-parents=0", "--first-parent", full_id(commit), bulk=True))


def write_bundle(project: Project, experiment: str, commit: str, have: Sequence[str], target: Path) -> bool:
    """Write what it takes to have ``commit``, the tip of ``ade/<experiment>``; False where nothing is lacking.

    have: commits that the other side says it has; those that we don't know are no help and are left out.
    Raises RepoError where the branch is elsewhere by now.
    """
    asked = "".join(f"{full_id(one)}\n" for one in have)
    answers = decoded(project.git("cat-file", "--batch-check", stdin=asked.encode())).split("\n") if have else []
    common = [f"^{line.split()[0]}" for line in answers if line.split()[1:2] == ["commit"]]
    if not project.git("rev-list", "--max-count=1", full_id(commit), *common):
        return False
    ref = f"refs/heads/ade/{experiment}"
    if decoded(project.git("rev-parse", "--verify", ref)) != commit:
        raise RepoError(f"ade/{experiment} was moved by somebody else at the same time: look again.")
    project.git("bundle", "create", "--quiet", str(target), ref, *common, bulk=True)
    return True


def open_bare(folder: Path) -> Path:
    """A repository without a work tree, made where there is none yet."""
    if not (folder / "HEAD").exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_git(folder, "init", "--quiet", "--bare", ".")
    return folder


def commits_known(repository: Path) -> list[str]:
    """What its branches and tags point at: enough for the other side to know what is here."""
    lines = decoded(run_git(repository, "for-each-ref", "--format=%(objecttype) %(objectname)")).split("\n")
    return sorted({line.split()[1] for line in lines if line.startswith("commit ")})


def read_bundle(repository: Path, bundle: Path | None, experiment: str, commit: str) -> None:
    """Take ``commit`` in, from a bundle or because it is here already. Raises RepoError where it is not whole."""
    if bundle is not None:
        refs = f"+refs/heads/ade/{experiment}:{_BROUGHT}/{experiment}"
        run_git(repository, "fetch", "--quiet", "--no-tags", str(bundle), refs, bulk=True)
    run_git(repository, "cat-file", "-e", f"{full_id(commit)}^{{commit}}")
    run_git(repository, "update-ref", f"{_BROUGHT}/{experiment}", commit)


def check_out(repository: Path, commit: str, folder: Path) -> Project:
    """Put the files of ``commit`` into ``folder``, a linked work tree on no branch; what git does not track stays.

    Raises RepoError where somebody has edited files there: those words are nowhere else.
    """
    if not (folder / ".git").exists():
        run_git(
            repository, "worktree", "add", "--quiet", "--force", "--detach", str(folder), full_id(commit), bulk=True
        )
        return open_project(folder)
    project = open_project(folder)
    changes = decoded(project.git("status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=no", bulk=True))
    edited = [line[3:] for line in changes.split("\0") if line and set(line[:2]) - {"D", " "}]
    if edited:
        raise RepoError(
            f"{listed(edited)} in {folder} was edited there: take the change over into your project and undo it there "
            f"(git -C {folder} checkout --force), then submit again."
        )
    project.git("checkout", "--quiet", "--force", "--detach", full_id(commit), bulk=True)
    return project


@contextmanager
def lend(repository: Path, commit: str, beside: Path) -> Iterator[Project]:
    """Put the files of ``commit`` into a new folder in ``beside``, as ``check_out`` does; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=".lent-", dir=beside, ignore_cleanup_errors=True) as folder:
        project = check_out(repository, commit, Path(folder))
        try:
            yield project
        finally:
            run_git(repository, "worktree", "remove", "--force", folder, bulk=True)


def forward(project: Project, bundle: Path, experiment: str) -> bool:
    """Move ``ade/<experiment>`` to what a bundle brings, if that contains what it has; True where it did."""
    ref = f"refs/heads/ade/{experiment}"
    try:
        project.git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(bundle), f"{ref}:{ref}", bulk=True)
    except RepoError as error:
        if "rejected" in str(error) or "non-fast-forward" in str(error):
            return False
        raise
    return True
