# SPDX-License-Identifier: Apache-2.0
"""Files that survive a crash and are nobody else's business: atomic writes, private folders, exclusive creation."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ade_hpc.errors import StoreError

MAX_JSON_BYTES = 4 * 1024 * 1024  # our own records are a few kB; more is damage or an attack


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` as a whole: a reader sees the old bytes or the new ones, never a part. Mode 0600.

    Raises OSError (no space, quota, read-only); the old file is then still there.
    """
    written = _write_beside(path, data)
    try:
        os.replace(written, path)
    except BaseException:
        os.unlink(written)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """``write_atomic`` of one JSON object, readable by people."""
    write_atomic(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def create_exclusive(path: Path, data: bytes) -> bool:
    """Create ``path`` with its whole content, or return False because it is there already.

    A hard link is the one exclusive creation that NFS makes atomic *with* content (open(2), O_EXCL notes).
    """
    written = _write_beside(path, data)
    try:
        os.link(written, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(written)
    return True


def _write_beside(path: Path, data: bytes) -> str:
    """A new file in the same folder with these bytes, on disk for good; returns its name."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(name)
        raise
    return name


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``, or None where the file is missing or holds none.

    Never follows a symlink and never reads more than MAX_JSON_BYTES: the folder is shared with compute nodes.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
        data = file.read(MAX_JSON_BYTES)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_tail(path: Path, limit: int, *, since: int = 0) -> str:
    """The last ``limit`` bytes of a regular file, none of them before ``since``; empty where it can't be read.

    For what a trainer wrote: never follows a symlink, never waits for a FIFO, never raises.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                return ""
            file.seek(max(0, since, info.st_size - limit))
            return file.read(limit).decode(errors="replace")
    except OSError:
        return ""


def read_secret(path: Path) -> str:
    """The first line of the user's own file of mode 0600: a key, or an address that holds one.

    Raises StoreError, which never repeats what stands in it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
                raise StoreError(f"{path}: must be your own file that nobody else can read: chmod 600 {path}")
            return file.readline(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: can't be read ({type(error).__name__})") from None


def private_dir(path: Path) -> Path:
    """Make ``path`` (and its parents) for this user alone, or refuse one that others may enter.

    Raises StoreError where the folder belongs to somebody else or is open to group or others.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        info = path.stat()
    except OSError as error:
        raise StoreError(f"{path}: can't be made: {error.strerror}; choose another runs_dir") from error
    if info.st_uid != os.geteuid():
        raise StoreError(f"{path}: belongs to another user; choose a runs_dir of your own")
    if info.st_mode & 0o077:
        raise StoreError(f"{path}: is open to others (mode {info.st_mode & 0o777:04o}); run: chmod 700 {path}")
    return path
