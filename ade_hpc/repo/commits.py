# SPDX-License-Identifier: Apache-2.0
"""Commit objects: read them, make them. No branch moves here.

A commit is made by plumbing, through a private index, without a filter, a hook or a signature; until a branch points
at it, it is litter that git collects some weeks later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ade_hpc.errors import RepoError
from ade_hpc.repo.project import Project, decoded, printable, private_index

FALLBACK_IDENTITY = {"name": "ade-hpc", "email": "ade-hpc@localhost"}

_KINDS = {"120000": "a symbolic link", "160000": "a submodule", "040000": "a folder"}


@dataclass(frozen=True)
class CommitInfo:
    """A commit as its reader needs it; ``trailers`` are the ``Key: value`` lines that end its message."""

    sha: str
    subject: str
    trailers: Mapping[str, str]
    parents: tuple[str, ...]


def tree_of(project: Project, commit: str) -> str:
    """Return the id of the tree that ``commit`` recorded: equal ids are equal files."""
    return decoded(project.git("rev-parse", "--verify", f"{full_id(commit)}^{{tree}}"))


def read_file(project: Project, commit: str, path: PurePosixPath) -> str:
    """Return the text of ``path`` (relative to ``project.top``) in ``commit``, line endings and BOM as committed."""
    _, blob = _entry(project, commit, path)
    try:
        return project.git("cat-file", "blob", blob).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RepoError(f"{path} in {commit[:12]} is not UTF-8 text (byte {error.start}).") from None


def read_commits(project: Project, newest: str, limit: int, since: str | None = None) -> list[CommitInfo]:
    """Return up to ``limit`` commits along first parents, ``newest`` first, without ``since`` and what it contains."""
    span = [newest] if since is None else [newest, f"^{full_id(since)}"]
    out = project.git("log", "-z", "--first-parent", f"--max-count={limit}", "--format=%H%n%P%n%B", "--no-notes", *span)
    return [_parsed(entry) for entry in out.decode("utf-8", "replace").split("\0") if entry]


def tree_with(project: Project, parent: str, path: PurePosixPath, text: str) -> str:
    """Return the tree of ``parent`` with one file replaced, its mode kept, its bytes as given (no filter runs)."""
    mode, _ = _entry(project, parent, path)
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise RepoError(f"the new text of {path} can't be written as UTF-8: {error.reason}.") from None
    with private_index() as env:
        blob = decoded(project.git("hash-object", "-w", "--stdin", stdin=data))
        project.git("read-tree", full_id(parent), env=env)
        project.git("update-index", "--cacheinfo", f"{mode},{blob},{path}", env=env)
        return decoded(project.git("write-tree", "--missing-ok", env=env))  # missing: a partial clone lacks blobs


def commit_tree(project: Project, tree: str, parents: Sequence[str], message: str) -> str:
    """Make a commit of ``tree`` and return its id; no branch points at it yet."""
    flags = [word for parent in parents for word in ("-p", parent)]
    return decoded(
        project.git(
            "commit-tree", "--no-gpg-sign", *flags, "-F", "-", tree, stdin=message.encode(), env=_identity(project)
        )
    )


def format_message(subject: str, body: str, trailers: Mapping[str, str]) -> str:
    """Lay out a commit message that says what it should and nothing more: models and logs have had a hand in it."""
    if bad := [key for key in trailers if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", key)]:
        raise RepoError(f"{printable(bad[0])} can't name a trailer: letters, digits and dashes only.")
    prose = "\n".join("".join(c if c.isprintable() else " " for c in line).rstrip() for line in body.split("\n"))
    ending = "\n".join(f"{key}: {printable(value)}" for key, value in trailers.items())
    return "\n\n".join(part for part in (printable(subject), prose.strip("\n"), ending) if part) + "\n"


def _entry(project: Project, commit: str, path: PurePosixPath) -> tuple[str, str]:
    """Return mode and blob id of a file in a commit."""
    out = os.fsdecode(project.git("ls-tree", "-z", "--full-tree", full_id(commit), "--", str(path)))
    if not out:
        raise RepoError(f"{path} is not in commit {commit[:12]}: commit it first.")
    mode, _, blob = out.partition("\t")[0].split()
    if mode in _KINDS:
        raise RepoError(f"{path} in commit {commit[:12]} is {_KINDS[mode]}, not a file: name the file itself.")
    return mode, blob


def _identity(project: Project) -> dict[str, str]:
    """Return what the user's configuration lacks of a name and an address to commit under."""
    entries = project.git("config", "--list", "-z").decode("utf-8", "replace").split("\0")
    known = {key: value for key, _, value in (entry.partition("\n") for entry in entries)}
    lacking = {}
    for role in ("author", "committer"):
        for part, fallback in FALLBACK_IDENTITY.items():
            name = f"GIT_{role}_{part}".upper()
            if not (os.environ.get(name) or known.get(f"user.{part}") or known.get(f"{role}.{part}")):
                lacking[name] = fallback
    return lacking


def _parsed(entry: str) -> CommitInfo:
    sha, parents, message = entry.split("\n", 2)
    subject, *paragraphs = message.strip("\n").split("\n\n")
    pairs = [re.fullmatch(r"([A-Za-z][A-Za-z0-9-]*): *(.*)", line) for line in (paragraphs or [""])[-1].split("\n")]
    trailers = {pair[1]: pair[2].strip() for pair in pairs if pair} if all(pairs) else {}
    return CommitInfo(sha, printable(subject), trailers, tuple(parents.split()))


def full_id(commit: str) -> str:
    """Let only full object ids through: anything else could be an option or mean another commit tomorrow."""
    if not re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", commit):
        raise RepoError(f"{printable(commit)!r} is not the full id of a commit.")
    return commit
