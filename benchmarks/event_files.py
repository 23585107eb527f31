# SPDX-License-Identifier: Apache-2.0
"""Event files of any size, as torch writes them, in a second for each half million of events."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path

import google_crc32c

TAGS = ("loss/train", "loss/val", "accuracy/train", "accuracy/val", "lr", "grad_norm", "update_ratio",
        "throughput", "weight_norm", "dead_frac")  # fmt: skip
START = 1.7e9


def fabricate(folder: Path, events: int, *, mixed: bool = False) -> Path:
    """An event file of ``events`` scalars, ten tags in turn; ``mixed`` adds histograms and images in between."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "events.out.tfevents.1700000000.host.1.0"
    rng = random.Random(0)  # noqa: S311  # noise, not keys
    with open(path, "wb") as file:
        file.write(frame(b"\x09" + struct.pack("<d", START) + b"\x1a\x0dbrain.Event:2"))
        for number in range(events):
            step, tag = divmod(number, len(TAGS))
            value = 0.2 + 2 * math.exp(-5 * number / events) * (1 + 0.1 * rng.random()) + tag
            file.write(frame(scalar(TAGS[tag], step, value)))
            if mixed and number % 100 == 99:
                file.write(frame(histogram("weights", step, [rng.random() for _ in range(120)])))
            if mixed and number % 10_000 == 9999:
                file.write(frame(image("samples", step, rng.randbytes(200_000))))
    return path


def frame(payload: bytes) -> bytes:
    """One TFRecord frame."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _masked(length), payload, _masked(payload)))


def _masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def scalar(tag: str, step: int, value: float) -> bytes:
    """A scalar event with a ``simple_value``."""
    return _event(step, _tag(tag) + b"\x15" + struct.pack("<f", value))


def histogram(tag: str, step: int, buckets: list[float]) -> bytes:
    """A histogram event, reduced to its bucket counts."""
    return _event(step, _tag(tag) + _message(5, _message(7, struct.pack(f"<{len(buckets)}d", *buckets))))


def image(tag: str, step: int, encoded: bytes) -> bytes:
    """An image event, reduced to the encoded image."""
    return _event(step, _tag(tag) + _message(4, _message(4, encoded)))


def _event(step: int, value: bytes) -> bytes:
    stamp = b"\x09" + struct.pack("<d", START + step * 0.37) + (b"\x10" + _varint(step) if step else b"")
    return stamp + _message(5, _message(1, value))


def _tag(tag: str) -> bytes:
    return _message(1, tag.encode())


def _message(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
