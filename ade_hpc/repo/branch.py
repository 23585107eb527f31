# SPDX-License-Identifier: Apache-2.0
"""The experiment's branch, ``ade/<experiment>``: what ran and why, as commits that no checkout notices.

A commit is made by plumbing: a private index, ``commit-tree``, and ``update-ref`` with the old value as compare-and-
swap. The user's branch, HEAD, index, stash and files stay as they are, to the byte. The branch only ever moves
forward, so that it can be pushed and pulled like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ade_hpc.errors import RepoError
from ade_hpc.repo.commits import CommitInfo, commit_tree, format_message, read_commits, read_file, tree_of, tree_with
from ade_hpc.repo.project import Project, decoded, open_project, printable
from ade_hpc.repo.worktree import uncommitted_tree

__all__ = ["CommitInfo", "Project", "commit_file", "freeze", "log", "open_project", "read_file", "tip", "tree_of"]

LOG_LIMIT = 1_000


def tip(project: Project, experiment: str) -> str | None:
    """Return the commit that ``ade/<experiment>`` points at, or None where there is no such branch."""
    return _look(project, experiment).get("objectname")


def log(project: Project, experiment: str, since: str | None = None) -> list[CommitInfo]:
    """Return the commits of the experiment's own line (first parents), newest first, without ``since`` and older.

    At most ``LOG_LIMIT``: where the branch was forwarded to HEAD its line goes on through the project's history.
    """
    newest = tip(project, experiment)
    return read_commits(project, newest, LOG_LIMIT, since) if newest else []


def freeze(
    project: Project,
    experiment: str,
    *,
    allow_dirty: bool,
    trailers: Mapping[str, str],
    exclude: Sequence[Path] = (),
) -> str:
    """Return the commit that is to run, after moving ``ade/<experiment>`` forward to it.

    A clean work tree runs HEAD's tree, by HEAD itself where the branch can be forwarded to it, else by a commit with
    both as parents. Uncommitted or untracked files would be missing from the run: they are refused, or, with
    ``allow_dirty``, committed on the experiment's branch alone. Folders in ``exclude`` (the runs) count as absent.

    Raises RepoError where the tree is dirty, mid-merge or too big to commit, or the branch can't be moved.
    """
    head = decoded(project.git("rev-parse", "HEAD"))
    tree = uncommitted_tree(project, experiment, allow_dirty=allow_dirty, exclude=exclude) or tree_of(project, head)
    old = tip(project, experiment)
    new = _forward(project, experiment, head, tree, old, trailers)
    if new != old:
        _move(project, experiment, old, new, "freeze")
    return new


def commit_file(
    project: Project,
    experiment: str,
    path: PurePosixPath,
    text: str,
    *,
    parent: str,
    subject: str,
    body: str,
    trailers: Mapping[str, str],
) -> str:
    """Commit ``text`` as ``path`` (relative to ``project.top``) on ``ade/<experiment>``, whose tip must be ``parent``.

    Safe to repeat after a crash: a tip that sits on ``parent`` and bears these trailers is this very commit, and is
    returned. Of several callers at once one wins. Raises RepoError where the tip has moved on otherwise, where
    ``path`` is no file of ``parent``, and where nothing would change.
    """
    message = format_message(subject, body, trailers)
    if done := _already(project, experiment, parent, trailers):
        return done
    tree = tree_with(project, parent, path, text)
    if tree == tree_of(project, parent):
        raise RepoError(f"{path} in {parent[:12]} says so already: there is nothing to commit.")
    commit = commit_tree(project, tree, [parent], message)
    try:
        _move(project, experiment, parent, commit, subject)
    except RepoError:
        if done := _already(project, experiment, parent, trailers):
            return done
        raise
    return commit


def _already(project: Project, experiment: str, parent: str, trailers: Mapping[str, str]) -> str | None:
    """Return the tip if it is the commit that was asked for, None if it is ``parent``; else raise RepoError."""
    newest = tip(project, experiment)
    if newest == parent:
        return None
    if newest is None:
        raise RepoError(f"there is no branch ade/{experiment} (any more): submit the experiment anew.")
    info = read_commits(project, newest, 1)[0]
    wanted = {key: printable(value) for key, value in trailers.items()}
    if wanted and info.parents[:1] == (parent,) and wanted.items() <= dict(info.trailers).items():
        return newest
    raise RepoError(f"ade/{experiment} has moved on from {parent[:12]} to {newest[:12]}, `{info.subject}`: look again.")


def _forward(
    project: Project, experiment: str, head: str, tree: str, old: str | None, trailers: Mapping[str, str]
) -> str:
    """Return a commit of ``tree`` that contains both ``old`` and ``head``; make one only where there is none."""
    behind = old is None or _contains(project, head, old)
    if behind and tree == tree_of(project, head):
        return head
    if old is not None and tree == tree_of(project, old) and _contains(project, old, head):
        return old
    parents = [head] if behind or old is None else [old, head]
    return commit_tree(project, tree, parents, format_message(f"ade-hpc: freeze {experiment}", "", trailers))


def _contains(project: Project, commit: str, ancestor: str) -> bool:
    return not project.git("rev-list", "--max-count=1", ancestor, f"^{commit}")


def _move(project: Project, experiment: str, old: str | None, new: str, why: str) -> None:
    """Move the branch from ``old`` to ``new``, or not at all; never under somebody's checkout of it."""
    state = _look(project, experiment)
    if state.get("symref"):
        raise RepoError(f"the branch ade/{experiment} only stands for {state['symref']}: delete it, then try again.")
    if (folder := state.get("worktreepath")) and Path(folder).is_dir():
        raise RepoError(f"the branch ade/{experiment} is checked out in {folder}: `git switch` to another one there.")
    try:
        # An empty old value means: must not exist yet.
        reason = printable(f"ade-hpc: {why}")
        project.git("update-ref", "--create-reflog", "-m", reason, _ref(experiment), new, old or "")
    except RepoError as error:
        if tip(project, experiment) != old:
            raise RepoError(f"ade/{experiment} was moved by somebody else at the same time: look again.") from error
        raise


def _look(project: Project, experiment: str) -> dict[str, str]:
    """Return what git knows of the branch, by field name; empty where there is none."""
    fields = ("refname", "objectname", "symref", "worktreepath")
    form = "%00".join(f"%({field})" for field in fields)
    for line in decoded(project.git("for-each-ref", f"--format={form}", _ref(experiment))).split("\n"):
        state = dict(zip(fields, line.split("\0"), strict=False))
        if state["refname"] == _ref(experiment):
            return state
    return {}


def _ref(experiment: str) -> str:
    return f"refs/heads/ade/{experiment}"
