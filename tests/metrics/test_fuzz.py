# SPDX-License-Identifier: Apache-2.0
"""Mutilated files: no crash, no hang, no unbounded memory, and never a value that nobody wrote.

``ADE_FUZZ_FILES=100000 pytest tests/metrics/test_fuzz.py`` for the long run; every file is reproducible by its number.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ade_hpc.metrics import reader
from ade_hpc.metrics.collect import collect
from tests.metrics.event_files import NAME, frame, head, points, restart, scalar, tensor, version

FILES = int(os.environ.get("ADE_FUZZ_FILES", "2000"))
FACTS = frozenset[tuple[str, int, float, float]]


@cache
def original(kind: int) -> tuple[tuple[bytes, ...], FACTS]:
    """The frames of one whole file and every point written to it, by tag, step, time and value."""
    rng = random.Random(kind)
    frames, facts = [frame(version())], set()
    for row in range(rng.choice([3, 40, 400])):
        step, tag = row * rng.choice([1, 7]), rng.choice(["loss", "lr", "acc/val", "a" * 60])
        value = float(np.float32(rng.gauss(0, 1)))
        simple = kind % 3 == 0 or (kind % 3 == 1 and rng.random() < 0.5)
        payload = scalar(tag, step, value) if simple else tensor(tag, step, np.float32(value), typed=rng.random() < 0.5)
        if rng.random() < 0.02:
            frames.append(frame(restart(step)))
        frames.append(frame(payload))
        facts.add((tag, step, 1.7e9 + step, value))
    return tuple(frames), frozenset(facts)


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 3, 30])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    at, size = rng.randrange(len(data)), rng.choice([1, 4, 50, 5000])
    data[at : at + size] = rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size), b"\x01\0\0\0\0\0\0\0" * size])


def insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    claim = head(rng.choice([0, 5, 200, 60_000, 1 << 26, 1 << 33, 2**64 - 1]))
    junk = rng.choice([bytes(100), rng.randbytes(30), claim, frame(b"\x12\xff")])
    data[at:at] = junk * rng.choice([1, 1, 20])


def delete(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 4, 12, 60, 1000])]


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def repeat(data: bytearray, rng: random.Random) -> None:
    first, last = sorted(rng.sample(range(len(data) + 1), 2))
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[first:last]


def shuffle(data: bytearray, rng: random.Random) -> None:
    size = rng.choice([16, 64, 512])
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    rng.shuffle(blocks)
    data[:] = b"".join(blocks)


Mutation = Callable[[bytearray, random.Random], None]
MUTATIONS: list[Mutation] = [flip, flip, overwrite, insert, delete, truncate, repeat, shuffle]


def mutilated(number: int) -> tuple[bytes, FACTS]:
    frames, facts = original(number % 31)
    rng = random.Random(number)
    data = bytearray(b"".join(frames))
    for _ in range(rng.choice([1, 1, 2, 5])):
        if data:
            rng.choice(MUTATIONS)(data, rng)
    return bytes(data), facts


def read(folder: Path, cached: Path | None) -> set[tuple[str, int, float, float]]:
    return {(tag, *point) for tag, many in points(collect([folder], cached)).items() for point in many}


@pytest.mark.timeout(60 + FILES // 50)
def test_no_mutilated_file_yields_a_value_that_nobody_wrote(tmp_path: Path) -> None:
    """Thousands of files broken in every way: whatever is read was written, and quickly."""
    path = tmp_path / NAME
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest = 0.0
    for number in range(FILES):
        data, facts = mutilated(number)
        path.write_bytes(data)
        started = time.process_time()
        found = read(tmp_path, None)
        slowest = max(slowest, time.process_time() - started)
        assert found <= facts, f"file {number}"
        plain = {tuple(record) for record in reader.read(path).records}
        assert plain <= facts, f"file {number}"
    assert slowest < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.timeout(60 + FILES // 100)
def test_mutilation_between_ticks(tmp_path: Path) -> None:
    """A file that turns into another mutilated one between two ticks: still only what one of them says."""
    folder, cached = tmp_path / "logs", tmp_path / "cache"
    folder.mkdir()
    known: FACTS = frozenset()
    for number in range(FILES // 10):
        data, facts = mutilated(number)
        (folder / NAME).write_bytes(data)
        found = read(folder, cached)
        assert found <= facts | known, f"file {number}"
        known |= facts
