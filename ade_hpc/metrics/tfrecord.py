# SPDX-License-Identifier: Apache-2.0
"""TFRecord, the frame around every event, and how to go on behind a broken one.

A frame is a length (8 bytes, little endian), its masked CRC-32C, the payload and its masked CRC-32C (tensorflow
``lib/io/record_writer.h``). No numpy: this runs on the compute node too.
"""

from __future__ import annotations

import os
import re
import struct
from array import array
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import google_crc32c

HEADER, FOOTER = 12, 4
CHUNK = 4 << 20
RECORD_LIMIT = 64 << 20
Numbers: TypeAlias = "array[int]"

# A damaged stretch is searched for the next frame. Only frames below 64 KiB are landmarks, because their length ends in
# six zero bytes; and the search has an end, because its price is paid again at every look.
_ZEROS = re.compile(rb"\x00{6,}")
_SEARCHED = 64 << 20
_TRIES = 1000


class Corrupt(ValueError):
    """The bytes are not those that were written."""


class Frames(NamedTuple):
    """Whole frames of a buffer: starts and lengths of their payloads, as int64 arrays of equal size.

    stop: where they end. need: how many bytes from there the next would take. broken: its header is no header.
    """

    starts: Numbers
    lengths: Numbers
    stop: int = 0
    need: int = HEADER
    broken: bool = False


def frames(data: bytes, begun: Frames | None = None) -> Frames:
    """All whole frames from the start of ``data``, or from where ``begun`` stopped."""
    # Few lengths recur in a file: a header seen before is known to be whole, which saves a checksum for each record.
    known: dict[bytes, int] = {}
    starts, lengths, at, *_ = begun or Frames(array("q"), array("q"))
    end = len(data)
    while True:
        header = data[at : at + HEADER]
        length = known.get(header)
        if length is None:
            if len(header) < HEADER:
                return Frames(starts, lengths, at, HEADER, False)
            length = _length(header)
            if length is None or length > RECORD_LIMIT:
                return Frames(starts, lengths, at, HEADER, True)
            known[header] = length
        after = at + HEADER + length + FOOTER
        if after > end:
            return Frames(starts, lengths, at, after - at, False)
        starts.append(at + HEADER)
        lengths.append(length)
        at = after


def _length(header: bytes) -> int | None:
    """The length that a frame's header states, or None where its checksum is wrong."""
    length, check = struct.unpack("<QI", header)
    return int(length) if check == mask(google_crc32c.value(header[:8])) else None


def mask(crc: int) -> int:
    """TFRecord's masked checksum: rotated and offset, so that a checksum of data with checksums stays good."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFF_FFFF


def verified(data: bytes, start: int, length: int) -> bytes:
    """The payload at ``start``. Raises ``Corrupt`` where the checksum behind it says that it was another."""
    payload = data[start : start + length]
    check = int.from_bytes(data[start + length : start + length + FOOTER], "little")
    if check != mask(google_crc32c.value(payload)):
        raise Corrupt("wrong checksum")
    return payload


class Landmark(NamedTuple):
    """Where a small frame begins; not ``whole`` where it runs past the end of the data."""

    at: int
    whole: bool


def landmark(data: bytes, start: int) -> Landmark | None:
    """The first small frame at or after ``start`` that is intact, as far as it can be seen; None: there is none."""
    tries = 0
    for at in _candidates(data, start):
        length = _length(data[at : at + HEADER])
        if length is None:
            continue
        if at + HEADER + length + FOOTER > len(data):
            return Landmark(at, False)
        try:
            verified(data, at + HEADER, length)
        except Corrupt:
            tries += 1
        else:
            return Landmark(at, True)
        if tries == _TRIES:
            break
    return None


def search(fd: int, size: int, broken: int) -> int | None:
    """The offset of the next intact frame after the broken one at ``broken``; None where there is none yet."""
    at = broken + 1
    while at + HEADER <= min(size, broken + _SEARCHED):
        window = pread(fd, min(CHUNK, size - at), at)
        if len(window) < HEADER:
            return None  # the file shrank while it was read
        mark = landmark(window, 0)
        if mark is None:
            at += len(window) - HEADER + 1
        elif mark.whole:
            return at + mark.at
        elif at + len(window) >= size:
            return None
        else:
            at += mark.at
    return None


def _candidates(data: bytes, start: int) -> Iterator[int]:
    """Where a frame of 1 to 65,535 bytes may begin, from ``start`` on."""
    last = len(data) - HEADER
    for zeros in _ZEROS.finditer(data, start):
        for at in (zeros.start() - 2, zeros.start() - 1):
            if start <= at <= last and at + 8 <= zeros.end():
                yield at


def pread(fd: int, count: int, offset: int) -> bytes:
    """Up to ``count`` bytes; fewer only at the end of the file."""
    parts: list[bytes] = []
    while count > 0:
        part = os.pread(fd, count, offset)
        if not part:
            break
        parts.append(part)
        count -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
