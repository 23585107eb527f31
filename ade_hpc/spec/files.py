# SPDX-License-Identifier: Apache-2.0
"""Read a text file that a person wrote, and distrust it: its kind, size and encoding are checked before its words."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ade_hpc.errors import Problem, SpecError

MAX_BYTES = 1_000_000  # a thousand times a usual file; the slowest text of this size takes the YAML scanner about 1 s


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of at most ``MAX_BYTES``; a bigger one is refused without reading it.

    Raises SpecError with one problem that says what stands in the way.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            folder = "is a folder: give the file in it, such as experiment.yaml"
            raise refuse(path, folder if stat.S_ISDIR(info.st_mode) else "is not a regular file")
        if info.st_size > MAX_BYTES:
            raise refuse(path, f"has {info.st_size:,} bytes, more than {MAX_BYTES:,}: this is not the file you meant")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)  # it may have grown since
    except FileNotFoundError:
        raise refuse(path, "does not exist: check the path, or write one with `ade-hpc init`") from None
    except OSError as error:
        raise refuse(path, f"can't be read: {error.strerror or error}") from None
    except ValueError:  # a NUL in the path
        raise refuse(path, "is not a path that can exist") from None
    return content[:MAX_BYTES]


def decode(content: bytes, path: Path) -> str:
    """UTF-8 text without NUL, not empty. Raises SpecError with the line of the first byte that is wrong."""
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise refuse(path, "holds NUL bytes: this is a binary file (or UTF-16), not UTF-8 text", line)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refuse(path, "is not UTF-8 text: save it as UTF-8", line) from None
    if not text.strip():
        raise refuse(path, "is empty: `ade-hpc init` writes a commented one to start from")
    return text


def read_text(path: Path) -> str:
    return decode(read_bytes(path), path)


def check_ownership(path: Path) -> None:
    """Refuse a file that somebody else owns or could change: what it says is obeyed without asking.

    A symbolic link is followed: the file that is read is the one that counts. Raises SpecError.
    """
    try:
        info = path.stat()
    except OSError as error:
        raise refuse(path, f"can't be read: {error.strerror or error}") from None
    if info.st_uid != os.geteuid():
        raise refuse(path, f"belongs to user id {info.st_uid}, not to you: make a copy of your own")
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise refuse(path, f"can be written by others: run `chmod go-w {path}`")


def refuse(path: Path, message: str, line: int = 1) -> SpecError:
    return SpecError([Problem(str(path), line, f"the file {message}")])
