# SPDX-License-Identifier: Apache-2.0
"""Broken files: lose what is broken, say so, go on; wait where waiting may help; never a wrong value."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from ade_hpc.metrics import reader, tfrecord
from ade_hpc.metrics.collect import collect
from tests.metrics.event_files import NAME, frame, head, mask, scalar, version

VALUES = [float(step) for step in range(200)]


def frames() -> list[bytes]:
    return [frame(version()), *(frame(scalar("loss", step, value)) for step, value in enumerate(VALUES))]


def lay(folder: Path, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / NAME
    path.write_bytes(data)
    return path


def values(folder: Path, cache: Path | None = None) -> list[float]:
    series = collect([folder], cache).series
    return series["loss"].values.tolist() if "loss" in series else []


def without(*steps: int) -> list[float]:
    return [value for step, value in enumerate(VALUES) if step not in steps]


def test_a_torn_tail_is_waited_for(tmp_path: Path) -> None:
    """Half a record at the end is no loss: it is read once the rest is there."""
    whole = b"".join(frames())
    path = lay(tmp_path, whole[:-10])
    curves = collect([tmp_path])
    assert curves.series["loss"].values.tolist() == VALUES[:-1]
    assert "waits for the rest of a record" in curves.notes[0]
    path.write_bytes(whole)
    assert values(tmp_path) == VALUES
    assert not collect([tmp_path]).notes


def test_a_flipped_bit_costs_one_record(tmp_path: Path) -> None:
    """A wrong payload checksum loses that record, says where, and nothing behind it."""
    parts = frames()
    parts[101] = parts[101][:20] + bytes([parts[101][20] ^ 1]) + parts[101][21:]
    lay(tmp_path, b"".join(parts))
    curves = collect([tmp_path])
    assert curves.series["loss"].values.tolist() == without(100)
    where = sum(map(len, parts[:101]))
    assert curves.notes == (f"{NAME}: lost 1 record with a wrong checksum or content, from byte {where} on",)


def test_a_flipped_bit_anywhere_costs_one_record(tmp_path: Path) -> None:
    """Each byte of a record in turn, its tag included: that record is lost, and no tag appears that nobody wrote."""
    parts = frames()
    for spot in range(len(parts[101])):
        broken = bytearray(parts[101])
        broken[spot] ^= 8
        lay(tmp_path, b"".join([*parts[:101], bytes(broken), *parts[102:]]))
        assert list(collect([tmp_path]).series) == ["loss"]
        assert values(tmp_path) == without(100), spot


@pytest.mark.parametrize("bit", [0, 5, 8, 17, 31, 63, 64, 95])
def test_a_flipped_bit_in_a_header_costs_one_record(tmp_path: Path, bit: int) -> None:
    """A wrong length, or its wrong checksum: the next frame is found by looking for it."""
    parts = frames()
    broken = bytearray(parts[101])
    broken[bit // 8] ^= 1 << bit % 8
    parts[101] = bytes(broken)
    lay(tmp_path, b"".join(parts))
    curves = collect([tmp_path])
    assert curves.series["loss"].values.tolist() == without(100)
    assert f"skipped {len(parts[101])} bytes" in curves.notes[0]


JUNK = {
    "zeros": b"\x00" * 5000,
    "ones": b"\xff" * 5000,
    "noise": Random(5).randbytes(5000),
    "lengths": b"\x01\x00\x00\x00\x00" * 3000,
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
def test_junk_in_the_middle_is_skipped(tmp_path: Path, junk: bytes) -> None:
    """Zeros (what NFS shows of pages that have not come) or garbage between frames cost nothing but themselves."""
    parts = frames()
    lay(tmp_path, b"".join([*parts[:50], junk, *parts[50:]]))
    assert values(tmp_path) == VALUES
    assert "are no records" in collect([tmp_path]).notes[0]


@pytest.mark.parametrize("size", [1, 11, 12, 100, 300_000])
def test_a_zero_filled_tail_holds_no_records(tmp_path: Path, size: int) -> None:
    """Zeros at the end are waited at, not taken for empty records, and read again when they have become records."""
    whole = b"".join(frames())
    path = lay(tmp_path, whole + bytes(size))
    assert values(tmp_path, tmp_path / "cache") == VALUES
    assert collect([tmp_path], tmp_path / "cache").notes
    path.write_bytes(whole + frame(scalar("loss", 200, 7.0)) + bytes(size))
    assert values(tmp_path, tmp_path / "cache") == [*VALUES, 7.0]


@pytest.mark.parametrize("claim", [65 << 20, 1 << 30, 1 << 40, 2**63, 2**64 - 1])
def test_a_gigabyte_claim_is_not_believed(tmp_path: Path, claim: int) -> None:
    """A length over the limit is skipped like garbage even if its checksum is right; no memory is asked for."""
    parts = frames()
    lay(tmp_path, b"".join([*parts[:50], head(claim), b"xyz", *parts[50:]]))
    assert values(tmp_path) == VALUES


def test_a_partial_record_followed_by_others(tmp_path: Path) -> None:
    """A full disk tore a record and later ones follow it: they are read, but for the one whose place it claimed."""
    parts = frames()
    parts[101] = parts[101][:30]
    lay(tmp_path, b"".join(parts))
    found = values(tmp_path)
    assert set(without(100)) - set(found) <= {101.0, 102.0}
    assert set(found) <= set(VALUES)


def test_a_right_checksum_over_nonsense_is_a_lost_record(tmp_path: Path) -> None:
    """A payload that is no event, though its checksum is right, is lost alone."""
    parts = frames()
    parts[101] = frame(b"\xff" * 20)
    lay(tmp_path, b"".join(parts))
    assert values(tmp_path) == without(100)
    assert "lost 1 record" in collect([tmp_path]).notes[0]


def test_damage_everywhere_takes_no_longer(tmp_path: Path) -> None:
    """Thousands of broken headers are passed in one go, not each with a new look at the file."""
    parts = [frame(scalar("loss", step, 1.0)) for step in range(40_000)]
    parts[::2] = [b"\xff" + part[1:] for part in parts[::2]]
    lay(tmp_path, b"".join(parts))
    assert len(values(tmp_path)) == 20_000


def test_false_headers_do_not_trap_the_search(tmp_path: Path) -> None:
    """Headers with a right checksum but nothing behind them: the search gives up at some point, and says so."""
    lay(tmp_path, b"".join(frames()) + b"\xff" + head(60_000) * 30_000)
    curves = collect([tmp_path])
    assert curves.series["loss"].values.tolist() == VALUES
    assert "are no records" in curves.notes[0]


def test_a_file_that_shrank_is_read_again(tmp_path: Path) -> None:
    """A smaller file is another file: what was read of the old one is forgotten, and that is said."""
    parts = frames()
    path, cache = lay(tmp_path, b"".join(parts)), tmp_path / "cache"
    assert values(tmp_path, cache) == VALUES
    os.truncate(path, sum(map(len, parts[:51])))
    curves = collect([tmp_path], cache)
    assert curves.series["loss"].values.tolist() == VALUES[:50]
    assert "shrank" in curves.notes[0]
    assert not collect([tmp_path], cache).notes


@pytest.mark.parametrize("how", ["rename", "rewrite", "same beginning"])
def test_a_replaced_file_is_read_again(tmp_path: Path, how: str) -> None:
    """A longer file under the same name starts again: in place, under a new inode, even if both begin alike."""
    path, cache = lay(tmp_path, b"".join(frames())), tmp_path / "cache"
    assert values(tmp_path, cache) == VALUES
    other = [frame(version(1.8e9)), *(frame(scalar("loss", step, 9.0)) for step in range(300))]
    if how == "same beginning":
        other[:11] = frames()[:11]
    if how == "rewrite":
        path.write_bytes(b"".join(other))
    else:
        (tmp_path / "new").write_bytes(b"".join(other))
        (tmp_path / "new").rename(path)
    curves = collect([tmp_path], cache)
    assert curves.series["loss"].values.tolist() == [
        *(VALUES[:10] if how == "same beginning" else [9.0] * 10),
        *[9.0] * 290,
    ]
    assert "replaced" in curves.notes[0]


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """Links, FIFOs and folders with an event file's name are named and left alone; nothing blocks."""
    outside = lay(tmp_path / "outside", b"".join(frames()))
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.tfevents.link").symlink_to(outside)
    (logs / "linked").symlink_to(outside.parent)
    os.mkfifo(logs / "b.tfevents.fifo")
    (logs / "c.tfevents.folder").mkdir()
    (logs / "d.tfevents.text").write_text("no events in here, just text\n" * 100)
    (logs / "e.tfevents.empty").touch()
    curves = collect([logs])
    assert not curves.series
    assert [note.split(":")[0] for note in curves.notes] == [
        "a.tfevents.link", "b.tfevents.fifo", "linked", "d.tfevents.text",
    ]  # fmt: skip
    for name in ("a.tfevents.link", "b.tfevents.fifo"):
        assert reader.read(logs / name).notes


def test_a_device_is_not_opened_for_reading() -> None:
    """A character device is refused by what it is."""
    assert reader.read(Path("/dev/zero")).notes == ("not read: not a regular file",)


def test_an_unreadable_file_is_a_note(tmp_path: Path) -> None:
    """A file that vanished between the listing and the reading is said, not raised."""
    chunk = reader.read(tmp_path / "gone.tfevents")
    assert chunk.notes == ("not read: No such file or directory",)
    assert not chunk.more


def test_records_over_a_chunk_are_read(tmp_path: Path) -> None:
    """An image larger than one stretch of reading is passed, and what stands behind it is read."""
    parts = frames()
    blob = frame(b"\x4a" + b"\x80\x80\xc0\x04" + bytes(9 << 20))  # an unknown field of nine megabytes
    lay(tmp_path, b"".join([*parts[:50], blob, *parts[50:]]))
    assert values(tmp_path) == VALUES
    assert not collect([tmp_path]).notes


def test_a_hole_over_a_chunk_is_passed(tmp_path: Path) -> None:
    """Ten megabytes of zeros in the middle are skipped, however the reader's stretches fall."""
    parts = frames()
    lay(tmp_path, b"".join([*parts[:50], bytes(10 << 20), *parts[50:]]))
    assert values(tmp_path) == VALUES


def test_the_mask_is_that_of_tfrecord() -> None:
    """Our masked checksum is the writer's."""
    for crc in (0, 1, 0xDEADBEEF, 0xFFFFFFFF):
        assert tfrecord.mask(crc) == mask(crc)
