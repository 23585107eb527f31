# SPDX-License-Identifier: Apache-2.0
"""Every fault of tests/faults on a real Slurm: is it answered, how soon does the next job run, what is lost.

`scripts/bench faults [PATTERN] [--repeats N]`: the rows whose name fits PATTERN, a regular expression; those that the
fast path answers run N times with it, one at a time, and once without. All rows: their table goes into docs/faults.md.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measuring import machine, table
from tests.faults.judge import Outcome
from tests.faults.table import FAULTS, TWINS, Fault, Twin
from tests.faults.ward import ward

PAGE = Path(__file__).parents[1] / "docs" / "faults.md"
BEGIN, END = "<!-- written by scripts/bench faults -->", "<!-- end -->"
HOUR_S = 3600.0
HEADS = (
    "fault", "called", "done", "named after", "next RUNNING", "fast path", "hourly tick", "GPU-s lost", "fast path",
    "hourly tick", "steps lost", "healthy twin",
)  # fmt: skip


@dataclass
class Row:
    """What came of one fault: once with ticks from outside, several times with the fast path, and of its twin."""

    fault: Fault
    off: Outcome
    twin: Outcome
    on: list[Outcome] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(outcome.passed for outcome in (self.off, *self.on))

    def cells(self) -> tuple[str, ...]:
        off, running = self.off, [one.running_s for one in self.on if one.running_s is not None]
        burnt = [one.gpu_s for one in self.on if one.gpu_s is not None]
        waits = 0.0 if self.fault.does == "requeue" else HOUR_S / 2  # Slurm queues it again without us
        burns = waits if self.fault.lives_on else 0.0
        return (
            self.fault.name,
            off.said if self.passed else "**not as expected**",
            off.did,
            _seconds(off.named_s),
            _seconds(off.running_s),
            _seconds(statistics.median(running)) if running else "",
            _seconds(off.running_s, waits),
            _seconds(off.gpu_s),
            _seconds(statistics.median(burnt)) if burnt else "",
            _seconds(off.gpu_s, burns),
            "" if off.steps_lost is None else str(off.steps_lost),
            f"{self.twin.name}: {'left alone' if self.twin.passed else '**not left alone**'}",
        )


def measure(faults: Sequence[Fault], repeats: int, root: Path) -> list[Row]:
    """The fast rows one at a time on an idle lab; then all rows, and their twins, a few at a time."""
    on: dict[str, list[Outcome]] = {}
    fast = [fault for fault in faults if fault.fast]
    with ward(root / "fast", 1) as lab:
        for turn in range(repeats):
            for name, future in lab.admit(fast, fast=True, turn=turn).items():
                on.setdefault(name, []).append(future.result())
                print(f"{turn + 1}/{repeats} {name}: {future.result().running_s} s {future.result().why}", flush=True)
    twins = [twin for twin in TWINS if any(fault.twin is twin for fault in faults)]
    seen = dict(_in_wards([*faults, *twins], root))
    return [Row(fault, seen[fault.name], seen[fault.twin.name], on.get(fault.name, [])) for fault in faults]


def _in_wards(rows: Sequence[Fault | Twin], root: Path) -> Iterator[tuple[str, Outcome]]:
    for where in sorted({row.ward for row in rows}):
        mine = [row for row in rows if row.ward == where]
        with ward(root / where.replace(" ", "-"), 3 if where == "side by side" else 1) as lab:
            admitted: dict[str, Future[Outcome]] = lab.admit(mine)
            for name, future in admitted.items():
                outcome = future.result()
                print(f"{name}: {'as expected' if outcome.passed else outcome.why}", flush=True)
                yield name, outcome


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of them does not exceed; None of nothing."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def summary(rows: Sequence[Row]) -> dict[str, object]:
    fast = [one.running_s for row in rows for one in row.on if one.running_s is not None]
    twins = {row.twin.name: row.twin for row in rows}
    return {
        "faults": len(rows),
        "passed": sum(row.passed for row in rows),
        "twins": len(twins),
        "false_triggers": sum(not twin.passed for twin in twins.values()),
        "fast_runs": len(fast),
        "p50_s": percentile(fast, 0.5),
        "p95_s": percentile(fast, 0.95),
    }


def write_page(rows: Sequence[Row]) -> None:
    """Replace what stands between the marks; the words around it are people's."""
    said = summary(rows)
    numbers = (
        f"{said['passed']} of {said['faults']} faults were answered as the table says; {said['false_triggers']} of "
        f"{said['twins']} healthy twins were meddled with. With the fast path the next job was RUNNING after "
        f"{said['p50_s']} s (median) and {said['p95_s']} s (95th percentile) of {said['fast_runs']} runs. "
        f"Machine: {machine()}."
    )
    head, _, rest = PAGE.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    shown = table(HEADS, [row.cells() for row in rows])
    PAGE.write_text(f"{head}{BEGIN}\n{numbers}\n\n{shown}\n{END}{tail}")


def _seconds(value: float | None, more: float = 0.0) -> str:
    if value is None:
        return ""
    return f"{value + more:.0f} s" if value + more >= 10 else f"{value + more:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if re.search(options.pattern, fault.name)]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        rows = measure(faults, options.repeats, Path(folder))
    print(table(HEADS, [row.cells() for row in rows]))
    if len(rows) == len(FAULTS):
        write_page(rows)
    print(json.dumps(summary(rows)))


if __name__ == "__main__":
    main()
