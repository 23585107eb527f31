# SPDX-License-Identifier: Apache-2.0
"""One experiment of the soak, from submit to its completed end, while its processes are killed at random instants.

It begins too hot, must be seen to diverge, be changed, resume and learn; what is killed on the way is carried on by the
next tick, as by a scheduler's. Where the answers call for a person, the person submits again, as they would.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from ade_hpc.errors import AdeError
from ade_hpc.launch.lineage import job_of
from ade_hpc.scheduler.environment import clean_env
from ade_hpc.scheduler.process import Process
from ade_hpc.scheduler.run import run
from ade_hpc.store.files import read_json, write_json
from ade_hpc.supervisor.tick import PERSON_NEEDED
from benchmarks.soak_lab import kill, payloads, with_descendants
from tests.support.project import Project, make_project

FORK = multiprocessing.get_context("fork")
HOT_FROM, EVERY, STEPS = 60, 10, 500
CONFIG = {"steps": STEPS, "hot_from": HOT_FROM, "checkpoint_every": EVERY, "step_s": 0.04}
PATIENCE_S = 600.0
HOW_OFTEN = {"submit": 0.8, "tick": 0.4, "job": 0.6}  # is something of this kind killed
DEATHS = 2  # of a job, by our hand: more is a storm, and the breaker asks a person
SUBMISSIONS = 3  # by the person


@dataclass
class Budget:
    """The kills of the whole soak: none is begun once there are enough, or the time is over (monotonic seconds)."""

    target: int
    until: float
    done: Synchronized[int]

    @property
    def left(self) -> bool:
        return self.done.value < self.target and time.monotonic() < self.until

    def spend(self) -> None:
        with self.done.get_lock():
            self.done.value += 1


@dataclass
class Pace:
    """How long a piece of work takes when it is left alone, so that a random instant falls into it."""

    seconds: list[float] = field(default_factory=lambda: [1.5])

    def note(self, seconds: float) -> None:
        self.seconds = [*self.seconds[-30:], seconds]

    def instant(self, dice: random.Random) -> float:
        """Half of them within a usual one, half within the longest: the rare long ones are those that do something."""
        usual, longest = sorted(self.seconds)[len(self.seconds) // 2], max(self.seconds)
        return dice.uniform(0, 1.1 * dice.choice((usual, longest)))


@dataclass
class Story:
    """One experiment below ``root``. ``paces`` are shared by the stories of one worker."""

    root: Path
    dice: random.Random
    budget: Budget
    paces: dict[str, Pace]
    kills: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)
    submissions: int = 0

    def tell(self) -> str:
        """Live it to its end; returns what went wrong, empty where it completed."""
        self.project = self._make_project()
        self._submit()
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            self._kill_its_job()
            report = self._do("tick", self._tick)
            if report is None:
                continue
            if report["ended"] and report["cause"] == "completed":
                return ""
            if report["asks"]:
                self.asked.append(report["asks"])
                if self.submissions >= SUBMISSIONS:
                    return f"no end: asks for a person again and again: {self.asked}"
                self._heed(report["asks"])
            time.sleep(self.dice.uniform(0.2, 1.0))
        return f"no end: within {PATIENCE_S:.0f} s: {report}"

    def _make_project(self) -> Project:
        partition = "side" if self.dice.random() < 0.25 else "main"
        experiment = {"partition": partition, "time": "10", "mem": "300M"}
        site = {"slurm_timeout": "4s", "max_live_attempts": 1000, "max_submissions_per_hour": 1000}
        project = make_project(self.root, kind="slurm", experiment=experiment, config=CONFIG, site=site)
        text = (project.path / "preferences.md").read_text().replace("max_attempts: 6", "max_attempts: 40")
        project.write("preferences.md", text)
        project.commit("more attempts")
        return project

    def _heed(self, asks: str) -> None:
        """Do what a person does who is asked: let go a job that Slurm holds, else submit again."""
        attempts = self.project.folder.attempts()
        job = (
            job_of(self.project.folder, self.project.ledger, attempts[-1].number)
            if "scontrol release" in asks
            else None
        )
        if job is None:
            self._submit()
        else:
            run(["scontrol", "release", job.job_id], timeout=30, env=clean_env(os.environ))

    # --- what is killed ---

    def _submit(self) -> None:
        """Submit until an intent stands in the ledger: from then on the ticks carry it out."""
        self.submissions += 1
        request, before = f"wish {self.submissions}", len(self.project.ledger.of_kind("intent"))
        until = time.monotonic() + PATIENCE_S
        while len(self.project.ledger.of_kind("intent")) == before and time.monotonic() < until:
            self._do("submit", lambda: self.project.submit(request=request) and {})

    def _tick(self) -> dict[str, Any]:
        report = self.project.tick()
        proposal = report.decision.proposal if report.decision else None
        asks = proposal is not None and proposal.action == "ask" and report.code == PERSON_NEEDED
        return {
            "ended": report.health.verdict == "ended" and not report.done and not report.problems,
            "cause": report.health.cause,
            "asks": f"{report.health.cause}: {proposal.reason}" if proposal and asks else "",
            "said": f"{report.health} {report.done} {report.problems}",
        }

    def _do(self, kind: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """Do it in a process of its own; None where that was killed, or failed."""
        out, pace, begun = self.root / "answer.json", self.paces.setdefault(kind, Pace()), time.monotonic()
        out.unlink(missing_ok=True)
        process = FORK.Process(target=_work, args=(work, out, self.root / "said.txt"))
        process.start()
        if self.budget.left and self.dice.random() < HOW_OFTEN[kind]:
            process.join(pace.instant(self.dice))
            if process.is_alive():
                self._kill(process.pid)
                process.join()
                if process.exitcode != 0:
                    self._count(kind)
                    return None
        process.join(PATIENCE_S)
        pace.note(time.monotonic() - begun)
        return read_json(out)

    def _kill(self, pid: int | None) -> None:
        """It alone, as the OOM killer does, or with every git and sbatch that it has started, as a reboot does."""
        alone = {pid} if pid else set()
        for one in alone if self.dice.random() < 0.5 else with_descendants(alone):
            kill(one)

    def _kill_its_job(self) -> None:
        """The payload (with its sidecar) or the trainer, in some rounds and not too often."""
        deaths = self.kills["payload"] + self.kills["trainer"]
        if not self.budget.left or deaths >= DEATHS or self.dice.random() > HOW_OFTEN["job"]:
            return
        time.sleep(self.dice.uniform(0, 2))
        kind = self.dice.choice(("payload", "trainer"))
        if self._kill_payload() if kind == "payload" else self._kill_trainer():
            self._count(kind)

    def _kill_payload(self) -> bool:
        return sum(map(kill, payloads(self.root))) > 0

    def _kill_trainer(self) -> bool:
        attempts = self.project.folder.attempts()
        record = read_json(attempts[-1].trainer) if attempts else None
        trainer = Process.from_json(record) if record else None
        return trainer is not None and trainer.send(9)

    def _count(self, kind: str) -> None:
        self.kills[kind] += 1
        self.budget.spend()


def _work(work: Callable[[], dict[str, Any]], out: Path, said: Path) -> None:
    with said.open("a") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            answer = work()
        except AdeError as error:
            print(f"{type(error).__name__}: {error}")
        except Exception:
            traceback.print_exc()
            raise
        else:
            print(json.dumps(answer))
            write_json(out, answer)
