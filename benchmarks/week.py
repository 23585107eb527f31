# SPDX-License-Identifier: Apache-2.0
"""A week of hourly ticks over fourteen experiments on a real Slurm, with random faults and nobody at the keyboard.

`scripts/bench week [TICKS] [SEED] [FOLDER]`: what befell it and what became of it, then one line of JSON. An hour takes
some seconds and a cooldown too; everything else is real: the ticks are the command that scrontab runs, the faults kill
processes, nodes and daemons. FOLDER keeps the report. It takes half an hour, and needs what scripts/slurm-lab needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import week_oracle as oracle
from benchmarks.measuring import machine, table
from benchmarks.week_cast import CAST, GITCONFIG, Member, write_project, write_site
from benchmarks.week_faults import FAULTS, Scene, draw
from benchmarks.week_watch import Watcher
from tests.support.chat_server import KEY, ChatServer, call, chat_server
from tests.support.counting import counted, wrap
from tests.support.lab import Lab, lab_in, slurm_lab

TICKS, EVERY_S, A_FAULT = 168, 4.0, 0.35
TICK_LIMIT_S = 180.0
LOWER = call(("modify_config", {"key": "optimizer.lr", "value": 0.05, "reason": "the loss explodes"}))
TOKENS = 1050  # of each answer of the scripted model


@dataclass
class Week:
    """Its cluster, its user, and what happened. sbatched: when sbatch was called; codes: how the ticks ended."""

    lab: Lab
    root: Path
    members: Sequence[Member]
    scene: Scene
    env: Mapping[str, str]
    files: Mapping[str, Path]
    waiting: list[Member]
    codes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def ade(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command as its user runs it; 124 as timeout(1) says where it takes too long."""
        argv, env = [sys.executable, "-m", "ade_hpc.cli", *arguments], dict(self.env)
        try:
            return subprocess.run(
                argv, env=env, cwd=self.root, capture_output=True, text=True, timeout=TICK_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(argv, 124, "", f"no end within {TICK_LIMIT_S:.0f} s")

    def folder(self, name: str) -> Path:
        return self.root / "runs" / name

    # --- an hour ---

    def hour(self, fault: str | None) -> None:
        """Whoever waits first tries to come in, something happens or not, the tick comes, and what broke is mended."""
        if self.waiting and self.ade("submit", str(self.files[self.waiting[0].name])).returncode == 0:
            self.waiting = self.waiting[1:]
        self.scene.how = "whole"
        if fault:
            self.scene.inject(fault)
        {"whole": self.tick, "killed": self._killed_tick, "twice": self._two_ticks}[self.scene.how]()
        self.scene.mend()

    def tick(self) -> None:
        began = time.monotonic()
        done = self.ade("tick")
        self.seconds.append(time.monotonic() - began)
        self._heard(done.returncode, done.stdout + done.stderr)

    def _killed_tick(self) -> None:
        process = self._start_tick()
        time.sleep(self.scene.dice.uniform(0.3, 2.5))
        process.kill()
        process.wait()

    def _two_ticks(self) -> None:
        for process in [self._start_tick(), self._start_tick()]:
            try:
                said, _ = process.communicate(timeout=TICK_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                said, _ = process.communicate()
            self._heard(process.returncode, said)

    def _start_tick(self) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "ade_hpc.cli", "tick"]
        return subprocess.Popen(
            argv, env=dict(self.env), cwd=self.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def _heard(self, code: int, said: str) -> None:
        """0 clean, 3 a source did not answer, 4 a person is needed: nothing else, and never a traceback."""
        self.codes.append(code)
        with (self.root / "ticks.log").open("a") as log:
            log.write(f"--- tick {self.scene.tick} exit {code}\n{said}")
        if code not in (0, 3, 4) or "Traceback" in said or "please report it" in said:
            self.violations.append(f"tick {self.scene.tick} ended with {code}: {said.strip()[-400:]}")

    # --- the end ---

    def judge(self, tokens: int) -> list[str]:
        """Everything that is not as it must be, a sentence each."""
        rows = oracle.accounting(self.lab)
        page = self.root / "week.html"
        said = self.ade("report", "-o", str(page))
        told = oracle.read_report(page.read_text()) if said.returncode == 0 else {}
        found = [*self.violations, *oracle.overlaps(self.scene.watcher.lives), *oracle.caps(rows, self._sbatched())]
        killed = [fault.at for fault in self.scene.faults if fault.kind == "slurmctld down"]
        for member in self.members:
            mine = oracle.of(rows, member.name)
            if not mine:
                continue
            mine += oracle.lost_by_slurm(self.folder(member.name), mine, self.scene.watcher.lives, killed)
            project = self.files[member.name].parent
            gone = member.name in self.scene.cancelled
            found += oracle.event_overlaps(self.folder(member.name))
            found += oracle.budgets(member, mine)
            found += oracle.ledger_against_accounting(self.folder(member.name), mine)
            found += oracle.repository(member, project)
            given = tokens if member.name == "asks-a-model" else 0
            found += oracle.report(member, told.get(member.name), mine, project, given)
            found += oracle.left_alone(member, told.get(member.name), mine, cancelled=gone)
        for fault in self.scene.faults:
            if fault.kind == "scancel":
                found += oracle.brought_back(fault.target, fault.at, oracle.of(rows, fault.target))
        return found

    def _sbatched(self) -> list[float]:
        lines = (self.root / "sbatch.times").read_text().split() if (self.root / "sbatch.times").exists() else []
        return [float(line) for line in lines]


def run_week(
    root: Path,
    lab: Lab,
    ticks: int,
    seed: int,
    members: Sequence[Member],
    *,
    every_s: float = EVERY_S,
    faults: Sequence[str] = (),
) -> dict[str, Any]:
    """The week in ``root`` on a running lab, with its jobs cancelled at its end. faults: these first, in their order,
    whatever the die says; one that finds nothing to hit waits for the next hour."""
    dice, due = random.Random(seed), list(faults)  # noqa: S311 - it is a die
    with chat_server(LOWER) as chat, Watcher(root) as watcher:
        week = _begin(root, lab, members, Scene(lab, watcher, dice), chat)
        try:
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the week early; what there was is judged
                for number in range(ticks):
                    began, befallen = time.monotonic(), len(week.scene.faults)
                    week.scene.tick = number
                    wanted = due[0] if due else draw(dice) if dice.random() < A_FAULT else None
                    week.hour(wanted)
                    if due and (not wanted or len(week.scene.faults) > befallen):
                        due.pop(0)
                    time.sleep(max(0.0, every_s - (time.monotonic() - began)))
            return _end(week, chat)
        finally:
            week.scene.mend(everything=True)
            lab.run(["scancel", "--me"], check=False)


def _begin(root: Path, lab: Lab, members: Sequence[Member], scene: Scene, chat: ChatServer) -> Week:
    (Path(lab.env["HOME"]) / ".gitconfig").write_text(GITCONFIG)
    calls = root / "calls"
    path = wrap(calls, lab.env["PATH"])
    env = {
        **lab.env, "PATH": path, "ADE_SITE": str(write_site(root, chat.url)), "OPENAI_API_KEY": KEY,
        "ADE_REGISTRY": str(root / "registry" / "experiments"),
    }  # fmt: skip
    sbatch = Path(path.split(":")[0]) / "sbatch"
    sbatch.write_text(sbatch.read_text().replace("\nexec", f"\ndate +%s.%N >> {root}/sbatch.times\nexec", 1))
    files = {member.name: write_project(member, root / "projects") for member in members}
    early = [member for member in members if not member.late]
    week = Week(lab, root, members, scene, env, files, [member for member in members if member.late])
    for member in early:
        done = week.ade("submit", str(files[member.name]))
        if done.returncode:
            raise SystemExit(f"{member.name}: {done.stderr}")
    return week


def _end(week: Week, chat: ChatServer) -> dict[str, Any]:
    """Two quiet ticks, the verdict, and what became of everybody."""
    week.scene.mend(everything=True)
    for _ in range(2):
        week.tick()
        time.sleep(2)
    violations = week.judge(TOKENS * len(chat.asked))
    rows = oracle.accounting(week.lab)
    lives = week.scene.watcher.lives
    return {
        "ticks": len(week.codes), "experiments": len({row.experiment for row in rows}),
        "faults": len(week.scene.faults), "attempts": len({(row.experiment, row.attempt) for row in rows}),
        "job_lives": len(rows), "trainers": len(lives), "violations": violations,
        "exit_codes": {str(code): count for code, count in sorted(Counter(week.codes).items())},
        "slowest_tick_s": round(max(week.seconds), 1), "mean_tick_s": round(sum(week.seconds) / len(week.seconds), 2),
        "calls": dict(counted(week.root / "calls")), "tokens": TOKENS * len(chat.asked),
        "befell": _befell(week), "became": _became(week, rows),
    }  # fmt: skip


def _befell(week: Week) -> list[dict[str, Any]]:
    """Of each kind of fault that hit a trainer: after how long did the experiment train again, if it did?"""
    found = []
    for kind in FAULTS:
        hit = [fault for fault in week.scene.faults if fault.kind == kind]
        waits = [wait for fault in hit if (wait := _trains_again(week, fault.target, fault.pid, fault.at)) is not None]
        found.append({"fault": kind, "times": len(hit), "trained_again": len(waits), "median_s": _median(waits)})
    return found


def _trains_again(week: Week, name: str, pid: int, at: float) -> float | None:
    later = [life.first - at for life in week.scene.watcher.lives if life.experiment == name and life.first > at]
    return min(later, default=None) if pid else None


def _median(values: Sequence[float]) -> float | None:
    return round(sorted(values)[len(values) // 2], 1) if values else None


def _became(week: Week, rows: Sequence[oracle.JobLife]) -> list[dict[str, Any]]:
    page = week.root / "week.html"
    told = oracle.read_report(page.read_text()) if page.exists() else {}
    return [
        {
            "experiment": member.name,
            "attempts": len({row.attempt for row in mine}),
            "lives": len(mine),
            "changes": len(oracle.commits(week.files[member.name].parent, member.name)) if mine else 0,
            "gpu_hours": round(sum(row.elapsed_s * row.gpus for row in mine) / 3600, 3),
            "last_job": mine[-1].state if mine else "never admitted",
            "person": told[member.name].needs_a_person if member.name in told else False,
        }
        for member in week.members
        for mine in [oracle.of(rows, member.name)]
    ]


def print_week(result: Mapping[str, Any]) -> None:
    for name in ("befell", "became"):
        heads = list(result[name][0])
        print(table(heads, [["" if row[head] is None else row[head] for head in heads] for row in result[name]]), "\n")
    for violation in result["violations"]:
        print(f"VIOLATION: {violation}")
    print(machine())
    print(json.dumps(result))


def _arguments() -> Iterator[int]:
    given = [int(word) for word in sys.argv[1:3]]
    yield from (*given, *(TICKS, 1)[len(given) :])


def main() -> int:
    ticks, seed = _arguments()
    root = Path(tempfile.mkdtemp(prefix="ade-week-"))
    lab_root = root / "lab"
    (root / "gitconfig").write_text(GITCONFIG)
    os.environ["GIT_CONFIG_GLOBAL"] = str(root / "gitconfig")
    try:
        up = slurm_lab("up", lab_root)
        if up.returncode:
            raise SystemExit(up.stderr)
        result = run_week(root, lab_in(lab_root), ticks, seed, CAST)
        print_week(result)
        if len(sys.argv) > 3:
            shutil.copytree(root, sys.argv[3], dirs_exist_ok=True, symlinks=True, ignore=shutil.ignore_patterns("lab"))
        return 1 if result["violations"] else 0
    finally:
        slurm_lab("down", lab_root)
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
