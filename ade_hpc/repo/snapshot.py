# SPDX-License-Identifier: Apache-2.0
"""Check a commit out into a folder of its own: the code that an attempt runs, which no later edit can reach.

The files are what the user's own ``git checkout`` would write: filters, ``eol`` and ``core.autocrlf`` apply, by the
attributes *committed* with them. They come through a private index and ``checkout-index``, not ``git archive``, so
``export-ignore`` and ``export-subst`` have no effect. The folder appears complete or not at all.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ade_hpc.errors import RepoError
from ade_hpc.repo.commits import tree_of
from ade_hpc.repo.project import MAX_BYTES, MAX_FILES, Project, listed, private_index

_LINK, _SUBMODULE = "120000", "160000"
_POINTER_START = b"version https://git-lfs"
_POINTER_BYTES = 1024


@dataclass(frozen=True)
class SnapshotInfo:
    """What a snapshot holds. ``tree`` is the id of the whole committed tree, also where ``code`` took a part of it.

    bytes: size of the files as checked out (links not counted).
    """

    tree: str
    files: int
    bytes: int


@dataclass(frozen=True)
class _Entry:
    """One file, link or submodule of a commit; ``size`` in bytes as stored in git, ``path`` relative to the top."""

    mode: str
    size: int
    path: str


def materialise(project: Project, commit: str, target: Path, *, code: Sequence[str] = ()) -> SnapshotInfo:
    """Check ``commit`` out into ``target`` (its parent must exist), read-only, and say what it holds.

    ``target`` receives the whole tree: the project itself is ``target / project.prefix``. ``code`` limits it to these
    files and folders, relative to the project, and lifts the limits of size. A ``target`` that holds every file
    already is left as it is.

    Raises RepoError for submodules, links that leave the tree, files left in Git LFS, a tree too big without
    ``code``, and a ``target`` that is there but incomplete.
    """
    tree = tree_of(project, commit)
    entries = _selected(_entries(project, commit), project.prefix, code)
    if submodules := [entry.path for entry in entries if entry.mode == _SUBMODULE]:
        raise RepoError(
            f"submodules can't be frozen ({listed(submodules)}): commit their files, install them as packages, "
            "or name what the run needs under `code:` in experiment.yaml."
        )
    if not code:
        _check_size([(entry.path, entry.size) for entry in entries])
    try:
        if not target.is_dir() or not any(target.iterdir()):
            _build(project, commit, entries, target, limited=not code)
        return SnapshotInfo(tree, len(entries), _measured(target, entries))
    except OSError as error:
        raise RepoError(f"the snapshot {target} can't be written: {error.strerror or error}.") from error


def _entries(project: Project, commit: str) -> list[_Entry]:
    out = os.fsdecode(project.git("ls-tree", "-r", "-l", "-z", "--full-tree", commit, bulk=True))
    rows = [row.partition("\t") for row in out.split("\0") if row]
    fields = [(*meta.split(), path) for meta, _, path in rows]
    return [_Entry(mode, int(size) if size.isdigit() else 0, path) for mode, _, _, size, path in fields]


def _selected(entries: Sequence[_Entry], prefix: PurePosixPath, code: Sequence[str]) -> list[_Entry]:
    """Keep what ``code`` names; every name must be there, because a run without it would fail hours later."""
    if not code:
        return list(entries)
    chosen: dict[str, _Entry] = {}
    for name in code:
        path = posixpath.normpath(str(prefix / name))
        if path.startswith(("/", "..")):
            raise RepoError(f"`{name}` under `code:` lies outside of the repository.")
        found = [entry for entry in entries if path == "." or entry.path == path or entry.path.startswith(path + "/")]
        if not found:
            raise RepoError(f"`{name}` under `code:` is not in the commit: correct the name, or commit it.")
        chosen.update((entry.path, entry) for entry in found)
    return list(chosen.values())


def _check_size(sizes: Sequence[tuple[str, int]]) -> None:
    total = sum(size for _, size in sizes)
    if len(sizes) <= MAX_FILES and total <= MAX_BYTES:
        return
    folders: defaultdict[str, list[int]] = defaultdict(list)
    for path, size in sizes:
        folders[f"{path.split('/')[0]}/" if "/" in path else path].append(size)
    biggest = sorted(folders.items(), key=lambda item: (sum(item[1]), len(item[1])), reverse=True)[:3]
    named = ", ".join(f"{name} {sum(held) / 1e6:,.1f} MB in {len(held):,}" for name, held in biggest)
    raise RepoError(
        f"the repository holds {len(sizes):,} files of {total / 1e6:,.1f} MB ({named}), too much for each attempt "
        f"(limits: {MAX_FILES:,}, {MAX_BYTES / 1e6:,.0f} MB): name what the run needs under `code:` in experiment.yaml."
    )


def _build(project: Project, commit: str, entries: Sequence[_Entry], target: Path, *, limited: bool) -> None:
    """Fill a folder beside ``target``, then rename it: whoever looks sees all of it or nothing."""
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _check_out(project, commit, entries, work)
        _check_links(work, [entry.path for entry in entries if entry.mode == _LINK])
        _check_pointers(work, entries)
        if limited:  # a filter may have made much of little
            _check_size([(entry.path, (work / entry.path).lstat().st_size) for entry in entries])
        _make_read_only(work, entries)
        try:
            work.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            # Somebody else was faster, with the same content.
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_out(project: Project, commit: str, entries: Sequence[_Entry], work: Path) -> None:
    # With `work` as its work tree git takes .gitattributes from the commit, not from what lies in the user's checkout.
    names = "".join(f"{entry.path}\0" for entry in entries)
    with private_index() as index:
        env = {**index, "GIT_WORK_TREE": str(work)}
        project.git("read-tree", commit, env=env)
        project.git("checkout-index", "--quiet", "-z", "--stdin", stdin=os.fsencode(names), env=env, bulk=True)


def _check_links(work: Path, links: Sequence[str]) -> None:
    root = work.resolve()
    leaving = [
        path
        for path in links
        if (work / path).is_symlink()
        and ((work / path).readlink().is_absolute() or not Path(os.path.realpath(work / path)).is_relative_to(root))
    ]
    if leaving:
        raise RepoError(
            f"symbolic links that leave the repository can't be frozen ({listed(leaving)}): what they point to may "
            "change or be missing on the compute node; replace them, or name what the run needs under `code:`."
        )


def _check_pointers(work: Path, entries: Sequence[_Entry]) -> None:
    files = [entry.path for entry in entries if entry.mode != _LINK]
    pointers = [path for path in files if _is_pointer(work / path)]
    if pointers:
        raise RepoError(
            f"files are only pointers into Git LFS ({listed(pointers)}): install git-lfs and run `git lfs pull`, "
            "or leave them out with `code:` in experiment.yaml."
        )


def _is_pointer(path: Path) -> bool:
    return path.lstat().st_size < _POINTER_BYTES and path.read_bytes().startswith(_POINTER_START)


def _make_read_only(work: Path, entries: Sequence[_Entry]) -> None:
    """Take write permission from the files; folders keep theirs, so that `rm -r` works."""
    for entry in entries:
        path = work / entry.path
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            path.chmod(stat.S_IMODE(mode) & ~0o222)


def _measured(target: Path, entries: Sequence[_Entry]) -> int:
    """Return the bytes of the snapshot's files; RepoError where one is missing, say after half an `rm -r`."""
    total = 0
    for entry in entries:
        try:
            status = (target / entry.path).lstat()
        except OSError:
            raise RepoError(f"the snapshot {target} lacks {entry.path}: delete the folder, then try again.") from None
        total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
