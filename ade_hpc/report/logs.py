# SPDX-License-Identifier: Apache-2.0
"""The trainer's output, for `ade-hpc logs`. Reads files only; never asks the scheduler."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ade_hpc.errors import AdeError
from ade_hpc.launch.lineage import current_attempt
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.ledger import read_ledger
from ade_hpc.store.records import load_exits

SCHEMA = 1
TAIL_BYTES = 64 * 1024


def log_files(folder: ExperimentDir, attempt: int | None) -> list[Path]:
    """The output files of an attempt (default: the one in charge), oldest first. Raises AdeError if there are none."""
    files = _output(folder, attempt)
    if not files:
        raise AdeError(f"{folder.name} has written no output yet; see `ade-hpc status {folder.name}`")
    return files


def _output(folder: ExperimentDir, attempt: int | None) -> list[Path]:
    chosen = _chosen(folder, attempt)
    return sorted(chosen.logs.glob("*"), key=lambda path: path.stat().st_mtime) if chosen else []


def _chosen(folder: ExperimentDir, attempt: int | None) -> AttemptDir | None:
    return folder.attempt(attempt) if attempt else current_attempt(folder, read_ledger(folder.ledger))


def as_json(folder: ExperimentDir, attempt: int | None) -> dict[str, Any]:
    """What `logs --json` prints; whole: nothing was left out at the beginning. Raises AdeError as ``log_files``."""
    files = log_files(folder, attempt)
    chosen = _chosen(folder, attempt)
    return {
        "schema": SCHEMA,
        "name": folder.name,
        "attempt": chosen.number if chosen else None,
        "files": [
            {"path": str(path), "whole": whole, "lines": text.splitlines()}
            for path, (text, whole) in ((path, tail(path)) for path in files)
        ],
    }


def tail(path: Path) -> tuple[str, bool]:
    """The last TAIL_BYTES of a file, from a whole line on, and whether that is all of it."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        data = file.read()
    lines = data.decode(errors="replace")
    return (lines, True) if size <= TAIL_BYTES else (lines.partition("\n")[2], False)


def wait_and_follow(folder: ExperimentDir, attempt: int | None, *, poll_s: float = 1.0) -> Iterator[str]:
    """New output as it comes, from when there is some until the attempt has left its final exit record."""
    over = _is_over(folder, attempt)
    while not (files := _output(folder, attempt)):
        if over():
            return
        time.sleep(poll_s)
    path = files[-1]
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        while True:
            ended = over()
            data = file.read()
            if data:
                yield data.decode(errors="replace")
            elif ended:
                return
            else:
                time.sleep(poll_s)


def _is_over(folder: ExperimentDir, attempt: int | None) -> Callable[[], bool]:
    chosen = _chosen(folder, attempt)

    def over() -> bool:
        exits = load_exits(chosen) if chosen else []
        return bool(exits) and exits[-1].final and not exits[-1].requeued

    return over
