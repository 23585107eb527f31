# SPDX-License-Identifier: Apache-2.0
"""Kill at random instants, on a real Slurm: submit, tick, payload, trainer, slurmd, whole nodes."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from ade_hpc.store.files import read_json, write_json
from benchmarks.measuring import machine, table
from benchmarks.soak_judge import judge
from benchmarks.soak_lab import SoakLab
from benchmarks.soak_story import FORK, Budget, Pace, Story

KINDS = ("submit", "tick", "payload", "trainer", "slurmd", "node")
BETWEEN_LOSSES_S = (1.0, 4.0)
NODE_AWAY_S = (0.0, 25.0)  # this lab calls a node lost after 10 s to 26 s; before that nothing has happened
GIVEN_UP_AFTER_S = (0.0, 5.0)


@dataclass(frozen=True)
class Soak:
    """What all its processes share."""

    root: Path
    labs: list[SoakLab]
    budget: Budget
    seed: int
    over: Event

    def work(self, number: int) -> None:
        """One worker: story after story on its lab, as long as there is something left to kill."""
        lab = self.labs[number % len(self.labs)]
        os.environ.update(lab.env)
        paces: dict[str, Pace] = {}
        for count in range(1000):
            if not self.budget.left:
                return
            name = f"{number}.{count}"
            story = Story(self.root / name, random.Random(f"{self.seed}.{name}"), self.budget, paces)  # noqa: S311 - dice
            story.root.mkdir()
            self._live(story, lab, name)

    def _live(self, story: Story, lab: SoakLab, name: str) -> None:
        begun, problem = time.monotonic(), story.tell()
        problems = [problem] if problem else []
        problems += judge(story, lab)
        record = {"kills": story.kills, "problems": problems, "asked": story.asked, "submissions": story.submissions}
        attempts = len(story.project.folder.attempts())
        torn = len(story.project.ledger.notes)
        write_json(self.root / f"{name}.json", {**record, "attempts": attempts, "torn_lines": torn})
        print(f"{name}: {dict(story.kills)} {problems or 'completed'} ({time.monotonic() - begun:.0f} s)", flush=True)
        if not problems:
            shutil.rmtree(story.root, ignore_errors=True)

    def lose_nodes(self, number: int) -> None:
        """Now and then a node's slurmd is killed, or all of the node, and it comes back after a while."""
        lab, dice, losses = self.labs[number], random.Random(f"{self.seed}.lab.{number}"), Counter[str]()  # noqa: S311 - dice
        while not self.over.wait(dice.uniform(*BETWEEN_LOSSES_S)):
            busy = lab.busy_nodes()
            if not self.budget.left or not busy:
                continue
            node, kind = dice.choice(busy), dice.choice(("slurmd", "node"))
            if lab.kill_slurmd(node) if kind == "slurmd" else lab.kill_node(node):
                losses[kind] += 1
                self.budget.spend()
            if dice.random() < 0.6:
                self.over.wait(dice.uniform(*GIVEN_UP_AFTER_S))
                lab.give_up(node)
            self.over.wait(dice.uniform(*NODE_AWAY_S))
            lab.revive(node)
            write_json(self.root / f"lab.{number}.json", {"kills": losses})


def run(root: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The whole soak; what its stories and its labs have to say."""
    labs = [SoakLab(root / f"lab{number}") for number in range(options.labs)]
    budget = Budget(options.kills, time.monotonic() + 60 * options.minutes, FORK.Value("i", 0))
    soak = Soak(root, labs, budget, options.seed, FORK.Event())
    try:
        for lab in labs:
            lab.up()
        losing = [FORK.Process(target=soak.lose_nodes, args=(number,)) for number in range(len(labs))]
        working = [FORK.Process(target=soak.work, args=(number,)) for number in range(options.side_by_side)]
        for process in (*losing, *working):
            process.start()
        for process in working:
            process.join()
        soak.over.set()
        for process in losing:
            process.join()
    finally:
        for lab in labs:
            lab.down()
    return [record for path in sorted(root.glob("*.json")) if (record := read_json(path)) is not None]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=120, help="after which nothing more is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--labs", type=int, default=2)
    parser.add_argument("--side-by-side", type=int, default=6, help="experiments at once, over all labs")
    options = parser.parse_args()
    root, begun = Path(tempfile.mkdtemp(prefix="ade-soak-")), time.monotonic()
    (root / "gitconfig").write_text("[user]\n\tname = A Soak\n\temail = soak@example.org\n")
    os.environ["GIT_CONFIG_GLOBAL"] = str(root / "gitconfig")
    records = run(root, options)
    stories = [record for record in records if "problems" in record]
    kills = sum((Counter[str](record["kills"]) for record in records), Counter[str]())
    problems = [problem for record in stories for problem in record["problems"]]
    kinds = Counter(problem.partition(":")[0] for problem in problems)
    print(f"\n{machine()}, {options.labs} labs, {options.side_by_side} experiments side by side, seed {options.seed}\n")
    print(table(("killed at a random instant", "times"), [(kind, kills[kind]) for kind in KINDS]))
    for problem in problems:
        print(f"PROBLEM: {problem}")
    result = {
        "kills": sum(kills.values()),
        "experiments": len(stories),
        "completed": sum(not record["problems"] for record in stories),
        "attempts": sum(record["attempts"] for record in stories),
        "overlaps": kinds["overlap"],
        "lost_checkpoints": kinds["checkpoint"],
        "ledgers_unreadable": kinds["ledger"],
        "torn_ledger_lines": sum(record["torn_lines"] for record in stories),
        "asked_a_person": sum(len(record["asked"]) for record in stories),
        "minutes": round((time.monotonic() - begun) / 60, 1),
    }
    if not problems:
        shutil.rmtree(root, ignore_errors=True)
    print(json.dumps(result))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
