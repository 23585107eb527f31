# SPDX-License-Identifier: Apache-2.0
"""Read TensorBoard event files whole, from where the last reader stopped, whatever has become of them since.

TensorBoard's own reader stops for good at the first wrong checksum and cannot resume in a later process; this one
loses what is broken, says so, and goes on.

Every decision is taken so that reading a growing file in pieces gives what one cold read of the whole file gives:
what more bytes could still mend (a torn tail, zeros where NFS has not delivered yet) is left for the next read.

This module has no numpy, because the sidecar on the compute node uses it; ``bulk.py`` is the fast path.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import google_crc32c

from ade_hpc.metrics import tfrecord, wire
from ade_hpc.metrics.event_files import open_regular, why
from ade_hpc.metrics.tfrecord import CHUNK, HEADER, Frames, Numbers, pread

_HEAD = 256


@dataclass(frozen=True)
class Position:
    """How far a file was read: ``offset`` is the end of the last record taken, in bytes.

    inode, size and head (a checksum of the file's first bytes) tell a grown file from one that was replaced. Plain
    numbers and a string: ``vars(position)`` goes through JSON, ``Position(**...)`` brings it back.
    """

    path: str
    inode: int = 0
    size: int = 0
    offset: int = 0
    head: int = 0


@dataclass(frozen=True)
class Damage:
    """What was lost in one file: counts and the byte at which it began, the same however often the reader paused."""

    records: int = 0
    first_record: int = -1
    gaps: int = 0
    gap_bytes: int = 0
    first_gap: int = -1

    def __add__(self, other: Damage) -> Damage:
        return Damage(
            self.records + other.records,
            self.first_record if self.records else other.first_record,
            self.gaps + other.gaps,
            self.gap_bytes + other.gap_bytes,
            self.first_gap if self.gaps else other.first_gap,
        )

    def sentences(self) -> tuple[str, ...]:
        """One sentence for each kind of loss."""
        said = []
        if self.records:
            lost = _count(self.records, "record")
            said.append(f"lost {lost} with a wrong checksum or content, from byte {self.first_record} on")
        if self.gaps:
            said.append(f"skipped {_count(self.gap_bytes, 'byte')} that are no records, from byte {self.first_gap} on")
        return tuple(said)


@dataclass(frozen=True)
class Block:
    """A stretch of whole frames: payload ``i`` is ``data[starts[i] : starts[i] + lengths[i]]``, checksum after it.

    The checksums of the lengths are verified, those of the payloads are not.
    more: there is more to read now. waiting: why the rest of the file is left for later, or "".
    restarted: why earlier records of this file no longer count, or "".
    """

    data: bytes
    starts: Numbers
    lengths: Numbers
    base: int
    position: Position
    damage: Damage = Damage()
    more: bool = False
    waiting: str = ""
    restarted: str = ""


@dataclass(frozen=True)
class Chunk:
    """Some records of one file and where to go on. ``restarted``: forget the records read from it before."""

    records: tuple[wire.Scalar, ...]
    position: Position
    notes: tuple[str, ...] = ()
    more: bool = False
    restarted: bool = False


def read(path: Path, position: Position | None = None) -> Chunk:
    """The next records of an event file, about ``CHUNK`` bytes at the most; call again while ``more``.

    Never raises for what the file is or holds: the notes say what was lost, skipped or waited for.
    """
    start = position or Position(str(path))
    try:
        block = next_block(path, start)
    except OSError as error:
        return Chunk((), start, (f"not read: {why(error)}",))
    damage = block.damage
    records: list[wire.Scalar] = []
    for at, length in zip(block.starts, block.lengths, strict=True):
        try:
            payload = tfrecord.verified(block.data, at, length)
            records.extend(wire.scalars(payload, wire.locate(payload)))
        except (tfrecord.Corrupt, wire.Malformed):
            damage += Damage(records=1, first_record=block.base + at - HEADER)
    notes = (block.restarted, *damage.sentences(), block.waiting)
    return Chunk(tuple(records), block.position, tuple(filter(None, notes)), block.more, bool(block.restarted))


@dataclass(frozen=True)
class News:
    """The newest of what was added to a file. ``scalars`` are those of the wanted tags, oldest first.

    last_step: of the last event that has one; None where none was added. more: call again.
    """

    position: Position
    last_step: int | None
    scalars: tuple[wire.Scalar, ...]
    more: bool


def newest(path: Path, position: Position, wanted: Sequence[str], most: int) -> News:
    """Where a trainer is, and the last ``most`` values of the wanted tags, at a fraction of what ``read`` costs.

    Only what is asked for is parsed: the rest is split into frames. Raises ``OSError`` as ``next_block`` does.
    """
    block = next_block(path, position)
    # "loss" finds "train/loss" as well
    marks = [tag.encode() for tag in wanted if not any(other in tag for other in wanted if other != tag)]
    last_step = None
    scalars: list[wire.Scalar] = []
    for at, length in zip(reversed(block.starts), reversed(block.lengths), strict=True):
        if last_step is not None and len(scalars) >= most:
            break
        has_mark = any(block.data.find(mark, at, at + length) >= 0 for mark in marks)
        if last_step is not None and not has_mark:
            continue
        try:
            payload = tfrecord.verified(block.data, at, length)
            layout = wire.locate(payload)
            scalars += (one for one in reversed(wire.scalars(payload, layout)) if one.tag in wanted)
        except (tfrecord.Corrupt, wire.Malformed):
            continue
        if last_step is None and (layout.spots or layout.step[1]):
            last_step = wire.step_of(payload, layout)
    return News(block.position, last_step, tuple(reversed(scalars[:most])), block.more)


def next_block(path: Path, position: Position, split: Callable[[bytes], Frames] | None = None) -> Block:
    """The whole frames after ``position``, found by ``split``, by default ``tfrecord.frames``.

    Raises ``OSError`` where the path is no readable regular file.
    """
    fd = open_regular(path)
    try:
        start, restarted = _resume(fd, path, position)
        block = _block(fd, start, split or tfrecord.frames)
        return replace(block, position=_sealed(fd, block.position), restarted=restarted)
    finally:
        os.close(fd)


def _resume(fd: int, path: Path, position: Position) -> tuple[Position, str]:
    """Where to go on, and why earlier records no longer count (or "")."""
    status = os.fstat(fd)
    fresh = Position(str(path), status.st_ino, status.st_size)
    if not position.offset:
        return fresh, ""
    if position.inode != status.st_ino or position.head != _head(fd, position.offset):
        return fresh, "the file was replaced: read again from its start"
    if status.st_size < position.size:
        return fresh, "the file shrank: read again from its start"
    return replace(fresh, offset=position.offset), ""


def _sealed(fd: int, position: Position) -> Position:
    return replace(position, head=_head(fd, position.offset))


def _head(fd: int, offset: int) -> int:
    return int(google_crc32c.value(pread(fd, min(offset, _HEAD), 0)))


def _block(fd: int, start: Position, split: Callable[[bytes], Frames]) -> Block:
    left = start.size - start.offset
    data = pread(fd, min(CHUNK, left), start.offset)
    whole = split(data)
    if not whole.starts and len(data) < whole.need <= left:
        data = pread(fd, whole.need, start.offset)
        whole = split(data)
    whole, damage = _past_gaps(data, whole, start.offset)
    if whole.broken and not whole.starts:
        return _past_damage(fd, start)
    position = replace(start, offset=start.offset + whole.stop)
    left -= whole.stop
    more = bool(whole.starts) and (whole.broken or left >= whole.need)
    waiting = f"waits for the rest of a record at byte {position.offset}" if left and not more else ""
    return Block(data, whole.starts, whole.lengths, start.offset, position, damage, more, waiting)


def _past_gaps(data: bytes, whole: Frames, base: int) -> tuple[Frames, Damage]:
    """Go on behind what is broken, as long as the next frame lies in the same data."""
    damage = Damage()
    while whole.broken:
        mark = tfrecord.landmark(data, whole.stop + 1)
        if mark is None or not mark.whole:
            break
        damage += Damage(gaps=1, gap_bytes=mark.at - whole.stop, first_gap=base + whole.stop)
        whole = tfrecord.frames(data, whole._replace(stop=mark.at))
    return whole, damage


def _past_damage(fd: int, start: Position) -> Block:
    """Nothing but the way to the next frame, which lies further than one chunk, or the wait for it."""
    nothing = Block(b"", array("q"), array("q"), start.offset, start)
    found = tfrecord.search(fd, start.size, start.offset)
    if found is None:
        left = _count(start.size - start.offset, "byte")
        waiting = f"the last {left}, from byte {start.offset} on, are no records; looked at again when the file grows"
        return replace(nothing, waiting=waiting)
    damage = Damage(gaps=1, gap_bytes=found - start.offset, first_gap=start.offset)
    return replace(nothing, position=replace(start, offset=found), damage=damage, more=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
