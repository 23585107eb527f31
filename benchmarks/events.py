# SPDX-License-Identifier: Apache-2.0
"""How fast event files are read: ours, cold and by ticks, beside TensorBoard's own readers and others.

Every measurement is a process of its own; the time is that of reading alone, without imports; the best of several
counts. A reader that is not installed is left out. The last line is
``{"events", "vs_eventaccumulator", "vs_data_server", "incremental_vs_cold", "peak_mb"}``: ratios of times of the
largest file, ours in the denominator (``incremental_vs_cold``: the tick), and the peak of our cold read.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.event_files import fabricate
from benchmarks.measuring import best, machine, peak_mb, report, table, timed

_TICK = 1000
_PATIENCE_S = 120
_SIZES = (1_000, 10_000, 100_000, 1_000_000)


def ours(folder: Path) -> None:
    """One cold read without a cache."""
    from ade_hpc.metrics.collect import collect

    seconds, curves = timed(lambda: collect([folder]))
    report(seconds, events=sum(map(len, curves.series.values())))


def tick(folder: Path) -> None:
    """A thousand new events over a history that is in the cache: the quickest of ten ticks."""
    from ade_hpc.metrics.collect import collect
    from ade_hpc.metrics.tfrecord import frames

    (source,) = folder.iterdir()
    data = source.read_bytes()
    whole = frames(data)
    ends = [start + length + 4 for start, length in zip(whole.starts, whole.lengths, strict=True)]
    ticks = min(10, len(ends) // _TICK // 2) or 1
    edges = [ends[-1 - _TICK * number] for number in range(ticks, -1, -1)] if len(ends) > _TICK else [0, len(data)]
    with tempfile.TemporaryDirectory() as top:
        logs, cache = Path(top) / "logs", Path(top) / "cache"
        logs.mkdir()
        with open(logs / source.name, "wb") as file:
            file.write(data[: edges[0]])
            file.flush()
            collect([logs], cache)
            times = []
            for first, last in pairwise(edges):
                file.write(data[first:last])
                file.flush()
                times.append(timed(lambda: collect([logs], cache))[0])
    report(min(times), events=_TICK)


def frame_scan(folder: Path) -> None:
    """The frames alone, in plain Python, checksums of lengths only: what any reader must at least do."""
    from ade_hpc.metrics.tfrecord import frames

    (path,) = folder.iterdir()
    seconds, whole = timed(lambda: frames(path.read_bytes()))
    report(seconds, events=len(whole.starts) - 1)


def event_accumulator(folder: Path) -> None:
    """TensorBoard's EventAccumulator, all scalars kept (by default it keeps 10,000 of a tag, at random)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    seconds, _ = timed(accumulator.Reload)
    report(seconds, events=sum(len(accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"]))


def tbparse(folder: Path) -> None:
    """tbparse's SummaryReader, to a data frame."""
    try:
        from tbparse import SummaryReader
    except ImportError:
        sys.exit(os.EX_UNAVAILABLE)
    seconds, frame = timed(lambda: SummaryReader(str(folder)).scalars)
    report(seconds, events=len(frame))


def data_server(folder: Path) -> None:
    """TensorBoard's data server (Rust; no checksums by default): start, load, fetch every scalar by gRPC."""
    try:
        import tensorboard_data_server
    except ImportError:
        sys.exit(os.EX_UNAVAILABLE)
    import grpc
    from tensorboard.data import grpc_provider
    from tensorboard.data.proto import data_provider_pb2_grpc

    from ade_hpc.metrics.collect import collect

    last = {tag: int(series.steps[-1]) for tag, series in collect([folder]).series.items()}
    with tempfile.TemporaryDirectory() as top:
        port = Path(top) / "port"
        flags = [f"--logdir={folder}", "--port=0", f"--port-file={port}", "--reload=once",
                 "--samples-per-plugin=scalars=all", "--die-after-stdin"]  # fmt: skip
        started = time.perf_counter()
        server = subprocess.Popen([tensorboard_data_server.server_binary(), *flags], stdin=subprocess.PIPE)
        while not (port.exists() and port.read_text().endswith("\n")):
            time.sleep(0.001)
        address = f"localhost:{int(port.read_text())}"
        channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", 1 << 30)])
        provider = grpc_provider.GrpcDataProvider(address, data_provider_pb2_grpc.TensorBoardDataProviderStub(channel))
        while _last_steps(provider) != last and time.perf_counter() - started < _PATIENCE_S:
            time.sleep(0.001)  # it answers before it has loaded everything
        events = _fetch(provider)
        seconds = time.perf_counter() - started
        channel.close()
        memory = peak_mb() + peak_mb(server.pid)
        server.communicate(timeout=10)
    report(seconds, events=events, peak_mb=memory)


def _last_steps(provider: Any) -> dict[str, int]:
    from tensorboard.context import RequestContext

    runs = provider.list_scalars(RequestContext(), experiment_id="", plugin_name="scalars")
    return {tag: series.max_step for tags in runs.values() for tag, series in tags.items()}


def _fetch(provider: Any) -> int:
    from tensorboard.context import RequestContext

    runs = provider.read_scalars(RequestContext(), experiment_id="", plugin_name="scalars", downsample=1 << 30)
    return sum(len(data) for tags in runs.values() for data in tags.values())


READERS: dict[str, Callable[[Path], None]] = {
    "ade-hpc, cold": ours,
    "ade-hpc, tick": tick,
    "frame scan": frame_scan,
    "tensorboard-data-server": data_server,
    "EventAccumulator": event_accumulator,
    "tbparse": tbparse,
}


def main() -> None:
    """Measure every reader on every size, print the table and the ratios."""
    parser = argparse.ArgumentParser(prog="scripts/bench events", description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=_SIZES, help="sizes of the files, in scalars")
    parser.add_argument("--times", type=int, default=3, help="the best of so many runs counts")
    options = parser.parse_args()
    plain = [(size, False) for size in sorted(options.events)]
    rows, largest = [], {}
    with tempfile.TemporaryDirectory() as top:
        for size, mixed in [*plain, (min(max(options.events), 100_000), True)]:
            path = fabricate(Path(top) / f"{size}-{mixed}", size, mixed=mixed)
            found = _measure(path, options.times)
            rows += _rows(f"{size:,}" + (" mixed" if mixed else ""), path.stat().st_size, found)
            largest = largest if mixed else found
            shutil.rmtree(path.parent)
    print(machine())
    print(table(["events", "reader", "s", "MB/s", "events/s", "peak MB", "time / ours"], rows))
    print(json.dumps(_summary(max(options.events), largest)))


def _measure(path: Path, times: int) -> dict[str, dict[str, Any] | None]:
    return {name: best("benchmarks.events", "--child", name, path.parent, times=times) for name in READERS}


def _rows(size: str, weight: int, found: dict[str, dict[str, Any] | None]) -> list[list[object]]:
    cold = found["ade-hpc, cold"]
    rows: list[list[object]] = []
    for name, result in found.items():
        if result is None or cold is None:
            rows.append([size, name, "not installed", "", "", "", ""])
            continue
        seconds, is_tick = result["seconds"], name.endswith("tick")
        rows.append([
            size, name, f"{seconds:.4f}", "" if is_tick else f"{weight / seconds / 1e6:.0f}",
            f"{result['events'] / seconds:,.0f}", result["peak_mb"], f"{seconds / cold['seconds']:.3g}",
        ])  # fmt: skip
    return rows


def _summary(events: int, found: dict[str, dict[str, Any] | None]) -> dict[str, float | int | None]:
    seconds = {name: result["seconds"] for name, result in found.items() if result}
    cold = seconds["ade-hpc, cold"]
    ours_found = found["ade-hpc, cold"] or {}
    return {
        "events": events,
        "vs_eventaccumulator": round(seconds["EventAccumulator"] / cold, 1),
        "vs_data_server": round(seconds["tensorboard-data-server"] / cold, 1)
        if "tensorboard-data-server" in seconds
        else None,
        "incremental_vs_cold": round(cold / seconds["ade-hpc, tick"], 1),
        "peak_mb": ours_found["peak_mb"],
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        READERS[sys.argv[2]](Path(sys.argv[3]))
    else:
        main()
