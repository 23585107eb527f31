# SPDX-License-Identifier: Apache-2.0
"""Many files, folders and starts become one set of curves; later writing replaces earlier by two rules."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ade_hpc.metrics.collect import collect, gather
from ade_hpc.metrics.columns import Columns, joined, settled
from tests.metrics.event_files import points, restart, scalar, write


def name(number: int) -> str:
    return f"events.out.tfevents.{1_700_000_000 + number}.host.1.0"


def log(folder: Path, number: int, steps: range | list[int], value: float, tag: str = "loss") -> None:
    write(folder / name(number), [scalar(tag, step, value) for step in steps])


def shown(folders: list[Path], tag: str = "loss") -> list[tuple[int, float]]:
    return [(step, value) for step, _, value in points(collect(folders))[tag]]


def test_a_restart_wins_from_its_first_step_on(tmp_path: Path) -> None:
    """A run that resumed from step 6 replaces what the first start had written from there on, even what is longer."""
    log(tmp_path / "0", 0, range(20), 0.0)
    log(tmp_path / "1", 1, range(6, 9), 1.0)
    expected = [*((step, 0.0) for step in range(6)), (6, 1.0), (7, 1.0), (8, 1.0)]
    assert shown([tmp_path / "0", tmp_path / "1"]) == expected


def test_starts_are_ordered_by_the_caller_not_by_name(tmp_path: Path) -> None:
    """Restart 10 comes after restart 9, whatever their folders are called."""
    log(tmp_path / "10", 0, range(4), 10.0)
    log(tmp_path / "9", 0, range(8), 9.0)
    assert shown([tmp_path / "9", tmp_path / "10"]) == [(step, 10.0) for step in range(4)]


def test_every_tag_is_cut_by_its_own_successor(tmp_path: Path) -> None:
    """A tag that counts epochs is not cut by one that counts steps; a tag that was not resumed stays whole."""
    log(tmp_path / "0", 0, range(0, 1000, 100), 0.0)
    log(tmp_path / "0", 1, range(10), 0.0, "epoch_loss")
    log(tmp_path / "0", 2, range(10), 0.0, "once")
    log(tmp_path / "1", 3, range(500, 700, 100), 1.0)
    log(tmp_path / "1", 4, range(5, 7), 1.0, "epoch_loss")
    starts = [tmp_path / "0", tmp_path / "1"]
    assert shown(starts) == [*((step, 0.0) for step in range(0, 500, 100)), (500, 1.0), (600, 1.0)]
    assert shown(starts, "epoch_loss") == [*((step, 0.0) for step in range(5)), (5, 1.0), (6, 1.0)]
    assert len(shown(starts, "once")) == 10


def test_several_files_of_one_folder_follow_each_other(tmp_path: Path) -> None:
    """Files that a writer rotated, or wrote after a crash, are one run in the order of their names."""
    log(tmp_path, 2, range(8, 12), 2.0)
    log(tmp_path, 0, range(5), 0.0)
    log(tmp_path, 1, range(4, 10), 1.0)
    assert [value for _, value in shown([tmp_path])] == [0.0] * 4 + [1.0] * 4 + [2.0] * 4


def test_a_step_that_goes_back_takes_back(tmp_path: Path) -> None:
    """A trainer that went back to step 3 within one file overwrites from there; equal steps in a row all stand."""
    log(tmp_path, 0, [0, 1, 1, 1, 2, 3, 4, 5, 3, 4], 0.0)
    assert [step for step, _ in shown([tmp_path])] == [0, 1, 1, 1, 2, 3, 4]
    assert "3 points were taken back" in collect([tmp_path]).notes[0]


def test_a_declared_restart_takes_back_every_tag_of_its_folder(tmp_path: Path) -> None:
    """torch's purge_step: also tags that the new writer has not written yet are cut, in this folder only."""
    for number, tag in enumerate(["loss", "val"]):
        log(tmp_path, number, range(10), 0.0, tag)
    log(tmp_path / "other", 2, range(10), 0.0)
    write(tmp_path / name(3), [restart(5), scalar("loss", 5, 1.0)])
    assert len(shown([tmp_path])) == 6
    assert len(shown([tmp_path], "val")) == 5
    assert len(shown([tmp_path], "other/loss")) == 10


def test_sub_folders_prefix_their_tags(tmp_path: Path) -> None:
    """Keras writes train and validation beside each other; TensorBoard names them as runs, and so do we."""
    log(tmp_path / "train", 0, range(3), 0.0, "epoch_loss")
    log(tmp_path / "validation", 0, range(3), 0.0, "epoch_loss")
    log(tmp_path / "a" / "b", 0, range(3), 0.0, "deep")
    assert list(collect([tmp_path]).series) == ["a/b/deep", "train/epoch_loss", "validation/epoch_loss"]


def test_a_single_event_file_is_a_start(tmp_path: Path) -> None:
    """People point at the file as well as at its folder."""
    log(tmp_path, 0, range(3), 0.0)
    assert list(collect([tmp_path / name(0)]).series) == ["loss"]


def test_nothing_there_is_no_curve(tmp_path: Path) -> None:
    """A start whose folder does not exist yet has no curves and nothing to say."""
    curves = collect([tmp_path / "none"])
    assert (dict(curves.series), curves.notes) == ({}, ())


def test_too_deep_a_tree_is_left(tmp_path: Path) -> None:
    """Folders nested without end are not followed without end, and that is said."""
    log(tmp_path / "/".join("abcdefghijkl"), 0, range(3), 0.0)
    curves = collect([tmp_path])
    assert not curves.series
    assert "too deep" in curves.notes[0]


def test_each_start_by_itself(tmp_path: Path) -> None:
    """For a plot the starts are wanted one by one, uncut."""
    log(tmp_path / "0", 0, range(20), 0.0)
    log(tmp_path / "1", 1, range(6, 9), 1.0)
    logs = gather([tmp_path / "0", tmp_path / "1"])
    assert [len(curves.series["loss"]) for curves in logs.each()] == [20, 3]
    assert len(logs.whole().series["loss"]) == 9


@pytest.mark.parametrize("cached", [False, True])
def test_two_writers_at_once_end_as_one_after_the_other(tmp_path: Path, cached: bool) -> None:
    """Ranks that all log to one folder: the curve is the last writer's, however the ticks fell."""
    cache = tmp_path / "cache" if cached else None
    for steps in range(1, 6):
        for number in range(3):
            log(tmp_path / "logs", number, range(steps * (3 - number)), float(number))
        found = [(step, value) for step, _, value in points(collect([tmp_path / "logs"], cache))["loss"]]
        assert found == [(step, 2.0) for step in range(steps)]


@given(st.lists(st.integers(0, 8), max_size=30), st.lists(st.integers(0, 30), max_size=4))
def test_settling_in_pieces_is_settling_at_once(steps: list[int], cuts: list[int]) -> None:
    """The rule of steps that go back, against its plain definition, and split anywhere."""
    expected: list[tuple[int, float]] = []
    for row, step in enumerate(steps):
        if row and step < steps[row - 1]:
            expected = [old for old in expected if old[0] < step]
        expected.append((step, float(row)))
    whole = Columns(np.array(steps, np.int64), np.zeros(len(steps)), np.arange(len(steps), dtype=float))
    kept = Columns(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    edges = sorted({0, len(steps), *(cut for cut in cuts if cut < len(steps))})
    for first, last in pairwise(edges):
        piece = Columns(*(column[first:last] for column in whole))
        cut, stands = settled(piece, int(kept.steps[-1]) if len(kept.steps) else None)
        if cut is not None:
            kept = Columns(*(column[kept.steps < cut] for column in kept))
        kept = joined([kept, stands])
    assert list(zip(kept.steps.tolist(), kept.values.tolist(), strict=True)) == expected
