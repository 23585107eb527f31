# SPDX-License-Identifier: Apache-2.0
"""One experiment on one lab: what an injector gets hold of, and what the judge looks at."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ade_hpc.launch.lineage import job_of
from ade_hpc.metrics.collect import collect
from ade_hpc.model import Heartbeat
from ade_hpc.store.files import read_json
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import load_heartbeats
from ade_hpc.supervisor.tick import Report
from tests.support.lab import Lab
from tests.support.project import Project, make_project, wait_for

RESOURCES = {"partition": "main", "time": "10", "mem": "300M", "stall_floor": "5s"}
SITE = {"slurm_timeout": "5s"}
CONFIG = {"optimizer": {"lr": 0.05}, "steps": 100_000, "hot_from": 10**9, "checkpoint_every": 10, "step_s": 0.05}
IN_IMAGE = "python3 train.py --config {config} --tensorboard {tensorboard} --checkpoints {checkpoints} {resume}"
PREFERENCES = """
```yaml
objective: {tag: accuracy/val, goal: max, target: 0.99}
tunables: {optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 20, tag: lr}}
limits: {mode: auto, max_attempts: 6, cooldown: 0s, fast_path: FAST, resources: {mem: {max: 1G}}}
rules:
  - {name: spoilt, when: {any: [nan, {health: non-finite}]}, do: {scale: {optimizer.lr: 0.5}, resume: last-healthy}}
  - {name: hungry, when: {health: out-of-memory}, do: {resources: {mem: 900M}, resume: last-healthy}}
```
"""


@dataclass(frozen=True)
class Setup:
    """What a row needs beyond the usual. in_image: the trainer runs in a SIF. trainer: the text of another train.py."""

    experiment: Mapping[str, Any] = field(default_factory=dict)
    site: Mapping[str, Any] = field(default_factory=dict)
    in_image: bool = False
    trainer: str = ""


USUAL = Setup()


@dataclass
class Run:
    """``struck_at``: when the trouble began, by this machine's clock; an injector that works in stages says when.

    repairs: what the lab needs once the run is over.
    """

    project: Project
    lab: Lab
    struck_at: float = 0.0
    repairs: list[Callable[[], None]] = field(default_factory=list)

    # --- what it is ---

    @property
    def site_file(self) -> Path:
        return self.project.registry.with_name("site.yaml")

    @property
    def attempt(self) -> AttemptDir:
        return self.project.folder.attempts()[-1]

    @property
    def job(self) -> str:
        found = job_of(self.project.folder, self.project.ledger, self.attempt.number)
        return found.job_id if found else ""

    @property
    def name(self) -> str:
        """By which Slurm knows the jobs of the attempt."""
        found = job_of(self.project.folder, self.project.ledger, self.attempt.number)
        return found.name if found else ""

    @property
    def beat(self) -> Heartbeat:
        return max(load_heartbeats(self.attempt), key=lambda beat: (beat.restart, beat.written_at))

    @property
    def trainer_pid(self) -> int:
        pid = wait_for(lambda: self.beat.trainer_pid, 20, "no heartbeat names the trainer's process")
        return int(pid)

    @property
    def child_of_payload(self) -> int:
        """What the payload itself has started: the trainer, or the container around it."""
        record = read_json(self.attempt.trainer)
        assert record is not None, "the payload has started nothing"
        return int(record["pid"])

    @property
    def payload(self) -> int:
        status = Path(f"/proc/{self.child_of_payload}/status").read_text()
        return int(status.partition("PPid:")[2].split()[0])

    def step(self) -> int:
        """The newest step that its last start has logged; 0 before the first."""
        starts = self.attempt.starts()
        return max(steps_of(starts[-1]), default=0) if starts else 0

    def starts(self) -> list[Path]:
        """The TensorBoard folders of all starts of all attempts, oldest first."""
        return [start for attempt in self.project.folder.attempts() for start in attempt.starts()]

    def logged(self) -> dict[str, tuple[float, float]]:
        """From when until when each start has logged, by its own clock; without those that have logged nothing."""
        every = [(start, collect([start], None).series.get("lr")) for start in self.starts()]
        return {
            f"{start.parents[1].name}/{start.name}": (float(series.wall_times[0]), float(series.wall_times[-1]))
            for start, series in every
            if series is not None and len(series)
        }

    # --- what is done to it ---

    def strike(self) -> None:
        self.struck_at = time.time()

    def order(self, word: str) -> None:
        """Tell the trainer to misbehave: see ORDERS of tests/support/tiny_trainer.py."""
        partial = self.attempt.scratch / "order.partial"
        partial.write_text(word)
        self.strike()
        partial.rename(partial.with_name("order"))

    def submit(self, *, until_step: int = 25) -> None:
        """Submit, and wait until it has trained for so many steps."""
        self.project.submit()
        if until_step:
            self.wait_until_it_trains(until_step)

    def wait_until_it_trains(self, step: int, timeout: float = 60) -> None:
        wait_for(lambda: self.step() >= step, timeout, f"job {self.job} did not reach step {step}")

    def end(self) -> None:
        """Cancel whatever runs, which nobody waits for, and mend what was broken."""
        if self.project.folder.path.exists():
            for attempt in self.project.folder.attempts():
                if job := job_of(self.project.folder, self.project.ledger, attempt.number):
                    self.lab.run(["scancel", job.job_id], check=False)
        for repair in self.repairs:
            repair()

    def tick(self) -> Report:
        return self.project.tick()

    def command(self, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Begin ``ade-hpc WORDS``, as a shell or another host would; ``prefix`` stands before it."""
        argv = [*prefix, sys.executable, "-m", "ade_hpc.cli", *words]
        env = {**os.environ, "ADE_REGISTRY": str(self.project.registry), "ADE_SITE": str(self.site_file)}
        return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def steps_of(start: Path) -> list[int]:
    """The steps that a start has logged, from its TensorBoard folder."""
    series = collect([start], None).series.get("lr")
    return [int(step) for step in series.steps] if series is not None else []


def make_run(root: Path, lab: Lab, setup: Setup = USUAL, *, fast: bool = False, base_image: Path | None = None) -> Run:
    """A committed project in ``root``, not yet submitted. base_image: a SIF that holds python3."""
    experiment = {**RESOURCES, **setup.experiment}
    if setup.in_image:
        experiment |= {"image": str(base_image), "command": IN_IMAGE}
    site = {"scheduler": "slurm", "heartbeat_interval": "1s", "max_submissions_per_hour": 100, **SITE, **setup.site}
    project = make_project(root, kind="slurm", config=CONFIG, experiment=experiment, site=site)
    project.write("preferences.md", PREFERENCES.replace("FAST", str(fast).lower()))
    if setup.trainer:
        project.write("train.py", setup.trainer)
    project.commit("as it is wanted")
    run = Run(project, lab)
    run.site_file.write_text(yaml.safe_dump(site))
    return run
