# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints are there, and which are whole.

Never by unpickling: a checkpoint is untrusted bytes (invariant 5).
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_ENTRIES = 100_000  # a folder with more is not listed to the end: the newest names sort last anyway


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint. ``completed_at`` is its modification time (POSIX seconds); ``step`` None without ``{step}``."""

    path: Path
    completed_at: float
    step: int | None


def list_checkpoints(folder: Path, pattern: str) -> list[Checkpoint]:
    """Everything below ``folder`` that ``pattern`` (say ``step-{step}.pt``) names, by completion time."""
    before, brace, after = pattern.partition("{step}")
    step = r"(?P<step>[0-9]+)" if brace else ""
    regex = re.compile(re.escape(before) + step + re.escape(after))
    depth = pattern.count("/") + 1
    found = []
    for name, info in _entries(folder, depth):
        match = regex.fullmatch(name)
        if match:
            number = int(match["step"]) if brace else None
            found.append(Checkpoint(folder / name, info.st_mtime, number))
    return sorted(found, key=lambda checkpoint: (checkpoint.completed_at, checkpoint.step or 0))


def _entries(folder: Path, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    """Names relative to ``folder``, exactly ``depth`` levels down; symlinks are neither listed nor followed."""
    try:
        entries = list(os.scandir(folder))[:MAX_ENTRIES]
    except OSError:
        return
    for entry in entries:
        try:
            info = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # deleted meanwhile: trainers prune
        if stat.S_ISLNK(info.st_mode):
            continue
        if depth == 1:
            yield entry.name, info
        elif stat.S_ISDIR(info.st_mode):
            for name, inner in _entries(Path(entry.path), depth - 1):
                yield f"{entry.name}/{name}", inner


def is_valid(checkpoint: Path, complete: str | None) -> bool:
    """Is it whole? A folder by its framework's completion sign; a file by its archive structure and checksums.

    torch.save writes a zip archive: its directory stands at the end and every member has a CRC-32, so a truncated
    or damaged file fails. Files of other formats only have to hold something.
    """
    return _is_whole(checkpoint, complete, lambda archive: archive.testzip() is None)


def looks_whole(checkpoint: Path, complete: str | None) -> bool:
    """The same without the checksums: a truncated file fails, a damaged one may pass. Nothing is read to the end."""
    return _is_whole(checkpoint, complete, lambda archive: True)


def _is_whole(checkpoint: Path, complete: str | None, is_sound: Callable[[zipfile.ZipFile], bool]) -> bool:
    try:
        if checkpoint.is_dir():
            return complete is not None and (checkpoint / complete).is_file()
        if not checkpoint.is_file() or checkpoint.stat().st_size == 0:
            return False
        with checkpoint.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        if not zipped:
            return checkpoint.suffix != ".pt"
        with zipfile.ZipFile(checkpoint) as archive:
            return is_sound(archive)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError):
        return False


def newest_valid(folder: Path, pattern: str, complete: str | None) -> Checkpoint | None:
    candidates = reversed(list_checkpoints(folder, pattern))
    return next((checkpoint for checkpoint in candidates if is_valid(checkpoint.path, complete)), None)
