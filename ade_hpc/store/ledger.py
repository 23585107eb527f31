# SPDX-License-Identifier: Apache-2.0
"""The ledger: an append-only file of intents and facts, one JSON object a line.

Every line carries a sequence number and a CRC of its own text. A torn tail (a writer killed in the middle) is
skipped and said; a sequence number that comes twice means two writers, and trips a breaker: nothing more is done
to that experiment until a person has looked (invariant 8).
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ade_hpc.errors import StoreError


@dataclass(frozen=True)
class Entry:
    """One line. ``kind`` says what it is (``intent``, ``submitted``, ...); ``data`` is what is recorded with it."""

    seq: int
    time: float
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Ledger:
    """What was read: the entries in order, ``notes`` on damage, and whether two writers were at work."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    two_writers: bool = False

    def of_kind(self, *kinds: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind in kinds]

    @property
    def next_seq(self) -> int:
        return self.entries[-1].seq + 1 if self.entries else 1


def read_ledger(path: Path) -> Ledger:
    """Read what can be trusted; a missing file is an empty ledger.

    Raises StoreError where the file is there but can't be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Ledger(())
    except OSError as error:
        raise StoreError(f"{path}: can't be read: {error.strerror}") from error
    return _collect(path, data.split(b"\n"))


def _collect(path: Path, lines: Iterable[bytes]) -> Ledger:
    entries: list[Entry] = []
    notes: list[str] = []
    repeated = False
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        entry = _parse(line)
        if entry is None:
            notes.append(f"{path}:{number}: a damaged line was skipped")
            continue
        repeated = repeated or (bool(entries) and entry.seq <= entries[-1].seq)
        entries.append(entry)
    if repeated:
        notes.append(f"{path}: a sequence number comes twice: two writers were at work")
    return Ledger(tuple(entries), tuple(notes), repeated)


def append(path: Path, kind: str, data: Mapping[str, Any], *, now: float) -> Entry:
    """Add one line, whole and on disk before this returns.

    A torn tail of an earlier writer is closed with a newline first, so that it costs only itself.
    Raises StoreError where it can't be written, or only a part of it: then the effect it announces must not happen.
    """
    entry = Entry(read_ledger(path).next_seq, now, kind, data)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            line = (b"\n" if torn else b"") + _format(entry)
            written = os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StoreError(f"{path}: can't be written: {error.strerror}") from error
    if written < len(line):  # what is there of it is a torn tail
        raise StoreError(f"{path}: only {written} bytes of {len(line)} could be written: is the disk or quota full?")
    return entry


def _format(entry: Entry) -> bytes:
    body = json.dumps(
        {"seq": entry.seq, "time": round(entry.time, 3), "kind": entry.kind, "data": entry.data},
        separators=(",", ":"),
        sort_keys=True,
    ).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _parse(line: bytes) -> Entry | None:
    checksum, _, body = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(body):
            return None
        value = json.loads(body)
        return Entry(int(value["seq"]), float(value["time"]), str(value["kind"]), dict(value["data"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
