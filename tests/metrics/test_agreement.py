# SPDX-License-Identifier: Apache-2.0
"""What TensorBoard reads from a whole file is what we read from it, value for value, on both paths."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from ade_hpc.metrics import reader
from ade_hpc.metrics.collect import collect
from tests.metrics.event_files import NAME, event, points, scalar, tensor, tensorboard_points, write

TAGS = st.sampled_from(["loss/train", "loss/val", "lr", "a", "b", "Genauigkeit/größe", "x" * 300])
FLOATS = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, float("inf"), -float("inf")])
STEPS = st.integers(0, 300) | st.sampled_from([-(2**62), -5, 2**14, 2**31, 2**40, 2**62])
KINDS = ["simple", "float32", "float64", "float16", "int32", "int64", "uint8", "bool", "typed"]


def payload(kind: str, tag: str, step: int, value: float) -> bytes:
    if kind == "simple":
        return scalar(tag, step, value)
    if kind == "typed":
        return tensor(tag, step, np.float32(value), typed=True)
    number = np.array(value if kind.startswith("float") else value % 100 if np.isfinite(value) else 1)
    with np.errstate(over="ignore"):
        return tensor(tag, step, number.astype(kind)[()])


@st.composite
def files(draw: st.DrawFn) -> list[bytes]:
    """Payloads of one file: tags in turn, each of one kind, steps that never decrease, histograms in between."""
    kinds = {tag: draw(st.sampled_from(KINDS)) for tag in draw(st.sets(TAGS, min_size=1, max_size=4))}
    steps = sorted(draw(st.lists(STEPS, max_size=30)))
    logged = []
    for step in steps:
        for tag, kind in kinds.items():
            if draw(st.integers(0, 3)):
                logged.append(payload(kind, tag, step, draw(FLOATS)))
        if not draw(st.integers(0, 5)):
            logged.append(event(Summary.Value(tag="h", histo=HistogramProto(bucket=[float(step)] * 9)), step))
    return logged


@settings(max_examples=80)
@given(files())
def test_every_value_is_what_tensorboard_reads(payloads: list[bytes]) -> None:
    """Tags, steps, wall times and values of mixed files agree with EventAccumulator, exactly."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / NAME, payloads)
        curves = collect([Path(folder)])
        assert points(curves) == tensorboard_points(Path(folder))
        assert not curves.notes


@settings(max_examples=80)
@given(files())
def test_both_paths_read_the_same(payloads: list[bytes]) -> None:
    """The vectorised path gives what the plain one gives, in the same order."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / NAME, payloads)
        plain: dict[str, list[tuple[int, float, float]]] = {}
        for record in reader.read(path).records:
            plain.setdefault(record.tag, []).append((record.step, record.wall_time, record.value))
        assert points(collect([Path(folder)])) == plain


def test_a_long_run_agrees(tmp_path: Path) -> None:
    """Thousands of records of many tags, steps of one to three bytes, as TensorBoard's own writer writes them."""
    rng = np.random.default_rng(0)
    writer = EventFileWriter(str(tmp_path), max_queue_size=100_000, flush_secs=1000)
    for step in range(0, 40_000, 40):
        for tag in ("loss/train", "loss/val", "lr", "grad_norm", "layer_01/w", "layer_02/w", "layer_03/w"):
            value = Summary.Value(tag=tag, simple_value=float(rng.normal()))
            writer.add_event(Event(wall_time=1.7e9 + step * 0.1, step=step, summary=Summary(value=[value])))
    writer.close()
    assert points(collect([tmp_path])) == tensorboard_points(tmp_path)


def test_nan_and_infinities_stay(tmp_path: Path) -> None:
    """NaN and both infinities are values like others: the detectors live on them."""
    odd = [1.0, float("nan"), float("inf"), float("-inf"), 2.0] * 4
    write(tmp_path / NAME, [scalar("loss", step, value) for step, value in enumerate(odd)])
    assert np.array_equal(collect([tmp_path]).series["loss"].values, odd, equal_nan=True)


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize(
    "kind",
    ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"],
)
def test_every_dtype(tmp_path: Path, kind: str, typed: bool) -> None:
    """A tensor scalar of any numeric dtype is read as TensorBoard reads it."""
    values = np.array([0, 1, 1.5, 100]).astype(kind)
    write(tmp_path / NAME, [tensor("t", step, value, typed=typed) for step, value in enumerate(values)])
    found = points(collect([tmp_path]))
    if not (typed and kind in ("uint32", "uint64")):  # which TensorBoard cannot read
        assert found == tensorboard_points(tmp_path)
    assert [value for _, _, value in found["t"]] == [float(value) for value in values]


def test_several_values_in_one_event(tmp_path: Path) -> None:
    """TensorFlow 1 merges all summaries of a step into one event, images and scalars together."""
    image = Summary.Image(height=1, width=1, encoded_image_string=b"\x00" * 5000)
    payloads = [
        Event(
            wall_time=1.0 + step,
            step=step,
            summary=Summary(
                value=[
                    Summary.Value(tag="image", image=image),
                    *(Summary.Value(tag=f"scalar{number}", simple_value=step * number) for number in range(30)),
                ]
            ),
        ).SerializeToString()
        for step in range(20)
    ]
    write(tmp_path / NAME, payloads)
    assert points(collect([tmp_path])) == tensorboard_points(tmp_path)


def test_tensors_of_other_plugins_are_no_scalars(tmp_path: Path) -> None:
    """Only what TensorBoard shows as a scalar is one: a hyper-parameter or a text is not, though it may have rank 0."""
    number = tensor("acc", 1, np.float32(0.5))
    hparams = number.replace(b"scalars", b"hparams")
    assert hparams != number
    write(tmp_path / NAME, [number, hparams.replace(b"acc", b"hpp"), event(Summary.Value(tag="empty"), 1)])
    assert list(collect([tmp_path]).series) == ["acc"]
