# SPDX-License-Identifier: Apache-2.0
"""Never resume from poison: only whole checkpoints, and only from before the trouble (invariant 5)."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from ade_hpc.errors import StoreError
from ade_hpc.job.checkpoints import is_valid, list_checkpoints, newest_valid
from ade_hpc.launch.parent import last_healthy, pin
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.records import ParentRecord

PATTERN = "step-{step}.pt"


def write(folder: Path, step: int, at: float) -> Path:
    path = folder / f"step-{step:04d}.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("data.pkl", os.urandom(2000))
        archive.writestr("version", b"3\n")
    os.utime(path, (at, at))
    return path


@pytest.fixture
def attempts(tmp_path: Path) -> tuple[AttemptDir, AttemptDir]:
    folder = ExperimentDir(tmp_path / "tiny")
    folder.make_folders()
    made = folder.claim_attempt(1), folder.claim_attempt(2)
    for attempt in made:
        attempt.make_folders()
    return made


def test_a_checkpoint_truncated_anywhere_is_not_valid(tmp_path: Path) -> None:
    whole = write(tmp_path, 1, 1.0).read_bytes()
    assert is_valid(tmp_path / "step-0001.pt", None)
    for size in range(0, len(whole), 37):
        (tmp_path / "step-0001.pt").write_bytes(whole[:size])
        assert not is_valid(tmp_path / "step-0001.pt", None), size


def test_a_flipped_bit_in_the_weights_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, 1, 1.0)
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(bytes(data))
    assert not is_valid(path, None)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    """A checkpoint that is no archive would have to be unpickled to be judged: it is not trusted."""
    (tmp_path / "step-1.pt").write_bytes(b"\x80\x04cos\nsystem\n")
    assert not is_valid(tmp_path / "step-1.pt", None)


def test_a_folder_is_whole_when_its_framework_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-5"
    folder.mkdir()
    (folder / "weights").write_bytes(b"x")
    assert not is_valid(folder, "trainer_state.json")
    (folder / "trainer_state.json").write_text("{}")
    assert is_valid(folder, "trainer_state.json")
    assert not is_valid(folder, None)
    assert list_checkpoints(tmp_path, "checkpoint-{step}")[0].step == 5


def test_links_and_strangers_are_not_listed(tmp_path: Path) -> None:
    real = write(tmp_path, 1, 1.0)
    (tmp_path / "step-0002.pt").symlink_to(real)
    (tmp_path / "step-x.pt").write_bytes(b"")
    (tmp_path / ".step-0003.pt.partial").write_bytes(b"")
    assert [checkpoint.step for checkpoint in list_checkpoints(tmp_path, PATTERN)] == [1]


def test_the_newest_whole_one_counts(tmp_path: Path) -> None:
    write(tmp_path, 1, 1.0)
    write(tmp_path, 2, 2.0)
    (tmp_path / "step-0003.pt").write_bytes(b"PK\x03\x04torn")
    found = newest_valid(tmp_path, PATTERN, None)
    assert found is not None
    assert found.step == 2


@pytest.mark.parametrize(
    ("onset", "step"),
    [(None, 5), (55.0, 4), (50.0, 4), (49.0, 3), (31.0, 2), (20.0, 1), (19.0, None)],
)
def test_the_parent_was_complete_one_save_interval_before_the_onset(
    attempts: tuple[AttemptDir, AttemptDir], onset: float | None, step: int | None
) -> None:
    """Checkpoints at 10, 20, ... 50 s: a fault is in the weights before it shows in a curve."""
    for number in range(1, 6):
        write(attempts[0].checkpoints, number, number * 10.0)
    parent = last_healthy(attempts[0], PATTERN, None, onset)
    assert (parent.step if parent else None) == step


def test_without_a_healthy_one_of_its_own_an_attempt_s_parent_counts_again(
    attempts: tuple[AttemptDir, AttemptDir],
) -> None:
    write(attempts[1].start, 3, 5.0)
    write(attempts[1].checkpoints, 4, 100.0)
    parent = last_healthy(attempts[1], PATTERN, None, onset=90.0)
    assert parent == ParentRecord(2, "step-0003.pt", 3)


def test_a_pinned_parent_outlives_its_original(attempts: tuple[AttemptDir, AttemptDir]) -> None:
    """The old trainer may prune its checkpoints as soon as it likes."""
    path = write(attempts[0].checkpoints, 1, 1.0)
    parent = ParentRecord(1, path.name, 1)
    pin(parent, attempts[0], attempts[1])
    path.unlink()
    pin(parent, attempts[0], attempts[1])
    assert is_valid(attempts[1].start / path.name, None)


def test_a_parent_that_is_gone_is_an_error_and_nothing_else(attempts: tuple[AttemptDir, AttemptDir]) -> None:
    with pytest.raises(StoreError, match="is gone"):
        pin(ParentRecord(1, "step-0001.pt", 1), attempts[0], attempts[1])
    assert list(attempts[1].start.iterdir()) == []
