# SPDX-License-Identifier: Apache-2.0
"""What was read stays read: reader positions and numbers on disk, so that a tick costs what is new, not what was.

``state.json`` holds, for each event file, how far it was read and where its numbers lie; ``numbers-*.bin`` holds them
as plain little-endian columns with room to grow, which are mapped, not loaded. What was handed out is never written
again: where numbers no longer stand, their tag moves to a new place.

Every stretch of numbers has a checksum. Each opening verifies some two megabytes, in turn, and all that is copied. A
cache that is damaged, of another version or not the user's own is not mended: it is built anew. So nothing here is
synced or renamed at each tick (replacing a file by rename makes ext4 write it out, which costs more than the tick).
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ade_hpc.metrics.columns import Columns, pick
from ade_hpc.metrics.event_files import open_regular, why
from ade_hpc.metrics.reader import Damage, Position

_VERSION = 1
_STATE = "state.json"
_DATA = "numbers-"
_STATE_LIMIT = 256 << 20
_STRETCH = 4096  # rows under one checksum
_VERIFIED = 85_000  # rows verified at each opening: two megabytes
_ROOM = 64  # rows for which a place has room at least
_WASTE = 4  # built anew when places that were left take more than this times those in use


class Unusable(Exception):
    """This cache cannot be used; the text says why."""


@dataclass
class Place:
    """Where the numbers of one tag lie: three columns of ``room`` rows each from byte ``start`` on, ``count`` in use.

    sums[c][i]: CRC-32C of stretch i of column c. last_step: of the last row; it has no meaning where count is 0.
    """

    start: int
    room: int
    count: int = 0
    last_step: int = 0
    sums: tuple[list[int], list[int], list[int]] = field(default_factory=lambda: ([], [], []))


@dataclass
class FileState:
    """What is known of one event file. rewound: how many rows no longer stand because their steps came again."""

    position: Position
    damage: Damage = field(default_factory=Damage)
    restart: int | None = None
    rewound: int = 0
    places: dict[str, Place] = field(default_factory=dict)


class Cache:
    """The numbers of many event files, by path and tag: open or create it, change ``files``, ``save``.

    One process at a time has it, by an advisory lock; a context manager that gives it back. Columns stay good after.
    """

    def __init__(self, state_fd: int, data_fd: int, data_name: str) -> None:
        self.files: dict[str, FileState] = {}
        self._state_fd, self._data_fd, self._data_name = state_fd, data_fd, data_name
        self._end, self._turn = 0, 0
        self._map: NDArray[np.uint8] = np.zeros(0, np.uint8)

    @classmethod
    def create(cls, folder: Path) -> Cache:
        """A new, empty cache in place of any other. Raises ``OSError``."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in (*folder.glob(f"{_DATA}*.bin"), *folder.glob(f"{_STATE}.*")):
            left.unlink(missing_ok=True)
        name = f"{_DATA}{secrets.token_hex(4)}.bin"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        data = os.open(folder / name, flags, 0o600)
        fresh = folder / f"{_STATE}.{secrets.token_hex(4)}"
        state = os.open(fresh, flags, 0o600)
        cache = cls(state, data, name)
        _lock(state)
        cache.save()
        os.replace(fresh, folder / _STATE)
        return cache

    @classmethod
    def open(cls, folder: Path) -> Cache | None:
        """The cache in ``folder``; None where there is none or it wastes space. Raises ``Unusable``, ``OSError``."""
        with ExitStack() as stack:
            try:
                state_fd = _own(folder / _STATE, stack)
            except FileNotFoundError:
                return None
            _lock(state_fd)
            try:
                state = _load(state_fd)
                name = str(state["data"])
                if not name.startswith(_DATA) or "/" in name:
                    raise ValueError("its data file has a foreign name")
                cache = cls(state_fd, _own(folder / name, stack), name)
                cache._restore(state)
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError, FileNotFoundError) as error:
                raise Unusable(f"it was damaged ({error})") from error
            if cache._wasteful():
                return None
            stack.pop_all()
            return cache

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._data_fd)
        os.close(self._state_fd)

    def columns(self, place: Place) -> Columns:
        """The numbers at ``place``: read-only views of the mapped file."""
        parts = (self._column(place, number, 0, place.count) for number in range(3))
        steps, walls, values = parts
        return Columns(steps.view("<i8"), walls.view("<f8"), values.view("<f8"))

    def extend(self, state: FileState, tag: str, cut: int | None, new: Columns) -> None:
        """Take back what ``tag`` has from step ``cut`` on, then add the rows of ``new``."""
        place = state.places.get(tag) or Place(0, 0)
        kept = place.count
        if cut is not None and kept:
            kept = int(np.searchsorted(self.columns(place).steps, cut))
        if kept < place.count or kept + len(new.steps) > place.room:
            place = self._moved(place, kept, kept + len(new.steps))
        self._append(place, new)
        state.places[tag] = place

    def save(self) -> None:
        """Keep it. A save that a crash tears is found out by its checksum at the next opening."""
        body = json.dumps(self._to_json()).encode()
        _pwrite(self._state_fd, b"%08x %d\n%s" % (google_crc32c.value(body), len(body), body), 0)
        self._remap()

    def _restore(self, state: dict[str, Any]) -> None:
        self._end, self._turn = int(state["end"]), int(state["turn"])
        if not 0 <= self._end <= os.fstat(self._data_fd).st_size:
            raise ValueError("its data file is too short")
        self._remap()
        self.files = {path: _from_json(entry) for path, entry in state["files"].items()}
        stretches = list(self._stretches())
        budget = _VERIFIED
        for place, stretch in stretches[self._turn :] + stretches[: self._turn]:
            self._verify(place, stretch)
            self._turn = (self._turn + 1) % len(stretches)
            budget -= min(place.count - stretch * _STRETCH, _STRETCH)
            if budget <= 0:
                break

    def _places(self) -> Iterator[Place]:
        return (place for state in self.files.values() for place in state.places.values())

    def _stretches(self) -> Iterator[tuple[Place, int]]:
        for place in self._places():
            if not (0 <= place.start <= self._end - 24 * place.room and 0 <= place.count <= place.room):
                raise ValueError("a tag lies outside its data file")
            yield from ((place, stretch) for stretch in range(-(-place.count // _STRETCH)))

    def _wasteful(self) -> bool:
        return self._end > _WASTE * sum(24 * place.room for place in self._places()) + (1 << 20)

    def _verify(self, place: Place, stretch: int) -> None:
        first = stretch * _STRETCH
        for number, sums in enumerate(place.sums):
            data = self._column(place, number, first, min(first + _STRETCH, place.count))
            if google_crc32c.value(data) != sums[stretch]:
                raise ValueError("numbers have a wrong checksum")

    def _moved(self, old: Place, kept: int, count: int) -> Place:
        """A roomier place that holds the first ``kept`` rows of the old one, which stays as it is."""
        place = Place(self._end, max(_ROOM, count + count // 2))
        self._end += 24 * place.room
        os.ftruncate(self._data_fd, self._end)
        if kept:
            try:
                for stretch in range(-(-old.count // _STRETCH)):
                    self._verify(old, stretch)
            except ValueError as error:
                raise Unusable(f"it was damaged ({error})") from error
            self._append(place, pick(self.columns(old), slice(kept)))
        return place

    def _append(self, place: Place, new: Columns) -> None:
        if not len(new.steps):
            return
        for number, column in enumerate(new):
            data = column.tobytes()
            _pwrite(self._data_fd, data, place.start + 8 * (number * place.room + place.count))
            _add_sums(place.sums[number], place.count, data)
        place.count += len(new.steps)
        place.last_step = int(new.steps[-1])

    def _column(self, place: Place, number: int, first: int, last: int) -> NDArray[np.uint8]:
        start = place.start + 8 * number * place.room
        return self._map[start + 8 * first : start + 8 * last]

    def _remap(self) -> None:
        if self._end != len(self._map):
            self._map = np.frombuffer(mmap.mmap(self._data_fd, self._end, prot=mmap.PROT_READ), np.uint8)

    def _to_json(self) -> dict[str, Any]:
        files = {path: _to_json(state) for path, state in self.files.items()}
        return {"version": _VERSION, "data": self._data_name, "end": self._end, "turn": self._turn, "files": files}


def _add_sums(sums: list[int], count: int, data: bytes) -> None:
    """Bring the checksums of a column of ``count`` rows up to date with ``data`` added at its end."""
    room = -count % _STRETCH * 8
    if room:
        sums[-1] = google_crc32c.extend(sums[-1], data[:room])
    sums.extend(google_crc32c.value(data[at : at + 8 * _STRETCH]) for at in range(room, len(data), 8 * _STRETCH))


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(error.errno, "another reader has it") from error
    except OSError:
        pass  # Lustre mounted without locks, say: the lease of the tick must do


def _load(fd: int) -> dict[str, Any]:
    data = os.pread(fd, _STATE_LIMIT, 0)
    line, _, rest = data.partition(b"\n")
    check, _, size = line.partition(b" ")
    body = rest[: int(size)]
    if int(check, 16) != google_crc32c.value(body):
        raise ValueError("its state has a wrong checksum")
    state = json.loads(body)
    if not isinstance(state, dict) or state.get("version") != _VERSION:
        raise ValueError("another version wrote it")
    return state


def _own(path: Path, stack: ExitStack) -> int:
    """A descriptor of a regular file that only this user can have written. Raises ``Unusable``, FileNotFoundError."""
    try:
        fd = open_regular(path, os.O_RDWR)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unusable(f"{path.name} is of no use ({why(error)})") from error
    stack.callback(os.close, fd)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise Unusable(f"{path.name} is not this user's alone")
    return fd


def _pwrite(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


def _to_json(state: FileState) -> list[Any]:
    places = {tag: _fields(place) for tag, place in state.places.items()}
    return [_fields(state.position), _fields(state.damage), state.restart, state.rewound, places]


def _fields(item: Position | Damage | Place) -> list[Any]:
    return list(vars(item).values())  # dataclasses.astuple copies deeply, which is what takes the time


def _from_json(entry: list[Any]) -> FileState:
    position, damage, restart, rewound, places = entry
    return FileState(
        Position(*position), Damage(*damage), restart, rewound, {tag: Place(*place) for tag, place in places.items()}
    )
