# SPDX-License-Identifier: Apache-2.0
"""What befalls the week: real faults of jobs, nodes, daemons and of the tick itself, drawn by a seeded die."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.week_watch import Life, Watcher, parent, state
from scripts.slurm_lab import processes
from tests.support.lab import Lab

NODES = ("n1", "n2", "n3")
NODE_AWAY_TICKS = 5
PREEMPTOR_S = 25


@dataclass(frozen=True)
class Fault:
    """One that was injected. target: an experiment, a node, a daemon, or ``tick``; pid: of the trainer that it hit."""

    kind: str
    tick: int
    at: float
    target: str
    pid: int = 0


@dataclass
class Scene:
    """Where faults happen. after: what mends one, by the tick after which it is due.

    how: in what way the next tick is run: ``whole``, ``killed`` or ``twice``.
    """

    lab: Lab
    watcher: Watcher
    dice: random.Random
    tick: int = 0
    how: str = "whole"
    faults: list[Fault] = field(default_factory=list)
    after: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)

    def inject(self, kind: str) -> None:
        """Nothing happens where there is nothing to hit, or Slurm refuses what it would take."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            fault = FAULTS[kind](self)
            if fault is not None:
                self.faults.append(Fault(kind, self.tick, time.time(), *fault))

    def mend(self, *, everything: bool = False) -> None:
        due = [one for one in self.after if everything or one[0] <= self.tick]
        self.after = [one for one in self.after if one not in due]
        for _, undo in due:
            undo()

    def later(self, ticks: int, undo: Callable[[], None]) -> None:
        self.after.append((self.tick + ticks, undo))

    def anyone(self, *, only: str = "") -> Life | None:
        """A trainer that lives and has trained for a few seconds."""
        found = [one for one in self.watcher.alive() if time.time() - one.first > 3 and only in one.experiment]
        return self.dice.choice(found) if found else None


Hit = tuple[str, int] | tuple[str] | None

# --- one job --------------------------------------------------------------------------------------------------------


def _signal(number: int) -> Callable[[Scene], Hit]:
    def send(scene: Scene) -> Hit:
        life = scene.anyone()
        if life is None or state(life.pid) == "T":
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(life.pid, number)
        return life.experiment, life.pid

    return send


def _kill_payload(scene: Scene) -> Hit:
    """The process above the trainer, which is ours on the compute node."""
    life = scene.anyone()
    above = parent(life.pid) if life else 0
    if life is None or above <= 1:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(above, signal.SIGKILL)
    return life.experiment, life.pid


def _preempt(scene: Scene) -> Hit:
    """Somebody's more important job takes the rest of a node, and a spot job must go."""
    life = scene.anyone(only="spot")
    if life is None:
        return None
    row = scene.lab.run(["squeue", "-h", "-t", "R", "-o", "%j %N"], check=False).stdout.split("\n")
    node = next((line.split()[1] for line in row if line.startswith(f"ade-{life.experiment}-")), "")
    idle = scene.lab.run(["sinfo", "-h", "-N", "-n", node, "-p", "spot", "-o", "%C"], check=False).stdout
    if not node or not idle:
        return None
    cpus = int(idle.split("/")[1]) + 1
    scene.lab.sbatch(
        f"sleep {PREEMPTOR_S}", "-p", "main", "-w", node, "-c", str(cpus), "-J", "somebody", "--no-requeue"
    )
    return life.experiment, life.pid


def _cancel(scene: Scene) -> Hit:
    """The user has had enough of it: once in a week, and nothing may bring it back."""
    life = scene.anyone()
    if life is None or scene.cancelled:
        return None
    rows = scene.lab.run(["squeue", "-h", "-o", "%i %j"], check=False).stdout.split("\n")
    jobs = [line.split()[0] for line in rows if line.partition(" ")[2].startswith(f"ade-{life.experiment}-")]
    if not jobs:
        return None
    scene.lab.run(["scancel", *jobs])
    scene.cancelled.add(life.experiment)
    return life.experiment, life.pid


# --- one node, and one daemon for one tick ----------------------------------------------------------------------------


def _node_dies(scene: Scene) -> Hit:
    """Power is off: slurmd and every process of the node's jobs are gone at once; some hours later it is back."""
    node = scene.dice.choice(NODES)
    if scene.after:
        return None
    scene.lab.cut_power(node)
    scene.later(NODE_AWAY_TICKS, lambda: _start(scene.lab, f"slurmd.{node}"))
    return (node,)


def _start(lab: Lab, daemon: str) -> None:
    """It may need its old port to be free again, and the machine may be busy."""
    for _ in range(4):
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            lab.start(daemon)
            return
    raise SystemExit(f"{daemon} does not start again: see {lab.root}/log")


def _down(name: str) -> Callable[[Scene], Hit]:
    def kill(scene: Scene) -> Hit:
        scene.lab.kill(name)
        scene.later(0, lambda: _start(scene.lab, name))
        return (name,)

    return kill


def _hangs(name: str) -> Callable[[Scene], Hit]:
    """It holds its port and answers nobody."""

    def stop(scene: Scene) -> Hit:
        pid = processes.daemon_pid(scene.lab.root, name)
        if pid is None:
            return None
        os.kill(pid, signal.SIGSTOP)
        scene.later(0, lambda: os.kill(pid, signal.SIGCONT))
        return (name,)

    return stop


# --- the tick itself --------------------------------------------------------------------------------------------------


def _tick(how: str) -> Callable[[Scene], Hit]:
    def run(scene: Scene) -> Hit:
        scene.how = how
        return ("tick",)

    return run


FAULTS: dict[str, Callable[[Scene], Hit]] = {
    "trainer killed": _signal(signal.SIGKILL),
    "trainer crashes": _signal(signal.SIGABRT),
    "trainer stops": _signal(signal.SIGSTOP),
    "payload killed": _kill_payload,
    "preemption": _preempt,
    "node dies": _node_dies,
    "slurmctld down": _down("slurmctld"),
    "slurmdbd down": _down("slurmdbd"),
    "slurmctld hangs": _hangs("slurmctld"),
    "slurmdbd hangs": _hangs("slurmdbd"),
    "tick killed": _tick("killed"),
    "two ticks": _tick("twice"),
    "scancel": _cancel,
}
WEIGHTS = {
    "trainer killed": 3,
    "trainer crashes": 3,
    "trainer stops": 3,
    "payload killed": 2,
    "preemption": 4,
    "node dies": 2,
}


def draw(dice: random.Random) -> str:
    kinds = list(FAULTS)
    return dice.choices(kinds, [WEIGHTS.get(kind, 1) for kind in kinds])[0]
