# SPDX-License-Identifier: Apache-2.0
"""Where the scalars lie in one serialised TensorBoard ``Event``: the little of protobuf that curves need.

``locate`` finds spans and copies nothing, so histograms and images cost a few byte comparisons, and the vectorised
reader can apply the spans of one record to all others of the same shape. ``scalars`` turns spans into values.

Field numbers are those of tensorboard's ``event.proto``, ``summary.proto``, ``tensor.proto`` and ``types.proto``;
the encoding is https://protobuf.dev/programming-guides/encoding/. No numpy: this runs on the compute node too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SESSION_START = 1

# DataType of types.proto -> the struct code of one little-endian element.
_ELEMENT = {1: "f", 2: "d", 3: "i", 4: "B", 5: "h", 6: "b", 9: "q", 10: "?", 17: "H", 19: "e", 22: "I", 23: "Q"}
_BFLOAT16 = 14
# The typed field of TensorProto in which an element may stand instead of tensor_content, and its code.
_TYPED = {5: "f", 6: "d", 7: "signed", 10: "signed", 11: "signed", 13: "half", 16: "unsigned", 17: "unsigned"}
# Writers put the metadata only on a tag's first value, or on none: only a foreign plugin's name is a reason to skip.
_SCALAR_PLUGINS = (b"", b"scalars")


class Malformed(ValueError):
    """The payload passed its checksum but is not an event: its writer was broken."""


class Spot(NamedTuple):
    """Where one scalar lies in a payload. ``code`` is a struct code,
    ``bfloat16``, or for a varint ``signed``, ``unsigned``, ``half`` or ``half-bfloat16`` (bits of a half as a number).
    """

    tag_start: int
    tag_stop: int
    start: int
    stop: int
    code: str


@dataclass(frozen=True)
class Layout:
    """The spans of one event. A span (0, 0) is an absent field, which means zero; ``restart`` is SessionLog.START."""

    wall: tuple[int, int]
    step: tuple[int, int]
    spots: tuple[Spot, ...]
    restart: bool = False


class Scalar(NamedTuple):
    """One logged number. ``wall_time`` in POSIX seconds, as the writer's clock said."""

    tag: str
    step: int
    wall_time: float
    value: float


def locate(data: bytes) -> Layout:
    """Find time, step and every scalar of a serialised event. Raises ``Malformed``."""
    wall = step = (0, 0)
    spots: list[Spot] = []
    restart = False
    for number, wire, start, stop in _fields(data, 0, len(data)):
        if number == 1 and wire == _FIXED64:
            wall = (start, stop)
        elif number == 2 and wire == _VARINT:
            step = (start, stop)
        elif number == 5 and wire == _BYTES:
            spots.extend(_summary(data, start, stop))
        elif number == 7 and wire == _BYTES:
            restart = _is_start(data, start, stop)
    return Layout(wall, step, tuple(spots), restart)


def scalars(data: bytes, layout: Layout) -> list[Scalar]:
    """The values at the spots of ``layout``."""
    if not layout.spots:
        return []
    wall = struct.unpack_from("<d", data, layout.wall[0])[0] if layout.wall[1] else 0.0
    step = step_of(data, layout)
    return [Scalar(tag_of(data, spot), step, wall, _value(data, spot)) for spot in layout.spots]


def step_of(data: bytes, layout: Layout) -> int:
    """The step of the event; int64, so it may be negative."""
    return _signed(_varint(data, *layout.step)[0]) if layout.step[1] else 0


def tag_of(data: bytes, spot: Spot) -> str:
    """The tag as written; bytes that are not UTF-8 become escapes, so that two tags never fall together."""
    return data[spot.tag_start : spot.tag_stop].decode("utf-8", "backslashreplace")


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type and span of the content of each field of the message at ``data[at:end]``."""
    while at < end:
        key, start = data[at], at + 1
        if key > 0x7F:  # nearly all keys and sizes have one byte, which is worth not calling for
            key, start = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == _BYTES and start < end:
            size, start = data[start], start + 1
            if size > 0x7F:
                size, start = _varint(data, start - 1, end)
            at = start + size
        elif wire == _VARINT:
            _, at = _varint(data, start, end)
        elif wire == _FIXED64:
            at = start + 8
        elif wire == _FIXED32:
            at = start + 4
        else:
            raise Malformed(f"wire type {wire}")
        if at > end or not number:
            raise Malformed("a field runs past its message")
        yield number, wire, start, at


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The unsigned 64-bit number at ``at``, and where it ends."""
    number = shift = 0
    for stop in range(at, min(at + 10, end)):
        byte = data[stop]
        if byte < 0x80:
            return (number | byte << shift) & 0xFFFF_FFFF_FFFF_FFFF, stop + 1
        number |= (byte & 0x7F) << shift
        shift += 7
    raise Malformed("an unfinished number")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _summary(data: bytes, start: int, stop: int) -> Iterator[Spot]:
    for number, wire, at, end in _fields(data, start, stop):
        if number == 1 and wire == _BYTES:
            spot = _summary_value(data, at, end)
            if spot is not None:
                yield spot


def _summary_value(data: bytes, start: int, stop: int) -> Spot | None:
    spans = _spans(data, start, stop)
    tag = spans.get((1, _BYTES), (start, start))
    if (2, _FIXED32) in spans:
        return Spot(*tag, *spans[2, _FIXED32], "f")
    if (8, _BYTES) not in spans or _plugin(data, spans.get((9, _BYTES), (0, 0))) not in _SCALAR_PLUGINS:
        return None
    found = _tensor(data, *spans[8, _BYTES])
    if found and tag[0] == tag[1]:
        tag = spans.get((7, _BYTES), tag)  # TensorFlow 1 named some tensors by their node
    return Spot(tag[0], tag[1], *found) if found else None


def _plugin(data: bytes, metadata: tuple[int, int]) -> bytes:
    """The plugin that a SummaryMetadata names, or nothing."""
    plugin = _spans(data, *metadata).get((1, _BYTES), (0, 0))
    start, stop = _spans(data, *plugin).get((1, _BYTES), (0, 0))
    return data[start:stop]


def _tensor(data: bytes, start: int, stop: int) -> tuple[int, int, str] | None:
    """The span and code of a one-element numeric tensor, or None."""
    spans = _spans(data, start, stop)
    dtype, _ = _varint(data, *spans[1, _VARINT]) if (1, _VARINT) in spans else (0, 0)
    code = "bfloat16" if dtype == _BFLOAT16 else _ELEMENT.get(dtype)
    if code is None or not _one_element(data, *spans.get((2, _BYTES), (0, 0))):
        return None
    at, end = spans.get((4, _BYTES), (0, 0))
    if end > at:
        return (at, end, code) if end - at == _width(code) else None
    typed = [_typed(data, *span, _TYPED[number]) for (number, _), span in spans.items() if number in _TYPED]
    if typed[-1:] and typed[-1] and typed[-1][2] == "half" and code == "bfloat16":
        return (*typed[-1][:2], "half-bfloat16")
    return typed[-1] if typed else None


def _spans(data: bytes, start: int, stop: int) -> dict[tuple[int, int], tuple[int, int]]:
    """The span of each field by number and wire type; of a repeated field, the last."""
    return {(number, wire): (at, end) for number, wire, at, end in _fields(data, start, stop)}


def _one_element(data: bytes, start: int, stop: int) -> bool:
    """Is every dimension of a TensorShapeProto 1 (or are there none)?"""
    dims = [(at, end) for number, wire, at, end in _fields(data, start, stop) if (number, wire) == (2, _BYTES)]
    sizes = [_spans(data, *dim).get((1, _VARINT), (0, 0)) for dim in dims]
    return all(end and _varint(data, at, end)[0] == 1 for at, end in sizes)


def _typed(data: bytes, start: int, stop: int, code: str) -> tuple[int, int, str] | None:
    """The single element of a repeated field, packed or not; None where there are several."""
    if len(code) == 1:
        return (start, stop, code) if stop - start == _width(code) else None
    return (start, stop, code) if stop > start and _varint(data, start, stop)[1] == stop else None


def _width(code: str) -> int:
    return 2 if code == "bfloat16" else struct.calcsize("<" + code)


def _value(data: bytes, spot: Spot) -> float:
    if len(spot.code) == 1:
        return float(struct.unpack_from("<" + spot.code, data, spot.start)[0])
    if spot.code == "bfloat16":
        return _bfloat16(data[spot.start] | data[spot.start + 1] << 8)
    number, _ = _varint(data, spot.start, spot.stop)
    if spot.code == "half":
        return float(struct.unpack("<e", struct.pack("<H", number & 0xFFFF))[0])
    if spot.code == "half-bfloat16":
        return _bfloat16(number & 0xFFFF)
    return float(_signed(number) if spot.code == "signed" else number)


def _bfloat16(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits << 16))[0])


def _is_start(data: bytes, start: int, stop: int) -> bool:
    status = _spans(data, start, stop).get((1, _VARINT))
    return status is not None and _varint(data, *status)[0] == _SESSION_START
