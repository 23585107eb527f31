# SPDX-License-Identifier: Apache-2.0
"""What the sidecar costs: its CPU and memory by rusage, and a trainer's steps per second with and without it.

`scripts/bench sidecar [PAIRS]`: a trainer that computes and logs ten times a second is started with and without a
payload around it, in turn. A table, then one line of JSON with the lower bound of the ratio (one-sided, 95 %).
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ade_hpc.spec.experiment import load_experiment
from ade_hpc.spec.site import Site
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.records import SCHEMA, AttemptRecord, FastPath, save_attempt
from benchmarks.measuring import in_child, machine, report, table

PAIRS, SECONDS = 24, 3.0
BEGINS_S, ENDS_S = 0.5, 3.0  # the share of a core is taken between these: a start costs once, however long a job
TAGS = 10
# One-sided 95 % of Student's t, for so many pairs less one
T_95 = {19: 1.729, 23: 1.714, 29: 1.699, 39: 1.685}
REPOSITORY = Path(__file__).parents[1]
TRAINER = f"""
import math, os, sys, time
sys.path.insert(0, {str(REPOSITORY)!r})
from tests.support.tiny_trainer import Events
events, step, until = Events(os.environ["ADE_TENSORBOARD"]), 0, time.monotonic() + {SECONDS}
logged = time.monotonic()
while time.monotonic() < until:
    step += 1
    sum(math.sqrt(one) for one in range(2000))
    if time.monotonic() - logged > 0.1:
        logged = time.monotonic()
        events.scalars(step, loss__train=0.5, accuracy__val=0.5, **{{f"tag{{one}}": 0.5 for one in range({TAGS - 2})}})
print(step / {SECONDS}, flush=True)
"""


def main() -> None:
    if sys.argv[1:2] == ["with"]:
        _with()
    elif sys.argv[1:2] == ["without"]:
        _without()
    else:
        _compare(int(sys.argv[1]) if sys.argv[1:] else PAIRS)


def _compare(pairs: int) -> None:
    found = []
    for number in range(pairs):
        order = ["with", "without"] if number % 2 else ["without", "with"]
        found.append({name: in_child("benchmarks.sidecar", name) or {} for name in order})
    ratios = [math.log(pair["with"]["steps_per_s"] / pair["without"]["steps_per_s"]) for pair in found]
    mean = statistics.mean(ratios)
    margin = _student(pairs) * statistics.stdev(ratios) / math.sqrt(pairs)
    cores = [pair["with"]["core_percent"] for pair in found]
    starts = [pair["with"]["start_s"] for pair in found]
    memory = max(pair["with"]["peak_mb"] for pair in found)
    rates = {name: statistics.median(pair[name]["steps_per_s"] for pair in found) for name in ("without", "with")}
    bounds = f"{math.exp(mean):.4f}, {math.exp(mean - margin):.4f}"
    rows = [
        ("steps/s without, with (medians)", f"{rates['without']:.0f}, {rates['with']:.0f}"),
        (f"ratio, {pairs} interleaved pairs: mean, lower bound", bounds),
        ("sidecar: CPU of one core, median and worst", f"{statistics.median(cores):.2f} %, {max(cores):.2f} %"),
        (
            "sidecar: CPU to start, imports and all (s)",
            f"{statistics.median(starts):.2f}",
        ),
        ("sidecar: peak of resident memory (MB)", str(memory)),
    ]
    print(machine())
    print(table(("what", "measured"), rows))
    summary = {"pairs": pairs, "ratio_lower": round(math.exp(mean - margin), 4), "peak_mb": memory}
    print(json.dumps({**summary, "core_percent": round(statistics.median(cores), 3)}))


def _student(pairs: int) -> float:
    """Of the nearest smaller number of pairs, which is the more careful one."""
    return T_95[max((known for known in T_95 if known < pairs), default=19)]


def _without() -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", TRAINER],
            env={**os.environ, "ADE_TENSORBOARD": folder},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        report(0.0, steps_per_s=float(done.stdout))


def _with() -> None:
    """This very process becomes the payload: submitit's worker as on a node, then the start of an attempt."""
    import submitit.core._submit  # noqa: F401 - what runs it on a node

    from ade_hpc.job.payload import main as payload

    with tempfile.TemporaryDirectory() as folder:
        attempt = _attempt(Path(folder))
        os.environ["ADE_JOB_ID"] = "1"
        output = os.open(attempt / "logs" / "local.out", os.O_CREAT | os.O_WRONLY, 0o600)
        saved = os.dup(1)
        os.dup2(output, 1)
        samples: list[float] = []
        for after_s in (BEGINS_S, ENDS_S):
            threading.Timer(after_s, lambda: samples.append(_cpu_s())).start()
        code = payload(str(attempt))
        os.dup2(saved, 1)
        words = (attempt / "logs" / "local.out").read_text().split()
        if code:
            raise SystemExit(" ".join(words))
        percent = 100 * (samples[1] - samples[0]) / (ENDS_S - BEGINS_S)
        report(0.0, steps_per_s=float(words[0]), core_percent=percent, start_s=samples[0])


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _attempt(folder: Path) -> Path:
    """An attempt as `submit` leaves it, with the fast path on: it looks at the curves as well."""
    (folder / "train.py").write_text(TRAINER)
    (folder / "experiment.yaml").write_text(f"name: bench\ncommand: [{sys.executable}, train.py]\n")
    experiment = load_experiment(folder / "experiment.yaml", Site())
    runs = ExperimentDir(folder / "runs" / "bench")
    runs.make_folders()
    attempt = runs.claim_attempt(1)
    attempt.make_folders()
    attempt.code.symlink_to(folder)
    fast = FastPath(str(folder / "registry"), "", True, "accuracy/val", "max")
    record = AttemptRecord(
        schema=SCHEMA, experiment="bench", number=1, token="bench", scheduler="local", commit="", tree="", prefix="",  # noqa: S106
        spec=experiment.to_json(), config={}, created_at=0.0, heartbeat_interval_s=Site().heartbeat_interval_s,
        author="person", reason="", fast_path=fast,
    )  # fmt: skip
    save_attempt(attempt, record)
    return attempt.path


if __name__ == "__main__":
    main()
