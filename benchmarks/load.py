# SPDX-License-Identifier: Apache-2.0
"""What ade-hpc costs a site: scheduler calls, files, inodes and bytes an hour, for 1, 10 and 100 experiments.

`scripts/bench load [COUNT...]`: a row for each count, then one line of JSON; docs/load.md shows its table. On a real
Slurm (scripts/slurm-lab), with the default heartbeat and the real command for each tick. Calls are counted by wrappers
on PATH, also those that jobs make; files by walking the run folders. As many jobs run as the lab's 32 CPUs hold, the
others wait in its queue. What an hour costs is put together from what a minute on the nodes and one tick were seen to
cost, with one tick an hour.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ade_hpc.launch.schedulers import open_scheduler
from ade_hpc.launch.submit import submit
from ade_hpc.spec.experiment import load_experiment
from ade_hpc.spec.site import load_site
from benchmarks.measuring import machine, table, timed
from benchmarks.week_cast import GITCONFIG
from tests.support.counting import counted, wrap
from tests.support.lab import Lab, lab_in, slurm_lab
from tests.support.project import make_project, wait_for

COUNTS = (1, 10, 100)
MINUTE_S, HOUR_S = 60.0, 3600.0
TICKS = 3
RESOURCES = {"partition": "main", "time": "30", "mem": "100M", "cpus_per_task": 1}
TRAINER = {"optimizer": {"lr": 0.05}, "steps": 100_000, "step_s": 5.0, "checkpoint_every": 100_000}
TRAINERS_OWN = ("tensorboard", "checkpoints", "scratch", "logs")  # what the trainer writes is the user's


@dataclass(frozen=True)
class Found:
    """What lies in the run folders. written: bytes of all that was replaced or grew, by the size of each file."""

    inodes: int
    size: int
    files: Mapping[Path, tuple[int, int, int]]

    def written_since(self, before: Found) -> int:
        """Bytes of files that are new or were replaced, and what others grew by."""
        return sum(
            size - (old[1] if (old := before.files.get(path)) is not None and old[0] == inode else 0)
            for path, (inode, size, changed) in self.files.items()
            if before.files.get(path) != (inode, size, changed)
        )


def look(root: Path) -> Found:
    """Everything below that is not the trainer's own."""
    inodes, files = 0, {}
    for folder, folders, names in os.walk(root):
        inodes += len(folders) + len(names)
        for name in names:
            path = Path(folder, name)
            info = path.lstat()
            if not set(path.relative_to(root).parts) & set(TRAINERS_OWN):
                files[path] = (info.st_ino, info.st_size, info.st_mtime_ns)
    return Found(inodes, sum(size for _, size, _ in files.values()), files)


def measure(lab: Lab, root: Path, count: int) -> dict[str, Any]:
    calls = root / "calls"
    os.environ["PATH"] = path = wrap(calls, lab.env["PATH"])
    (root / "load.yaml").write_text(f"runs_dir: {root}/runs\nmax_submissions_per_hour: 1000\nmax_live_attempts: 1000\n")
    os.environ["ADE_SITE"] = str(root / "load.yaml")
    env = {**lab.env, "PATH": path, "ADE_SITE": str(root / "load.yaml"), "ADE_REGISTRY": str(root / "registry")}
    submitting, _ = timed(lambda: submit_all(root, count))
    submit_calls, submitted = counted(calls), look(root / "runs")
    running = _wait_until_they_train(lab, count)
    started = Counter(counted(calls)) - submit_calls  # a job's own: the one srun of its script is none of these
    calls.write_text("")
    tick(env)  # the first one reads all curves
    before = look(root / "runs")
    calls.write_text("")
    spans = [timed(lambda: tick(env))[0] for _ in range(TICKS)]
    tick_calls, after = counted(calls), look(root / "runs")
    calls.write_text("")
    at, beats = look(root / "runs"), _beats(root)
    time.sleep(MINUTE_S)
    node_calls, later = counted(calls), look(root / "runs")
    written = _beats(root)
    beat_bytes = sum(size for _, size in written.values()) / max(1, len(written))
    count_of_beats = sum(counter - beats.get(path, (0, 0))[0] for path, (counter, _) in written.items())
    lab.run(["scancel", "--me"], check=False)
    return {
        "experiments": count,
        "running": running,
        "calls_a_tick": sum(tick_calls.values()) / TICKS,
        "calls_a_minute_from_nodes": sum(node_calls.values()),
        "calls_a_submission": round(sum(submit_calls.values()) / count, 2),
        "calls_at_start_from_nodes": sum(started.values()),
        "inodes_an_attempt": round(submitted.inodes / count, 1),
        "kb_an_attempt": round(submitted.size / count / 1000, 1),
        "tick_s": round(min(spans), 2),
        "submit_s": round(submitting / count, 2),
        "ledger_bytes_a_tick": round((after.size - before.size) / TICKS / count),
        "written_bytes_a_tick": round(after.written_since(before) / TICKS / count),
        "inodes_a_minute": later.inodes - at.inodes,
        "beats_a_minute": round(count_of_beats / max(1, running) / MINUTE_S * 60, 2),
        "beat_bytes": round(beat_bytes),
    }


def submit_all(root: Path, count: int) -> None:
    """Experiments of one repository, as a user has them."""
    project = make_project(root, kind="slurm", mode="auto", config=TRAINER)
    fields = yaml.safe_load((project.path / "experiment.yaml").read_text())
    for number in range(count):
        mine = {**fields, "name": f"load-{number:03d}", **RESOURCES}
        project.write(f"experiment-{number:03d}.yaml", yaml.safe_dump(mine, sort_keys=False))
    project.commit("all of them")
    site = load_site(os.environ)
    for path in sorted(project.path.glob("experiment-*.yaml")):
        submit(
            load_experiment(path, site),
            site,
            open_scheduler("slurm", site),
            root / "registry",
            allow_dirty=False,
            announce=lambda step: None,
        )


def _wait_until_they_train(lab: Lab, count: int) -> int:
    """How many jobs run, once no more of them start and each has had the time to begin."""

    def settled() -> int:
        states = Counter(lab.run(["squeue", "-h", "-o", "%t"]).stdout.split())
        return states["R"] if states["R"] == min(count, 24) else 0

    running = int(wait_for(settled, 120, "the jobs did not start"))
    time.sleep(20)
    return running


def _beats(root: Path) -> dict[Path, tuple[int, int]]:
    """Counter and size of every heartbeat file."""
    found = (root / "runs").glob("*/attempts/*/heartbeat/*.json")
    return {path: (int(json.loads(text)["counter"]), len(text)) for path in found if (text := path.read_text())}


def tick(env: Mapping[str, str]) -> None:
    argv = [sys.executable, "-m", "ade_hpc.cli", "tick"]
    done = subprocess.run(argv, env=dict(env), capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"the tick ended with {done.returncode}: {done.stdout}{done.stderr}")


def an_hour(row: Mapping[str, Any]) -> dict[str, Any]:
    """With one tick an hour."""
    beats = row["beats_a_minute"] * 60 * row["running"]
    kept = row["ledger_bytes_a_tick"] * row["experiments"]
    return {
        "experiments": row["experiments"],
        "calls_an_hour": round(row["calls_a_tick"] + row["calls_a_minute_from_nodes"] * 60, 1),
        "inodes": round(row["inodes_an_attempt"] * row["experiments"]),
        "new_inodes_an_hour": row["inodes_a_minute"] * 60,
        "files_written_an_hour": round(beats + 2 * row["experiments"]),
        "kb_kept_an_hour": round(kept / 1000, 1),
        "kb_written_an_hour": round(
            (beats * row["beat_bytes"] + row["written_bytes_a_tick"] * row["experiments"]) / 1000
        ),
        "tick_s": row["tick_s"],
    }


def main() -> None:
    path = os.environ["PATH"]
    counts = tuple(int(word) for word in sys.argv[1:]) or COUNTS
    root = Path(tempfile.mkdtemp(prefix="ade-load-"))
    rows = []
    (root / "gitconfig").write_text(GITCONFIG)
    os.environ["GIT_CONFIG_GLOBAL"] = str(root / "gitconfig")
    try:
        for count in counts:
            folder = root / str(count)
            folder.mkdir()
            if (up := slurm_lab("up", folder / "lab")).returncode:
                raise SystemExit(up.stderr)
            os.environ["PATH"] = path
            lab = lab_in(folder / "lab")
            os.environ["SLURM_CONF"] = lab.env["SLURM_CONF"]
            rows.append(measure(lab, folder, count))
            slurm_lab("down", folder / "lab")
    finally:
        for count in counts:
            slurm_lab("down", root / str(count) / "lab")
        shutil.rmtree(root, ignore_errors=True)
    hours = [an_hour(row) for row in rows]
    for shown in (hours, rows):
        print(table(list(shown[0]), [list(row.values()) for row in shown]), "\n")
    print(machine())
    print(json.dumps({"hours": hours, "rows": rows}))


if __name__ == "__main__":
    main()
