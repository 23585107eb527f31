# SPDX-License-Identifier: Apache-2.0
"""How long reading may take and how much memory; measured in CPU time, side by side in one process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ade_hpc.metrics.collect import collect
from benchmarks.event_files import TAGS, fabricate, frame, scalar
from tests.metrics.event_files import points, tensorboard_points

ROOT = Path(__file__).parents[2]


def cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate(tmp_path_factory.mktemp("million"), 1_000_000)


def test_the_benchmarks_file_is_one_that_tensorboard_reads(tmp_path: Path) -> None:
    """What the benchmarks and the limits are measured on is what TensorBoard reads the same from."""
    fabricate(tmp_path, 20_000, mixed=True)
    assert points(collect([tmp_path])) == tensorboard_points(tmp_path)


def test_eight_times_as_fast_as_tensorboard(tmp_path: Path) -> None:
    """A hundred thousand scalars, checksums verified, in at most an eighth of EventAccumulator's time."""
    fabricate(tmp_path, 100_000)
    ours = min(cpu(lambda: collect([tmp_path])) for _ in range(3))
    theirs = cpu(EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload)
    assert theirs > 8 * ours


def test_a_tick_costs_what_is_new(million: Path, tmp_path: Path) -> None:
    """A thousand new events: a small fraction of the cold read of a million, and no more than over ten thousand."""
    costs = {}
    for size in (10_000, 1_000_000):
        logs, cache = tmp_path / f"logs{size}", tmp_path / f"cache{size}"
        path = fabricate(logs, size) if size < 1_000_000 else million
        cold = min(cpu(lambda logs=path.parent: collect([logs])) for _ in range(3))
        collect([path.parent], cache)
        ticks = []
        for tick in range(10):
            with open(path, "ab") as file:
                for number in range(size + 1000 * tick, size + 1000 * (tick + 1)):
                    step, tag = divmod(number, len(TAGS))
                    file.write(frame(scalar(TAGS[tag], step, 1.0)))
            ticks.append(cpu(lambda logs=path.parent, cache=cache: collect([logs], cache)))
        costs[size] = min(ticks)
        assert len(collect([path.parent], cache).series["lr"]) == (size + 10_000) // len(TAGS)
    assert costs[1_000_000] < cold / 60
    assert costs[1_000_000] < 3 * costs[10_000]


def test_a_cold_read_of_a_million_fits_in_little_memory(million: Path, tmp_path: Path) -> None:
    """Python, numpy, what is read and the cache that is written: at most 200 MB together."""
    code = (
        "import sys; from pathlib import Path; from ade_hpc.metrics.collect import collect;"
        "from benchmarks.measuring import peak_mb;"
        "n = sum(map(len, collect([Path(sys.argv[1])], Path(sys.argv[2])).series.values()));"
        "print(n, peak_mb())"
    )
    command = [sys.executable, "-c", code, str(million.parent), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    count, megabytes = map(int, done.stdout.split())
    assert count >= 1_000_000
    assert megabytes <= 200


def test_the_plain_reader_needs_no_numpy() -> None:
    """The sidecar on the compute node pays for neither numpy nor tensorboard."""
    code = "import sys, ade_hpc.metrics.reader; sys.exit(any(m in sys.modules for m in ('numpy', 'tensorboard')))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
