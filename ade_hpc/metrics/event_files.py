# SPDX-License-Identifier: Apache-2.0
"""Find event files in a folder that anybody may have filled: regular files only, opened without following links.

No numpy here either: the sidecar on the compute node uses it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

MARK = "tfevents"
_WALK_DEPTH, _WALK_ENTRIES = 8, 100_000


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file. Raises ``OSError`` for symlinks, and for FIFOs and devices without blocking."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(0, "not a regular file")


def why(error: OSError) -> str:
    """The reason of an ``OSError`` in words, without the path."""
    return error.strerror or type(error).__name__


class Found(NamedTuple):
    """A regular event file, and its name relative to the folder that was searched."""

    path: Path
    name: str
    inode: int
    size: int

    @property
    def folder(self) -> str:
        """Its folder relative to the one that was searched: "" or ``sub/folder/``."""
        head, slash, _ = self.name.rpartition("/")
        return head + slash


def event_files(folder: Path, notes: list[str] | None = None) -> list[Found]:
    """Every event file under ``folder`` (or the file that it is), by name; what was not followed goes to ``notes``.

    At most 8 levels deep and 100,000 entries wide, so that a hostile tree costs seconds, not hours.
    """
    said = notes if notes is not None else []
    if folder.is_file():
        status = folder.stat()
        return [Found(folder, folder.name, status.st_ino, status.st_size)]
    entries = _walk(folder, "", _WALK_DEPTH, said)
    found = [_found(entry, name, said) for entry, name in islice(entries, _WALK_ENTRIES)]
    if next(entries, None):
        said.append(f"looked at {_WALK_ENTRIES} directory entries and left the rest")
    return sorted(filter(None, found), key=lambda file: file.name)


def _found(entry: os.DirEntry[str], name: str, notes: list[str]) -> Found | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        notes.append(f"{name}: not read: {why(error)}")
        return None
    if MARK in entry.name and stat.S_ISREG(status.st_mode):
        return Found(Path(entry.path), name, status.st_ino, status.st_size)
    if stat.S_ISLNK(status.st_mode):
        notes.append(f"{name}: a symbolic link, not followed")
    elif MARK in entry.name and not stat.S_ISDIR(status.st_mode):
        notes.append(f"{name}: not a regular file, not read")
    return None


def _walk(folder: Path, prefix: str, depth: int, notes: list[str]) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Event files, links and folders under ``folder``, with their names relative to the top."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(islice(listing, _WALK_ENTRIES), key=lambda entry: entry.name)
    except OSError as error:
        if prefix or not isinstance(error, FileNotFoundError):
            notes.append(f"{prefix or folder}: not read: {why(error)}")
        return
    for entry in entries:
        yield entry, prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            if depth:
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", depth - 1, notes)
            else:
                notes.append(f"{prefix}{entry.name}: too deep, not read")
