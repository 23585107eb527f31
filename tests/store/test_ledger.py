# SPDX-License-Identifier: Apache-2.0
"""The ledger loses nothing, says what is damaged, and notices two writers (invariant 8)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ade_hpc.errors import StoreError
from ade_hpc.store.ledger import append, read_ledger
from tests.support.full_disk import room_for


def write(path: Path, count: int) -> None:
    for number in range(count):
        append(path, "fact", {"number": number}, now=1000.0 + number)


def test_entries_come_back_in_order_with_their_numbers(tmp_path: Path) -> None:
    write(tmp_path / "ledger.jsonl", 3)
    ledger = read_ledger(tmp_path / "ledger.jsonl")
    assert [(entry.seq, entry.data["number"]) for entry in ledger.entries] == [(1, 0), (2, 1), (3, 2)]
    assert not ledger.notes


def test_a_missing_ledger_is_an_empty_one(tmp_path: Path) -> None:
    assert read_ledger(tmp_path / "none").entries == ()


def test_a_torn_tail_costs_only_itself(tmp_path: Path) -> None:
    """A writer killed in the middle of a line: the line is skipped and said, and what comes after is whole."""
    path = tmp_path / "ledger.jsonl"
    write(path, 3)
    path.write_bytes(path.read_bytes()[:-20])
    append(path, "fact", {"number": 9}, now=2000.0)
    ledger = read_ledger(path)
    assert [entry.data["number"] for entry in ledger.entries] == [0, 1, 9]
    assert len(ledger.notes) == 1
    assert "damaged" in ledger.notes[0]


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_never_changes_what_is_read(tmp_path_factory: pytest.TempPathFactory, at: int, by: int) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    write(path, 4)
    whole = {entry.seq: entry for entry in read_ledger(path).entries}
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= by
    path.write_bytes(bytes(data))
    for entry in read_ledger(path).entries:
        assert whole[entry.seq] == entry


def test_a_repeated_number_means_two_writers(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, 2)
    write(other, 2)
    one.write_bytes(one.read_bytes() + other.read_bytes().splitlines(keepends=True)[1])
    assert read_ledger(one).two_writers


def test_what_can_t_be_written_is_an_error_before_the_effect(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(StoreError):
        append(tmp_path / "ledger.jsonl", "intent", {}, now=0.0)


def test_a_line_that_is_cut_short_is_an_error_and_costs_only_itself(tmp_path: Path) -> None:
    """At whatever byte the disk is full: its writer hears of it, and the next line is whole."""
    write(tmp_path / "whole", 2)
    length = (tmp_path / "whole").stat().st_size // 2
    for cut in range(length):
        path = tmp_path / f"{cut}.jsonl"
        write(path, 1)
        with room_for(length + cut), pytest.raises(StoreError, match=r"written"):
            append(path, "fact", {"number": 1}, now=1001.0)
        append(path, "fact", {"number": 2}, now=1002.0)

        ledger = read_ledger(path)
        assert [entry.data["number"] for entry in ledger.entries if entry.data["number"] != 1] == [0, 2]
        assert not ledger.two_writers


def test_lines_are_for_people_with_a_pager_too(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path, 1)
    assert json.loads(path.read_text().partition(" ")[2])["kind"] == "fact"
    assert path.stat().st_mode & 0o777 == 0o600
