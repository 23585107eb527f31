# SPDX-License-Identifier: Apache-2.0
"""The last words of a job that a person is asked about: the end of what it wrote to stderr, without keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ade_hpc.metrics.text import printable
from ade_hpc.policy.health import last_exit
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.secrets import masked
from ade_hpc.store.files import read_tail
from ade_hpc.store.layout import AttemptDir

LINES = 50
LINE_CHARS = 300
TAIL_BYTES = 64 * 1024


def last_words(attempt: AttemptDir, snapshot: Snapshot) -> tuple[str, ...]:
    """At most 50 lines: of what the node kept beside the exit record, else of the newest output. Never raises."""
    for path in _sources(attempt, snapshot):
        text = read_tail(path, TAIL_BYTES)
        lines = [masked(printable(line, LINE_CHARS)) for line in text.splitlines() if line.strip()]
        if lines:
            return tuple(lines[-LINES:])
    return ()


def _sources(attempt: AttemptDir, snapshot: Snapshot) -> Iterator[Path]:
    record = last_exit(snapshot)
    if record is not None and record.evidence:
        path = attempt.path / record.evidence
        if path.resolve().is_relative_to(attempt.path.resolve()):  # the record was written on another machine
            yield path
    try:
        files = [(entry.stat(follow_symlinks=False).st_mtime, entry.path) for entry in os.scandir(attempt.logs)]
    except OSError:
        return
    yield from (Path(path) for _, path in sorted(files, reverse=True))
