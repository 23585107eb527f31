# SPDX-License-Identifier: Apache-2.0
"""All curves of a run from its event files: several files, folders and starts, merged by tag.

The rules by which later writing replaces earlier are in ``columns.py``; what is kept between calls is in ``cache.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ade_hpc.metrics import bulk
from ade_hpc.metrics.cache import Cache, FileState, Unusable
from ade_hpc.metrics.columns import EMPTY, Columns, Writer, joined, pick, settled, stitched
from ade_hpc.metrics.event_files import Found, event_files, why
from ade_hpc.metrics.reader import Position
from ade_hpc.metrics.series import Curves, Series

_TAG_LIMIT, _NOTE_LIMIT = 10_000, 200


@dataclass(frozen=True, eq=False)
class _Log:
    """What one event file says: its folder relative to its start ("" or ``sub/``), its numbers by tag."""

    folder: str
    columns: Mapping[str, Columns]
    restart: int | None


@dataclass(frozen=True, eq=False)
class Logs:
    """All event files of some starts, read: ``starts[i]`` holds the files of start i, oldest first."""

    starts: Sequence[Sequence[_Log]]
    notes: tuple[str, ...]

    def whole(self) -> Curves:
        """The starts as one run: a later start wins from its first step on."""
        return Curves(_merged(log for logs in self.starts for log in logs), self.notes)

    def until(self, time: float) -> Curves:
        """The starts as one run, as they stood when the record of ``time`` (POSIX seconds) had just been written.

        Exact but for points that were there then and were taken back later by their own file.
        """
        return Curves(_merged(cut for logs in self.starts for log in logs if (cut := _cut(log, time)).columns))

    def each(self) -> list[Curves]:
        """Every start by itself, as a plot shows them; the notes belong to all of them and are not repeated."""
        return [Curves(_merged(logs)) for logs in self.starts]


def collect(starts: Sequence[Path], cache: Path | None = None) -> Curves:
    """Every scalar under the folders of ``starts``, oldest start first; a later writer wins from its first step on.

    A tag in a sub-folder of its start is named ``<sub-folder>/<tag>``; a start may also be a single event file.
    cache: a folder of this run's own where what was read is kept, so that the next call reads only new bytes.
    Never raises for what the files are or hold: ``notes`` says what was lost, skipped or waited for.
    """
    return gather(starts, cache).whole()


def gather(starts: Sequence[Path], cache: Path | None = None) -> Logs:
    """Read like ``collect``, for those who need the starts one by one as well."""
    notes: list[str] = []
    files = [event_files(start, notes) for start in starts]
    logs = _cached(files, cache, notes) if cache is not None else _uncached(files, notes)
    if len(notes) > _NOTE_LIMIT:
        notes[_NOTE_LIMIT:] = [f"and {len(notes) - _NOTE_LIMIT} notes more"]
    return Logs(logs, tuple(notes))


def _cut(log: _Log, time: float) -> _Log:
    """The first records of a file, up to the last one of ``time``: a file grows at its end, whatever clocks do."""
    columns = {}
    for tag, whole in log.columns.items():
        count = int(np.searchsorted(np.fmax.accumulate(whole.wall_times), time, side="right"))
        if count:
            columns[tag] = pick(whole, slice(count))
    return replace(log, columns=columns)


def _merged(logs: Iterable[_Log]) -> dict[str, Series]:
    folders: dict[str, list[_Log]] = {}
    for log in logs:
        folders.setdefault(log.folder, []).append(log)
    merged = {}
    for folder, writers in folders.items():
        for tag in {tag: None for log in writers for tag in log.columns}:
            columns = stitched([Writer(log.columns.get(tag, EMPTY), log.restart) for log in writers])
            merged[folder + tag] = Series(folder + tag, *columns)
    return dict(sorted(merged.items()))


@dataclass
class _News:
    """What one event file has to say since it was last read."""

    state: FileState
    parts: dict[str, list[Columns]] = field(default_factory=dict)
    waiting: str = ""
    more_tags: int = 0

    def notes(self) -> Iterator[str]:
        yield from self.state.damage.sentences()
        if self.state.rewound:
            yield f"{self.state.rewound} points were taken back because their steps were written again"
        if self.more_tags:
            yield f"left out all but {_TAG_LIMIT} tags"
        if self.waiting:
            yield self.waiting


def _uncached(files: Sequence[Sequence[Found]], notes: list[str]) -> list[list[_Log]]:
    return [[_read_whole(file, notes) for file in some] for some in files]


def _read_whole(file: Found, notes: list[str]) -> _Log:
    news = _news(file, FileState(Position(str(file.path))), notes)
    columns = {}
    for tag, parts in news.parts.items():
        new = joined(parts)
        _, columns[tag] = settled(new, None)
        news.state.rewound += len(new.steps) - len(columns[tag].steps)
    notes.extend(f"{file.name}: {note}" for note in news.notes())
    return _Log(file.folder, columns, news.state.restart)


def _cached(files: Sequence[Sequence[Found]], folder: Path, notes: list[str]) -> list[list[_Log]]:
    said: list[str] = []
    try:
        try:
            logs = _through(Cache.open(folder) or Cache.create(folder), files, said)
        except Unusable as error:
            said = [f"the cache of curves is built anew: {error}"]
            logs = _through(Cache.create(folder), files, said)
    except (OSError, Unusable) as error:
        reason = why(error) if isinstance(error, OSError) else str(error)
        said = [f"read without a cache of curves: {reason}"]
        logs = _uncached(files, said)
    notes.extend(said)
    return logs


def _through(cache: Cache, files: Sequence[Sequence[Found]], notes: list[str]) -> list[list[_Log]]:
    """Bring ``cache`` up to date, save it, and take everything from it."""
    with cache:
        known, cache.files = cache.files, {}
        changed = False
        for file in (file for some in files for file in some):
            state = known.get(str(file.path), FileState(Position(str(file.path))))
            changed |= _extend(cache, file, state, notes)
        if changed or known.keys() != cache.files.keys():
            cache.save()
        return [[_from_cache(cache, file) for file in some] for some in files]


def _extend(cache: Cache, file: Found, state: FileState, notes: list[str]) -> bool:
    """Add the news of one file to the cache; was there any?"""
    news = _news(file, state, notes)
    changed = news.state != state
    for tag, parts in news.parts.items():
        new = joined(parts)
        place = news.state.places.get(tag)
        cut, stands = settled(new, place.last_step if place else None)
        before = place.count if place else 0
        cache.extend(news.state, tag, cut, stands)
        news.state.rewound += before + len(new.steps) - news.state.places[tag].count
    cache.files[str(file.path)] = news.state
    notes.extend(f"{file.name}: {note}" for note in news.notes())
    return changed


def _from_cache(cache: Cache, file: Found) -> _Log:
    state = cache.files[str(file.path)]
    columns = {tag: cache.columns(place) for tag, place in state.places.items()}
    return _Log(file.folder, columns, state.restart)


def _news(file: Found, state: FileState, notes: list[str]) -> _News:
    """Read ``file`` from where ``state`` ends. What restarted is said at once; the rest is in the result."""
    news = _News(replace(state, places=dict(state.places)))
    position = state.position
    if (position.inode, position.size, position.offset) == (file.inode, file.size, file.size):
        return news
    more = True
    while more:
        try:
            batch = bulk.read(file.path, news.state.position)
        except OSError as error:
            notes.append(f"{file.name}: not read: {why(error)}")
            break
        if batch.restarted:
            notes.append(f"{file.name}: {batch.restarted}")
            news = _News(FileState(batch.position))
        _add(news, batch)
        more = batch.more
    return news


def _add(news: _News, batch: bulk.Batch) -> None:
    state = news.state
    state.position, news.waiting = batch.position, batch.waiting
    state.damage += batch.damage
    if batch.restart is not None:
        state.restart = batch.restart if state.restart is None else min(state.restart, batch.restart)
    for tag, columns in batch.columns.items():
        if tag in news.parts or tag in state.places or len(news.parts) + len(state.places) < _TAG_LIMIT:
            news.parts.setdefault(tag, []).append(columns)
        else:
            news.more_tags += 1
