# SPDX-License-Identifier: Apache-2.0
"""Write event files by hand, whole or broken, and read them with TensorBoard's own reader for comparison."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable
from pathlib import Path

import google_crc32c
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.util import tensor_util

from ade_hpc.metrics.series import Curves

logging.getLogger("tensorboard").setLevel(logging.ERROR)

Point = tuple[int, float, float]
NAME = "events.out.tfevents.1700000000.host.1.0"


def mask(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """One TFRecord frame."""
    return head(len(payload)) + payload + struct.pack("<I", mask(google_crc32c.value(payload)))


def head(length: int) -> bytes:
    """The 12 bytes before a payload, with a right checksum whatever the length."""
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", mask(google_crc32c.value(packed)))


def version(wall: float = 1.7e9) -> bytes:
    return Event(wall_time=wall, file_version="brain.Event:2").SerializeToString()


def scalar(tag: str, step: int, value: float, wall: float | None = None) -> bytes:
    """A scalar as torch and tensorboardX write it."""
    return event(Summary.Value(tag=tag, simple_value=value), step, wall)


def tensor(tag: str, step: int, value: np.generic, wall: float | None = None, *, typed: bool = False) -> bytes:
    """A scalar as TensorFlow 2 and Keras write it: in ``tensor_content``, or ``typed`` in a field of its own."""
    proto = tensor_util.make_tensor_proto(value)
    if not typed:
        for kind in ("float", "double", "int", "int64", "half", "bool", "uint32", "uint64"):
            proto.ClearField(f"{kind}_val")
        proto.tensor_content = value.tobytes()
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    return event(Summary.Value(tag=tag, tensor=proto, metadata=metadata), step, wall)


def event(value: Summary.Value, step: int, wall: float | None = None) -> bytes:
    wall = 1.7e9 + step if wall is None else wall
    return Event(wall_time=wall, step=step, summary=Summary(value=[value])).SerializeToString()


def restart(step: int) -> bytes:
    """What torch's ``SummaryWriter(purge_step=step)`` writes first."""
    return Event(wall_time=1.7e9, step=step, session_log=SessionLog(status=SessionLog.START)).SerializeToString()


def write(path: Path, payloads: Iterable[bytes]) -> Path:
    """An event file of these payloads behind the usual first record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(frame, [version(), *payloads])))
    return path


def points(curves: Curves) -> dict[str, list[Point]]:
    """Curves as plain lists of (step, wall time, value)."""
    return {
        tag: list(zip(series.steps.tolist(), series.wall_times.tolist(), series.values.tolist(), strict=True))
        for tag, series in curves.series.items()
    }


def tensorboard_points(folder: Path) -> dict[str, list[Point]]:
    """The same from TensorBoard's EventAccumulator, nothing sampled away."""
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    found = {tag: [(e.step, e.wall_time, e.value) for e in accumulator.Scalars(tag)] for tag in tags["scalars"]}
    for tag in tags["tensors"]:
        events = accumulator.Tensors(tag)
        arrays = [tensor_util.make_ndarray(e.tensor_proto) for e in events]
        if all(array.size == 1 and array.dtype.kind in "fiub" for array in arrays):
            found[tag] = [(e.step, e.wall_time, float(array.item())) for e, array in zip(events, arrays, strict=True)]
    return found
