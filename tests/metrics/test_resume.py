# SPDX-License-Identifier: Apache-2.0
"""Reading in pieces, in one process or many, gives what one cold read gives: points, and what is said of losses."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ade_hpc.metrics import reader
from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.reader import Position
from tests.metrics.event_files import NAME, frame, head, points, restart, scalar, version


def damaged(seed: int) -> bytes:
    """A small file with everything in it: two tags, steps that go back, flipped bits, junk, zeros, false headers."""
    rng = random.Random(seed)
    parts, step = [frame(version())], 0
    for _ in range(24):
        step = max(0, step + rng.choice([0, 1, 1, 1, 1, 100, -3]))
        part = frame(scalar(rng.choice("ab"), step, rng.random()))
        fate = rng.random()
        if fate < 0.1:
            spot = rng.randrange(len(part))
            part = part[:spot] + bytes([part[spot] ^ 1 << rng.randrange(8)]) + part[spot + 1 :]
        elif fate < 0.2:
            part = rng.choice([bytes(30), b"\xff" * 13, head(1 << 40), head(3), part[:20]]) + part
        elif fate < 0.24:
            part = frame(restart(step))
        parts.append(part)
    return b"".join(parts)


def said(folder: Path, cache: Path | None = None) -> tuple[object, tuple[str, ...]]:
    curves = collect([folder], cache)
    return points(curves), curves.notes


def test_every_split_gives_the_cold_read(tmp_path: Path) -> None:
    """A file cut at any byte, read, completed and read on: the same points and notes as read at once."""
    data = damaged(1)
    (tmp_path / "cold").mkdir()
    (tmp_path / "cold" / NAME).write_bytes(data)
    whole = said(tmp_path / "cold")
    for split in range(len(data)):
        folder, cache = tmp_path / str(split), tmp_path / f"cache{split}"
        folder.mkdir()
        with open(folder / NAME, "wb") as file:
            file.write(data[:split])
            file.flush()
            collect([folder], cache)
            file.write(data[split:])
        assert said(folder, cache) == whole, split


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_a_growing_file_is_always_known_as_far_as_it_goes(seed: int, growth: list[int]) -> None:
    """At every tick the cached curves are those of a cold read of what is there."""
    data = damaged(seed)
    with tempfile.TemporaryDirectory() as top:
        folder, cache = Path(top) / "logs", Path(top) / "cache"
        folder.mkdir()
        at = 0
        for size in [*growth, len(data)]:
            with open(folder / NAME, "ab") as file:
                file.write(data[at : at + size])
            at += size
            assert said(folder, cache) == said(folder)


def test_a_position_survives_json(tmp_path: Path) -> None:
    """The plain reader goes on from a position that another process wrote down, and misses and repeats nothing."""
    parts = [frame(version()), *(frame(scalar("loss", step, step)) for step in range(100))]
    path, position, values = tmp_path / NAME, None, []
    for tick in range(10):
        with open(path, "ab") as file:
            file.write(b"".join(parts[tick * 10 : tick * 10 + 10]))
            file.write(parts[tick * 10 + 10][:9])  # and a torn record, whose rest comes with the next tick
            file.flush()
            chunk = reader.read(path, position)
            file.truncate(file.tell() - 9)
        values += [record.value for record in chunk.records]
        position = Position(**json.loads(json.dumps(vars(chunk.position))))
        path.write_bytes(path.read_bytes())
        position = Position(**{**vars(position), "size": path.stat().st_size})
    assert values == [float(step) for step in range(99)]
