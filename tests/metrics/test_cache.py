# SPDX-License-Identifier: Apache-2.0
"""The cache of curves saves reading and never changes what is read, whatever becomes of it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from ade_hpc.metrics import bulk
from ade_hpc.metrics.collect import collect
from tests.metrics.event_files import NAME, frame, points, scalar, write

TAGS = ["loss", "lr", "acc"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write(tmp_path / "logs" / NAME, [scalar(tag, step, step * 0.5) for step in range(3000) for tag in TAGS])
    return tmp_path


def add(run: Path, steps: range, tag: str = "loss") -> None:
    with open(run / "logs" / NAME, "ab") as file:
        file.write(b"".join(frame(scalar(tag, step, step * 0.25)) for step in steps))


def agree(run: Path) -> tuple[str, ...]:
    """The cached read equals the cold one; returns what only the cached one says."""
    cached, cold = collect([run / "logs"], run / "cache"), collect([run / "logs"])
    assert points(cached) == points(cold)
    return tuple(note for note in cached.notes if note not in cold.notes)


def data_file(run: Path) -> Path:
    (found,) = (run / "cache").glob("numbers-*.bin")
    return found


def test_a_tick_reads_only_what_is_new(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a first read, a file that did not grow is not opened, and one that grew is read from there."""
    agree(run)
    offsets: list[int] = []
    plain = bulk.read

    def watched(path: Path, position: object) -> object:
        offsets.append(position.offset)  # type: ignore[attr-defined]  # a Position, passed on
        return plain(path, position)  # type: ignore[arg-type]  # as above

    monkeypatch.setattr(bulk, "read", watched)
    before = (run / "logs" / NAME).stat().st_size
    collect([run / "logs"], run / "cache")
    assert not offsets
    add(run, range(3000, 3010))
    collect([run / "logs"], run / "cache")
    assert offsets == [before]


def test_many_ticks_agree(run: Path) -> None:
    """Growth over hundreds of ticks, through every move to a roomier place."""
    for tick in range(120):
        add(run, range(3000 + tick * 70, 3070 + tick * 70), TAGS[tick % 3])
        assert agree(run) == ()


def test_steps_that_go_back_agree(run: Path) -> None:
    """A trainer that goes back, again and again, leaves the cache right and not for ever growing."""
    for tick in range(40):
        add(run, range(10 * (tick % 7), 3000))
        assert agree(run) == ()
    assert data_file(run).stat().st_size < 3 << 20


def test_what_was_handed_out_stays(run: Path) -> None:
    """Curves of an earlier tick do not change under their holder when later ticks write."""
    add(run, range(3000, 3001))
    held = collect([run / "logs"], run / "cache")
    before = {tag: series.values.copy() for tag, series in held.series.items()}
    for tick in range(30):
        add(run, range(100 * tick, 100 * tick + 500))
        collect([run / "logs"], run / "cache")
    assert all(np.array_equal(held.series[tag].values, before[tag]) for tag in before)


def test_it_is_the_users_alone(run: Path) -> None:
    """Folder 0700, files 0600."""
    agree(run)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in [run / "cache", *(run / "cache").iterdir()]]
    assert modes == [0o700, 0o600, 0o600]


@pytest.mark.parametrize("which", ["state", "data"])
@pytest.mark.parametrize("how", ["flip", "truncate", "empty", "noise", "remove", "symlink", "fifo", "writable"])
def test_a_damaged_cache_is_built_anew(run: Path, which: str, how: str) -> None:
    """Whatever happened to its files: the curves are right, it is said, and the next tick is at peace."""
    agree(run)
    path = data_file(run) if which == "data" else run / "cache" / "state.json"
    content = path.read_bytes()
    if how == "flip":
        spot = 3000 * 8 // 2 if which == "data" else len(content) // 2
        path.write_bytes(content[:spot] + bytes([content[spot] ^ 4]) + content[spot + 1 :])
    elif how == "truncate":
        os.truncate(path, len(content) // 2)
    elif how == "empty":
        os.truncate(path, 0)
    elif how == "noise":
        path.write_bytes(os.urandom(len(content)))
    elif how == "writable":
        path.chmod(0o666)
    else:
        path.unlink()
        if how == "symlink":
            (run / "elsewhere").write_bytes(content)
            path.symlink_to(run / "elsewhere")
        elif how == "fifo":
            os.mkfifo(path)
    add(run, range(3000, 3010))
    notes = agree(run)
    assert len(notes) == (0 if (which, how) == ("state", "remove") else 1)
    assert agree(run) == ()


def test_a_flipped_bit_is_found_in_time(tmp_path: Path) -> None:
    """A cache too large to be verified at every tick is verified in turn: no bit stays flipped for ever."""
    write(tmp_path / "logs" / NAME, [scalar("loss", step, 1.0) for step in range(300_000)])
    collect([tmp_path / "logs"], tmp_path / "cache")
    path = data_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[8 * 290_000] ^= 1
    path.write_bytes(content)
    said = []
    for tick in range(6):
        add(tmp_path, range(300_000 + tick, 300_001 + tick))
        said += collect([tmp_path / "logs"], tmp_path / "cache").notes
    assert len([note for note in said if "built anew" in note]) == 1
    assert agree(tmp_path) == ()


def test_a_flipped_bit_is_not_copied(tmp_path: Path) -> None:
    """What moves to another place is verified whole: the move would give the damage a right checksum."""
    write(tmp_path / "logs" / NAME, [scalar("loss", step, 1.0) for step in range(300_000)])
    collect([tmp_path / "logs"], tmp_path / "cache")
    path = data_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[8 * 290_000] ^= 1
    path.write_bytes(content)
    add(tmp_path, range(299_000, 299_010))
    assert "built anew" in agree(tmp_path)[0]


def test_a_cache_in_use_is_left_alone(run: Path) -> None:
    """Two ticks at once: the second reads without the cache and says so, and harms nothing."""
    agree(run)
    with open(run / "cache" / "state.json", "rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        add(run, range(3000, 3010))
        assert agree(run) == ("read without a cache of curves: another reader has it",)
    assert agree(run) == ()


def test_a_filesystem_without_locks_still_has_a_cache(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre mounted without flock refuses every lock; the cache works all the same."""

    def refused(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refused)
    agree(run)
    add(run, range(3000, 3010))
    assert agree(run) == ()
    assert data_file(run).exists()


def test_a_cache_that_cannot_be_written_costs_no_curve(run: Path) -> None:
    """No place to write: the curves are read all the same, and the reason is said."""
    (run / "cache").write_text("a file where the folder should be")
    (note,) = agree(run)
    assert note.startswith("read without a cache of curves:")


def test_starts_may_come_and_go(run: Path) -> None:
    """The cache follows the starts it is asked for; one that is gone is forgotten."""
    write(run / "more" / NAME, [scalar("loss", step, 7.0) for step in range(100, 200)])
    for starts in ([run / "logs"], [run / "logs", run / "more"], [run / "more"], [run / "logs"]):
        assert points(collect(starts, run / "cache")) == points(collect(starts))
