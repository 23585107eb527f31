# SPDX-License-Identifier: Apache-2.0
"""The fast path of the reader: a million scalars a second, every checksum verified.

A trainer writes the same few records again and again: one tag, one length, other numbers. So one record of a kind is
parsed (``wire.locate``), and every other that has the same bytes wherever no number stands has its numbers in the
same places; those are cut out as columns of a matrix. What fits no such pattern is parsed one by one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ade_hpc.metrics import reader, tfrecord, wire
from ade_hpc.metrics.columns import Columns, joined, pick
from ade_hpc.metrics.reader import Block, Damage, Position
from ade_hpc.metrics.tfrecord import CHUNK, FOOTER, HEADER, Frames, Numbers

_Bytes = NDArray[np.uint8]
_Index = NDArray[np.intp]

# Longer records or fewer of a kind are not worth a matrix; more kinds of one length than this are parsed one by one.
_LONGEST, _FEWEST, _KINDS = 2048, 8, 32
_PLAIN = frozenset("fdiBhbq?HeIQ")
_WEIGHTS = np.array([pow(0x9E3779B97F4A7C15, power, 2**64) for power in range(1, _LONGEST // 8 + 1)], np.uint64)


@dataclass(frozen=True, eq=False)
class Batch:
    """What one stretch of a file holds. The other fields are those of ``reader.Block``.

    restart: the lowest step at which the writer declared a restart (SessionLog.START), or None.
    """

    columns: dict[str, Columns]
    restart: int | None
    position: Position
    damage: Damage
    more: bool
    waiting: str
    restarted: str


class _Part(NamedTuple):
    """Some numbers of one tag, and the numbers of the records they stand in."""

    tag: str
    records: _Index
    columns: Columns


def read(path: Path, position: Position) -> Batch:
    """The next stretch of an event file; call again while ``more``. Raises ``OSError`` like ``reader.next_block``."""
    block = reader.next_block(path, position, _frames)
    odd = _Odd(block)
    parts = [part for rows in _by_length(block, odd) for part in _matrix(rows, odd)]
    parts.extend(odd.parts())
    damage = block.damage + odd.damage()
    return Batch(_merged(parts), odd.restart, block.position, damage, block.more, block.waiting, block.restarted)


def _frames(data: bytes) -> Frames:
    """What ``tfrecord.frames`` finds, faster: every place that could be a small frame's header, then do they chain."""
    words = np.ndarray((max(len(data) - 3, 0),), "<u4", data, 0, (1,))
    small = words[4:-4] == 0  # the upper half of a length
    if not HEADER <= len(data) <= CHUNK or np.count_nonzero(small) > len(data) // 8:
        return tfrecord.frames(data)  # one huge record, or so many zeros that places would cost more than frames
    checks = _length_checks()
    heads = np.flatnonzero(small)
    lengths = words[heads].astype(np.int64)
    sound = lengths < len(checks)
    sound[sound] = words[heads[sound] + 8] == checks[lengths[sound]]
    heads, lengths = heads[sound], lengths[sound]
    ends = heads + lengths + HEADER + FOOTER
    chained = (np.append(0, ends[:-1]) == heads) & (ends <= len(data))
    count = len(heads) if chained.all() else int(chained.argmin())
    stop = int(ends[count - 1]) if count else 0
    return tfrecord.frames(data, Frames(_numbers(heads[:count] + HEADER), _numbers(lengths[:count]), stop))


def _numbers(values: NDArray[np.int64]) -> Numbers:
    numbers = array("q")
    numbers.frombytes(values.tobytes())
    return numbers


@cache
def _contributions(longest: int = 256) -> NDArray[np.uint32]:
    """CRC-32C is linear: what byte b, d bytes before the end, adds (by XOR) to a checksum is ``[d, b]``."""
    zero = google_crc32c.value(bytes(1))
    table = np.empty((longest, 256), np.uint32)
    table[0] = [google_crc32c.value(bytes([byte])) ^ zero for byte in range(256)]
    for distance in range(1, longest):
        before = table[distance - 1]
        table[distance] = before >> np.uint32(8) ^ table[0][before & np.uint32(0xFF)]
    return table


@cache
def _length_checks() -> NDArray[np.uint32]:
    """The checksum that stands behind each length below 65,536."""
    table, zeros = _contributions(), np.uint32(google_crc32c.value(bytes(8)))
    return _masked((table[7] ^ table[6][:, None] ^ zeros).reshape(-1))


def _masked(crc: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return np.asarray((crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(0xA282EAD8))


class _Rows(NamedTuple):
    """Records of one length: row i of ``words`` is payload ``records[i]``, filled up to eight bytes with what follows.

    checks: the checksums that stand behind them.
    """

    words: NDArray[np.uint64]
    checks: NDArray[np.uint32]
    records: _Index
    length: int


class _Odd:
    """The records that fit no pattern, parsed one by one."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._found: dict[str, list[tuple[int, wire.Scalar]]] = {}
        self.broken: list[int] = []
        self.restart: int | None = None

    def parse(self, records: Iterable[int]) -> None:
        for record in records:
            try:
                self._parse(record)
            except (tfrecord.Corrupt, wire.Malformed):
                self.broken.append(record)

    def _parse(self, record: int) -> None:
        payload = tfrecord.verified(self._block.data, self._block.starts[record], self._block.lengths[record])
        layout = wire.locate(payload)
        for scalar in wire.scalars(payload, layout):
            self._found.setdefault(scalar.tag, []).append((record, scalar))
        if layout.restart:
            step = wire.step_of(payload, layout)
            self.restart = step if self.restart is None else min(step, self.restart)

    def damage(self) -> Damage:
        if not self.broken:
            return Damage()
        return Damage(len(self.broken), self._block.base + self._block.starts[min(self.broken)] - HEADER)

    def parts(self) -> Iterator[_Part]:
        for tag, found in self._found.items():
            found.sort(key=itemgetter(0))  # they came length by length; equal records keep the order of their values
            yield _Part(
                tag,
                np.array([record for record, _ in found], np.intp),
                Columns(
                    np.array([scalar.step for _, scalar in found], np.int64),
                    np.array([scalar.wall_time for _, scalar in found], np.float64),
                    np.array([scalar.value for _, scalar in found], np.float64),
                ),
            )


def _by_length(block: Block, odd: _Odd) -> Iterator[_Rows]:
    """The records as one matrix per length; those not worth one go to ``odd``."""
    starts, lengths = np.frombuffer(block.starts, np.int64), np.frombuffer(block.lengths, np.int64)
    order = np.argsort(lengths, kind="stable")
    words = np.ndarray((max(len(block.data) - 3, 0),), "<u4", block.data, 0, (1,))
    for records in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        length = int(lengths[records[0]]) if len(records) else 0
        width = -(-length // 8) * 8
        fits = starts[records] + width <= len(block.data)
        if len(records) < _FEWEST or not 0 < length <= _LONGEST:
            fits[:] = False
        odd.parse(records[~fits].tolist())
        taken = records[fits]
        if len(taken):
            windows = np.ndarray((len(block.data) - width + 1, width), np.uint8, block.data, 0, (1, 1))
            yield _Rows(windows[starts[taken]].view(np.uint64), words[starts[taken] + length], taken, length)


def _matrix(rows: _Rows, odd: _Odd) -> Iterator[_Part]:
    """The scalars of records of one length: kind by kind, the kinds found by what stands around the numbers."""
    left = np.arange(len(rows.records))
    for _ in range(_KINDS):
        if not len(left):
            return
        layout = _plain(rows, left[0])
        if layout is None:
            odd.parse([int(rows.records[left[0]])])
            left = left[1:]
            continue
        fixed = rows.words[left] & _fixed(layout, rows.length)
        taken = np.zeros(len(left), np.bool_)
        for alike in _alike(fixed):
            if _plain(rows, left[alike[0]]) == layout:
                taken[alike] = True
                yield from _cut(rows, left[alike], layout, odd)
        left = left[~taken]
    odd.parse(rows.records[left].tolist())


def _plain(rows: _Rows, row: np.intp) -> wire.Layout | None:
    """The layout of a record that holds scalars of fixed width only, else None."""
    try:
        layout = wire.locate(_payload(rows, row))
    except wire.Malformed:
        return None
    plain = layout.spots and not layout.restart and all(spot.code in _PLAIN for spot in layout.spots)
    return layout if plain else None


def _payload(rows: _Rows, row: np.intp) -> bytes:
    return bytes(rows.words[row].tobytes()[: rows.length])


def _fixed(layout: wire.Layout, length: int) -> NDArray[np.uint64]:
    """A mask of all bits that tell records of this kind from others: everything but the numbers themselves."""
    mask = np.zeros(-(-length // 8) * 8, np.uint8)
    mask[:length] = 0xFF
    mask[slice(*layout.wall)] = 0
    mask[slice(*layout.step)] = 0x80  # where a varint ends is part of the shape
    for spot in layout.spots:
        mask[spot.start : spot.stop] = 0
    return mask.view(np.uint64)


def _alike(fixed: NDArray[np.uint64]) -> Iterator[_Index]:
    """Groups of equal rows, the first row's group first; singles may be left out, but never the first."""
    equal = ((fixed ^ fixed[0]) == 0).all(axis=1)
    yield np.flatnonzero(equal)
    others = np.flatnonzero(~equal)
    if not len(others):
        return
    keys = (fixed[others] * _WEIGHTS[: fixed.shape[1]]).sum(axis=1, dtype=np.uint64)
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]], append=~keys[order[-1:]]))
    sizes = np.diff(edges)
    worth = sizes >= _FEWEST
    for first, size in zip(edges[:-1][worth], sizes[worth], strict=True):
        group = others[order[first : first + size]]
        if (fixed[group] == fixed[group[0]]).all():
            yield group


def _cut(rows: _Rows, alike: _Index, layout: wire.Layout, odd: _Odd) -> Iterator[_Part]:
    """The numbers of rows that have one layout and one tag for each spot; rows with a wrong checksum go to ``odd``."""
    payload = _payload(rows, alike[0])
    table = rows.words[alike].view(np.uint8)
    good = _checksums(table, payload, layout) == rows.checks[alike]
    if not good.all():
        odd.broken.extend(rows.records[alike[~good]].tolist())
        table, alike = table[good], alike[good]
        if not len(alike):
            return  # its tag may be one that nobody ever wrote
    wall = _column(table, *layout.wall, "d") if layout.wall[1] else np.zeros(len(alike))
    steps = np.zeros(len(alike), np.uint64)
    for shift, at in enumerate(range(*layout.step)):
        steps |= (table[:, at] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * shift)
    for spot in layout.spots:
        values = _column(table, spot.start, spot.stop, spot.code)
        yield _Part(wire.tag_of(payload, spot), rows.records[alike], Columns(steps.view(np.int64), wall, values))


def _checksums(table: _Bytes, first: bytes, layout: wire.Layout) -> NDArray[np.uint32]:
    """The masked checksum of every row, from that of the first one and the few bytes in which they may differ."""
    spans = (layout.wall, layout.step, *((spot.start, spot.stop) for spot in layout.spots))
    at = np.concatenate([np.arange(*span) for span in spans])
    table_size = 256 if len(first) <= 256 else _LONGEST
    added = _contributions(table_size)[len(first) - 1 - at]
    same = added[np.arange(len(at)), np.frombuffer(first, np.uint8)[at]]  # what the first row's bytes had added
    crc = np.bitwise_xor.reduce(same, initial=np.uint32(google_crc32c.value(first)))
    cells = table.T[at].astype(np.intp) + (np.arange(len(at)) * 256)[:, None]
    return _masked(np.bitwise_xor.reduce(added.reshape(-1)[cells], axis=0) ^ crc)


def _column(table: _Bytes, start: int, stop: int, code: str) -> NDArray[np.float64]:
    return np.ascontiguousarray(table[:, start:stop]).view("<" + code)[:, 0].astype(np.float64)


def _merged(parts: Iterable[_Part]) -> dict[str, Columns]:
    """The parts of each tag as one, in the order of the file."""
    by_tag: dict[str, list[_Part]] = {}
    for part in parts:
        by_tag.setdefault(part.tag, []).append(part)
    return {tag: _in_order(several) for tag, several in by_tag.items()}


def _in_order(parts: list[_Part]) -> Columns:
    if len(parts) == 1:
        return parts[0].columns
    order = np.argsort(np.concatenate([part.records for part in parts]), kind="stable")
    return pick(joined([part.columns for part in parts]), order)
