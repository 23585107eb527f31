# SPDX-License-Identifier: Apache-2.0
"""The user's files as they lie in the work tree: what is not committed, and a tree that holds it.

The user's index is only ever copied. Filters and line endings apply as in ``git add``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ade_hpc.errors import RepoError
from ade_hpc.repo.project import MAX_BYTES, MAX_FILES, Project, decoded, listed, private_index

_UNMERGED = {"DD", "AU", "UD", "UA", "DU", "AA", "UU"}


@dataclass(frozen=True)
class _Change:
    """One line of ``git status``: ``code`` as in git-status(1), ``path`` relative to the top of the work tree."""

    code: str
    path: str


def uncommitted_tree(project: Project, experiment: str, *, allow_dirty: bool, exclude: Sequence[Path]) -> str | None:
    """Return the tree of the files as they lie there, or None where they are as HEAD has them."""
    with private_index(project.git_path("index")) as env:
        changes = _changes(project, exclude, env, every_file=allow_dirty)
        if not changes:
            return None
        if not allow_dirty:
            raise RepoError(
                f"uncommitted changes would not be in the run ({listed([change.path for change in changes])}): "
                f"commit them, or submit with --allow-dirty, which commits them on ade/{experiment} alone."
            )
        _check_committable(project, changes)
        gone = [change.path for change in changes if change.code[1] == "D"]
        there = [change.path for change in changes if "D" not in change.code]
        for mode, paths in (("--force-remove", gone), ("--add", there)):
            names = "".join(f"{path}\0" for path in paths)
            project.git("update-index", mode, "-z", "--stdin", stdin=os.fsencode(names), env=env, bulk=True)
        return decoded(project.git("write-tree", "--missing-ok", env=env))


def _changes(project: Project, exclude: Sequence[Path], env: Mapping[str, str], *, every_file: bool) -> list[_Change]:
    """Ask git what differs from HEAD or is untracked; a new folder is one entry unless ``every_file``."""
    untracked = "--untracked-files=" + ("all" if every_file else "normal")
    out = project.git(
        *("status", "--porcelain=v1", "-z", "--no-renames", untracked, "--", ":(top)"),
        *(f":(top,exclude,literal){path}" for path in _inside(project.top, exclude)),
        env=env,
        bulk=True,
    )
    return [_Change(line[:2], line[3:]) for line in os.fsdecode(out).split("\0") if line]


def _inside(top: Path, folders: Sequence[Path]) -> list[PurePosixPath]:
    real = [Path(os.path.realpath(folder)) for folder in folders]
    if top in real:
        raise RepoError(f"the runs can't lie at the top of the work tree itself ({top}): name a folder in it.")
    return [PurePosixPath(folder.relative_to(top)) for folder in real if folder.is_relative_to(top)]


def _check_committable(project: Project, changes: Sequence[_Change]) -> None:
    """Refuse what must not go into anybody's git unasked: half a merge, other repositories, data sets."""
    if unmerged := [change.path for change in changes if change.code in _UNMERGED]:
        raise RepoError(f"{listed(unmerged)}: in the midst of a merge, finish it first.")
    if nested := [change.path for change in changes if change.path.endswith("/")]:
        raise RepoError(f"{listed(nested)}: a git repository of its own, add it to .gitignore or move it away.")
    sizes = [_size(project.top / change.path) for change in changes]
    if len(sizes) > MAX_FILES or sum(sizes) > MAX_BYTES:
        raise RepoError(
            f"{len(sizes):,} uncommitted files of {sum(sizes) / 1e6:,.0f} MB are too much to commit unasked "
            f"({listed([change.path for change in changes])}): add data to .gitignore, or commit it yourself."
        )


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0  # deleted
