# SPDX-License-Identifier: Apache-2.0
"""The demo over ten seeds, each beside its twin in `mode: observe`, judged by TensorBoard's own reader.

`scripts/bench demo [SEEDS]`: a row a seed, then one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SEEDS = 10
TARGET = 0.97
GIVE_UP_S = 400


@dataclass(frozen=True)
class Row:
    """One seed. ``passed``: repaired above TARGET, proved by the event files, and the twin stayed under it."""

    seed: int
    attempts: int
    accuracy: float
    twin: float
    lr_committed: float
    lr_logged: float
    seconds: float

    @property
    def passed(self) -> bool:
        proved = abs(self.lr_committed - self.lr_logged) < 1e-6
        return self.accuracy > TARGET and self.twin < TARGET and proved and self.attempts > 1


def run_demo(seed: int, folder: Path, *flags: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "ade_hpc.cli", "demo", "--seed", str(seed), "--keep", str(folder), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP_S, check=False)
    if done.returncode:
        raise SystemExit(f"seed {seed} {' '.join(flags)}: {done.stderr or done.stdout}")
    return json.loads(done.stdout.splitlines()[-1])


def scalars(attempt: Path, tag: str) -> list[float]:
    """A tag of the attempt's last start, as TensorBoard reads it."""
    start = max((attempt / "tensorboard").iterdir(), key=lambda path: int(path.name))
    events = EventAccumulator(str(start), size_guidance={"scalars": 0})
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


def measure(seed: int, root: Path) -> Row:
    began = time.monotonic()
    story = run_demo(seed, root / "auto")
    seconds = time.monotonic() - began
    twin = run_demo(seed, root / "observe", "--observe")
    last = max((Path(story["run_dir"]) / "attempts").iterdir())
    accuracy = scalars(last, "accuracy/val")[-1]
    if abs(accuracy - story["accuracy"]) > 1e-4:
        raise SystemExit(f"seed {seed}: the demo says {story['accuracy']}, its event files say {accuracy}")
    config = yaml.safe_load((last / "code" / "config.yaml").read_text())
    committed = float(config["optimizer"]["lr"])
    return Row(seed, story["attempts"], accuracy, twin["accuracy"], committed, scalars(last, "lr")[0], seconds)


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    print(f"{'seed':>4} {'attempts':>8} {'accuracy':>8} {'twin':>6} {'lr':>8} {'logged':>8} {'seconds':>8}  passed")
    rows = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory(prefix="ade-bench-demo-") as root:
            row = measure(seed, Path(root))
        rows.append(row)
        print(
            f"{row.seed:>4} {row.attempts:>8} {row.accuracy:>8.4f} {row.twin:>6.3f} {row.lr_committed:>8g}"
            f" {row.lr_logged:>8.4g} {row.seconds:>8.0f}  {row.passed}",
            flush=True,
        )
    worst = min(rows, key=lambda row: row.accuracy)
    print(
        json.dumps(
            {
                "seeds": len(rows),
                "passed": sum(row.passed for row in rows),
                "worst_accuracy": worst.accuracy,
                "best_twin": max(row.twin for row in rows),
                "slowest_s": round(max(row.seconds for row in rows)),
                "rows": [asdict(row) for row in rows],
            }
        )
    )


if __name__ == "__main__":
    main()
