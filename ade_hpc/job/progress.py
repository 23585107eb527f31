# SPDX-License-Identifier: Apache-2.0
"""What the trainer has logged so far, at the least cost: every look reads only what is new."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path

from ade_hpc.metrics.event_files import Found, event_files
from ade_hpc.metrics.reader import Position, newest

MOST_VALUES = 64  # of the wanted tags, in one look at one file: a trainer that logs a thousand a second costs no more
KEPT = 512


class Logged:
    """The event files of one start. Bytes and steps of all tags; values of those that are wanted.

    values: of each wanted tag, the newest ones as (POSIX seconds by the trainer's clock, value), oldest first.
    """

    def __init__(self, folder: Path, wanted: Sequence[str] = ()) -> None:
        self._folder = folder
        self._wanted = tuple(wanted)
        self._positions: dict[str, Position] = {}
        self.size = 0
        self.last_step: int | None = None
        self.values: dict[str, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=KEPT))

    def look(self) -> bool:
        """Read on. Has anything been logged since the last look?"""
        files = event_files(self._folder)
        before, self.size = self.size, sum(file.size for file in files)
        for file in files:
            self._read(file)
        return self.size > before

    def _read(self, file: Found) -> None:
        """A file that can't be read now is read at another look."""
        position = self._positions.get(file.name, Position(str(file.path)))
        tags = {tag.removeprefix(file.folder): tag for tag in self._wanted if tag.startswith(file.folder)}
        more = file.size != position.size
        while more:
            try:
                news = newest(file.path, position, tuple(tags), MOST_VALUES)
            except OSError:
                return
            self._positions[file.name] = position = news.position
            more = news.more
            self.last_step = self.last_step if news.last_step is None else news.last_step
            for one in news.scalars:
                self.values[tags[one.tag]].append((one.wall_time, one.value))
