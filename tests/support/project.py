# SPDX-License-Identifier: Apache-2.0
"""A scratch project as a user would have one: a git repository with trainer, config, experiment and preferences."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ade_hpc.launch.cancel import cancel
from ade_hpc.launch.lineage import job_of
from ade_hpc.launch.schedulers import open_scheduler
from ade_hpc.launch.submit import experiment_dir, submit
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.scheduler.states import conclude
from ade_hpc.spec.experiment import Experiment, load_experiment
from ade_hpc.spec.site import Site
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import Ledger, read_ledger
from ade_hpc.store.records import load_exits, load_heartbeats
from ade_hpc.supervisor.reports import Report
from ade_hpc.supervisor.tick import Ticker

REPOSITORY = Path(__file__).parents[2]
TRAINER = Path(__file__).with_name("tiny_trainer.py")
CONFIG = {
    "optimizer": {"lr": 0.5},
    "steps": 400,
    "hot_from": 150,
    "checkpoint_every": 20,
    "step_s": 0.005,
}
PREFERENCES = """# What I want

Get the accuracy up.

```yaml
objective: {tag: accuracy/val, goal: max, target: 0.97}
tunables: {optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 20, tag: lr}}
limits: {mode: MODE, max_attempts: 6, cooldown: 0s}
rules: [{name: diverged, when: [nan, diverging], do: {scale: {optimizer.lr: 0.1}, resume: last-healthy}}]
```
"""


@dataclass(frozen=True)
class Project:
    """The repository, and this test's user of it. ``kind`` is the scheduler: local or slurm."""

    path: Path
    registry: Path
    site: Site
    kind: str = "local"

    def git(self, *arguments: str) -> str:
        answer = subprocess.run(
            ["git", *arguments], cwd=self.path, capture_output=True, text=True, timeout=60, check=False
        )
        assert answer.returncode == 0, f"git {arguments}: {answer.stderr}"
        return answer.stdout.rstrip("\n")

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def commit(self, message: str = "work") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    @property
    def experiment(self) -> Experiment:
        return load_experiment(self.path / "experiment.yaml", self.site)

    @property
    def folder(self) -> ExperimentDir:
        return experiment_dir(self.experiment)

    @property
    def scheduler(self) -> Scheduler:
        return open_scheduler(self.kind, self.site)

    @property
    def ledger(self) -> Ledger:
        return read_ledger(self.folder.ledger)

    def submit(self, *, allow_dirty: bool = False, request: str = "") -> tuple[int, str]:
        return submit(
            self.experiment,
            self.site,
            self.scheduler,
            self.registry,
            allow_dirty=allow_dirty,
            announce=lambda step: None,
            request=request,
        )

    def tick(self, *, dry_run: bool = False) -> Report:
        ticker = Ticker(self.site, lambda kind: self.scheduler, lambda step: None, dry_run)
        return ticker.tick([self.folder])[0]

    def wait_for_exit(self, attempt: int, timeout: float = 60.0) -> str:
        """Wait for the attempt's final exit record; returns its cause."""

        def cause() -> str:
            exits = load_exits(self.folder.attempt(attempt))
            return exits[-1].cause if exits and exits[-1].final and not exits[-1].requeued else ""

        return wait_for(cause, timeout, f"attempt {attempt} left no final exit record")

    def end(self) -> None:
        """Cancel whatever runs, and wait for it; what had not begun leaves no record."""
        cancel(self.folder, self.scheduler, who="the test")
        self._wait_for_scheduler(len(self.folder.attempts()))

    def wait_until_over(self, attempt: int, timeout: float = 60.0) -> str:
        """As `wait_for_exit`, and the scheduler knows it too."""
        cause = self.wait_for_exit(attempt, timeout)
        self._wait_for_scheduler(attempt)
        return cause

    def _wait_for_scheduler(self, attempt: int) -> None:
        def over() -> bool:
            job = job_of(self.folder, self.ledger, attempt)
            assert job is not None
            seen = self.scheduler.observe([job])
            return conclude(seen.jobs[job.job_id], seen.queue, seen.accounting).phase == "ended"

        wait_for(over, 60, f"the scheduler does not say that attempt {attempt} has ended")

    def run_to_end(self, timeout: float = 60.0) -> list[Report]:
        """Tick until a run has ended that needs nothing more; returns the reports."""
        reports: list[Report] = []
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            reports.append(self.tick())
            last = reports[-1]
            if last.health.verdict == "ended" and not last.done and not last.problems:
                return reports
            time.sleep(0.5)
        raise AssertionError(f"no end in {timeout} s: {reports[-1]}")


def wait_for(condition: Any, timeout: float, message: str) -> Any:
    """Poll until ``condition()`` is true; returns what it gave. It is looked at once more after the time is up."""
    until = time.monotonic() + timeout
    late = False
    while not (result := condition()):
        assert not late, message
        time.sleep(0.05)
        late = time.monotonic() > until
    return result


def make_project(
    root: Path,
    *,
    mode: str = "auto",
    config: Mapping[str, Any] | None = None,
    experiment: Mapping[str, Any] | None = None,
    kind: str = "local",
    site: Mapping[str, Any] | None = None,
    fast_path: bool = False,
) -> Project:
    """A committed project in ``root``. ``config`` and ``experiment`` change single keys of the two files.

    fast_path: its jobs ask for ticks by themselves; point ADE_SITE at ``root/site.yaml`` before `submit`.
    """
    path = root / "project"
    path.mkdir(parents=True)
    shutil.copy(TRAINER, path / "train.py")
    (path / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **(config or {})}, sort_keys=False))
    command = [sys.executable, "train.py", "--config", "{config}", "--tensorboard", "{tensorboard}"]
    fields = {
        "name": "tiny",
        "command": [*command, "--checkpoints", "{checkpoints}", "{resume}"],
        "config": "config.yaml",
        "preferences": "preferences.md",
        "checkpoint": {"pattern": "step-{step}.pt", "resume": "--resume {path}", "signal": "SIGUSR1"},
        **(experiment or {}),
    }
    (path / "experiment.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    limits = f"{mode}, fast_path: true" if fast_path else mode
    (path / "preferences.md").write_text(PREFERENCES.replace("MODE", limits))
    (path / "preferences.md").chmod(0o600)
    (path / ".gitignore").write_text(".ade/\n")
    project = reopen(root, kind, site)
    project.git("init", "--quiet")
    project.commit("a project")
    return project


def reopen(root: Path, kind: str, site: Mapping[str, Any] | None = None) -> Project:
    """The project in ``root`` as another process sees it."""
    settings = {"scheduler": kind, "heartbeat_interval": "1s", "max_submissions_per_hour": 100, **(site or {})}
    (root / "site.yaml").write_text(yaml.safe_dump(settings))
    return Project(root / "project", root / "registry", Site.model_validate(settings), kind)


def kill_at(project: Project, action: str, boundary: str, timeout: float = 60.0) -> None:
    """Run ``submit`` or ticks in a process of their own that dies by SIGKILL at this boundary."""
    argv = [sys.executable, "-m", "tests.support.killed", action, str(project.path.parent), project.kind, boundary]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == -signal.SIGKILL, f"{boundary} was never reached: {done.stdout}{done.stderr}"


def lives(project: Project) -> list[tuple[float, float, str]]:
    """When a trainer of this experiment lived: (from, to, which start), from exit records and heartbeats."""
    found = []
    for attempt in project.folder.attempts():
        ended = {record.restart: record for record in load_exits(attempt) if record.trainer_started_at}
        for record in ended.values():
            assert record.trainer_started_at is not None
            until = record.ended_at if record.final and record.ended_at else time.time()
            found.append((record.trainer_started_at, until, f"{attempt.number}.{record.restart}"))
        unfinished = [beat for beat in load_heartbeats(attempt) if beat.restart not in ended]
        found += [
            (beat.trainer_started_at, beat.written_at, f"{attempt.number}.{beat.restart}")
            for beat in unfinished
            if beat.trainer_started_at
        ]
    return sorted(found)


def assert_no_overlap(project: Project) -> None:
    """Invariant 1: at no time two starts of one experiment past the fence."""
    found = lives(project)
    for (_, until, one), (start, _, other) in itertools.pairwise(found):
        assert until <= start, f"starts {one} and {other} overlap by {until - start:.2f} s: {found}"


def alive(pid: int) -> bool:
    """Is there such a process, and not only its zombie?"""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False


def environment() -> dict[str, str]:
    """What a child process of a test may see."""
    return dict(os.environ)
