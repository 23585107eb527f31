# SPDX-License-Identifier: Apache-2.0
"""How long `ade-hpc --help` and `status` take to start, beside a bare Typer hello-world, interleaved in one run.

`scripts/bench start`: a table of medians, then one line of JSON with the ratios.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
HELLO = """
import typer
app = typer.Typer()
@app.command()
def hello(name: str = "world") -> None:
    print(f"hello {name}")
app()
"""


def seconds(command: list[str], env: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=env, capture_output=True, timeout=60, check=False)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        hello = Path(folder) / "hello.py"
        hello.write_text(HELLO)
        (Path(folder) / "registry").mkdir()
        env = {**os.environ, "ADE_REGISTRY": f"{folder}/registry"}
        commands = {
            "typer hello --help": [sys.executable, str(hello), "--help"],
            "ade-hpc --help": [sys.executable, "-m", "ade_hpc.cli", "--help"],
            "ade-hpc status": [sys.executable, "-m", "ade_hpc.cli", "status"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                times[name].append(seconds(command, env))
    medians = {name: statistics.median(found) for name, found in times.items()}
    base = medians["typer hello --help"]
    for name, median in medians.items():
        print(f"{name:<20} {median * 1000:>6.0f} ms  {median / base:>5.2f}x")
    print(json.dumps({"help_vs_typer": round(medians["ade-hpc --help"] / base, 2), "rounds": ROUNDS}))


if __name__ == "__main__":
    main()
