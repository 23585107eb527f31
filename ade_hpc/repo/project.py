# SPDX-License-Identifier: Apache-2.0
"""One git work tree, and the one way in which this room runs git.

Every call is plumbing, bounded in time, and bent so that it leaves the user's checkout alone: no hook, no signature,
no garbage collection, no index but a private one. The user's filters and line endings stay in force, because they
decide what their files *are*. Needs git 2.30 (2020): older ones hide that a checkout failed half way.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ade_hpc.errors import RepoError

TIMEOUT_S = 60.0
# For calls that read or write a whole tree: slow on a shared filesystem without being stuck.
BULK_TIMEOUT_S = 600.0

# What a run may carry along: more belongs on a data filesystem, not in git.
MAX_FILES = 5_000
MAX_BYTES = 100_000_000

# Inside a git hook or `git rebase --exec` these are set, and would send us to another repository.
_FORGOTTEN = [
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"),
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_IMPLICIT_WORK_TREE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE"),
    *("GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "GIT_PREFIX"),
]

_CONFIG = {
    "core.hooksPath": "/dev/null",  # not even reference-transaction, which plumbing runs too
    "core.fsmonitor": "false",  # may name a program
    "core.filesRefLockTimeout": "5000",  # milliseconds; after git's own 100 a slow disk would count as somebody's lock
    "core.splitIndex": "false",  # would leave a shared index in the user's .git
    "commit.gpgSign": "false",
    "log.showSignature": "false",
    "gc.auto": "0",  # this and the next: a partial clone fetches what it lacks, and a fetch tidies up
    "maintenance.auto": "false",
    "i18n.commitEncoding": "UTF-8",
    "i18n.logOutputEncoding": "UTF-8",
}

_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",  # a commit is what its name says, whatever `git replace` pretends
}

# What git says (GitPython sets LC_ALL=C), and what its user should hear; {0} is the first group.
_SENTENCES = {
    r"Timeout: the command": "git gave no answer in time in {top}: is the filesystem slow, or another git at work?",
    r"(?:safe\.directory |unsafe repository \()'?([^'\n]+)": "git doesn't trust {0}, which belongs to another user: "
    "if you do, run `git config --global --add safe.directory {0}`.",
    r"not a git repository": "{top} is in no git repository: run `git init` there and commit your project.",
    r"must be run in a work tree": "{top} is a bare repository or inside `.git`: work in a clone with its files.",
    r"cannot change to": "{top} is not a folder that you may enter.",
    r"ambiguous argument 'HEAD'": "{top} has no commit yet: commit your project first, for what runs is a commit.",
    r"Needed a single revision|[Nn]ot a tree object|bad object|bad revision": "the repository of {top} lacks a commit "
    "of this experiment: was it replaced, or the branch `ade/<experiment>` deleted?",
    r"(No space left on device|[Dd]isk quota exceeded)": "git could not write in {top} ({0}): make room, try again.",
    r"unable to write file ([^\n]+)": "git could not write {0}: is the filesystem full, or your quota?",
    r"'refs/heads/([^']+)' exists; cannot create": "the branch `{0}` is in the way of the branches `ade/<experiment>`: "
    "rename it with `git branch -m {0} NEW-NAME`.",
    r"Unable to create '([^']+\.lock)': File exists": "another git holds {0}: try again, or delete it if none runs.",
    r"Permission denied|insufficient permission|Read-only file system": "you may not write to the repository of {top}.",
    r"git-lfs|filter '?lfs": "files in {top} are kept in Git LFS and git-lfs failed: install it, run `git lfs pull`.",
    r"env: .*git": "`git` was not found on PATH: install it or load its module.",
}


@dataclass(frozen=True)
class Project:
    """A folder in a git work tree. ``top`` is the work tree's root, ``prefix`` the folder, relative to ``top``."""

    top: Path
    prefix: PurePosixPath

    def git(
        self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None, bulk: bool = False
    ) -> bytes:
        """Run one git command in this work tree and return its output; see ``run_git``."""
        # Should `.git` vanish, git must not go up and find somebody else's.
        here = {"GIT_CEILING_DIRECTORIES": str(self.top.parent)}
        return run_git(self.top, *args, stdin=stdin, env={**here, **(env or {})}, bulk=bulk)

    def git_path(self, name: str) -> Path:
        """Where git keeps ``name`` for this work tree (a linked work tree has its own index)."""
        return self.top / decoded(self.git("rev-parse", "--git-path", name))


def open_project(root: Path) -> Project:
    """Return the project whose folder is ``root``: in any work tree, linked or not, on a branch or not.

    Raises RepoError where there is none, where it is bare, or where git does not trust its owner.
    """
    answer = decoded(run_git(root, "rev-parse", "--show-toplevel", "--show-prefix"))
    top, _, prefix = answer.partition("\n")
    return Project(Path(top), PurePosixPath(prefix))


def run_git(
    folder: Path,
    *args: str,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    bulk: bool = False,
) -> bytes:
    """Run ``git *args`` in ``folder`` and return what it wrote, untouched.

    stdin: what it reads; nothing by default. env: on top of the process's own. bulk: it handles a whole tree.
    Raises RepoError, one sentence, for whatever goes wrong.
    """
    try:
        from git import Git
        from git.exc import GitError
    except ImportError as error:  # GitPython looks for the program while it is imported
        raise RepoError("`git` was not found on PATH: install it or load its module.") from error
    environment = {**_ENVIRONMENT, **(env or {})}
    forget = [word for name in _FORGOTTEN if name not in environment for word in ("-u", name)]
    config = [word for key, value in _CONFIG.items() for word in ("-c", f"{key}={value}")]
    try:
        with _readable(stdin) as istream:
            status, out, err = Git().execute(
                # `-C`: where GitPython can't enter a folder, it silently works in the process's own.
                ["env", *forget, "git", "-C", str(folder), *config, *args],
                istream=istream,
                env=environment,
                kill_after_timeout=BULK_TIMEOUT_S if bulk else TIMEOUT_S,
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
            )
    except (GitError, OSError, ValueError) as error:  # ValueError: a NUL in an argument
        raise RepoError(f"git could not be run in {folder}: {printable(str(error))}") from error
    if status:
        raise RepoError(_explain(err, folder, f"git {args[0]}", status))
    return out


@contextmanager
def private_index(original: Path | None = None) -> Iterator[dict[str, str]]:
    """Yield the environment that gives git an index of its own, empty or a copy of ``original``, for a while.

    The copy keeps the time of change: by it git tells which files may have changed since without a new size or date.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ade-", ignore_cleanup_errors=True))
            if original is not None and original.exists():
                shutil.copy2(original, Path(folder, "index"))
        except OSError as error:
            raise RepoError(f"no index of its own for git in the temporary folder: {error.strerror}.") from error
        yield {"GIT_INDEX_FILE": str(Path(folder, "index"))}


def printable(text: str) -> str:
    """Return ``text`` as one line without control characters, so that no file name can command a terminal or a log."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def listed(paths: Sequence[str]) -> str:
    """``a, b, c and 4 more``: enough to recognise, short enough to read."""
    named, more = paths[:5], len(paths) - 5
    return ", ".join(printable(path) for path in named) + (f" and {more} more" if more > 0 else "")


def decoded(output: bytes) -> str:
    """Return git's one answer as text; names of files may hold any byte, so those that are no UTF-8 survive."""
    return output.decode("utf-8", "surrogateescape").removesuffix("\n")


@contextmanager
def _readable(data: bytes | None) -> Iterator[BinaryIO | None]:
    if data is None:
        yield None
        return
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


def _explain(err: str, folder: Path, command: str, status: int) -> str:
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith(("warning:", "hint:"))]
    said = "\n".join(lines)
    for pattern, sentence in _SENTENCES.items():
        if match := re.search(pattern, said):
            return printable(sentence.format(*match.groups(), top=folder))
    last = next((line for line in reversed(lines) if line.startswith(("fatal:", "error:"))), "")
    return f"{command} failed in {folder} (status {status}): {printable(last or said) or 'it said nothing'}"
