# SPDX-License-Identifier: Apache-2.0
"""Many rows at once in one lab: each in a process of its own, as many beside each other as the machine bears."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.faults.judge import Outcome
from tests.faults.table import Fault, Twin
from tests.support.images import image
from tests.support.lab import Lab, lab_up
from tests.support.project import REPOSITORY

GIT_CONFIG = "[user]\n\tname = A Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n"
SIDE_BY_SIDE = 4
ROW_TIMEOUT_S = 300


@dataclass(frozen=True)
class Ward:
    """A lab, and the rows that are being run in it."""

    lab: Lab
    root: Path
    image: Path
    pool: ThreadPoolExecutor
    locks: Mapping[str, threading.Lock]

    def admit(self, rows: Sequence[Fault | Twin], *, fast: bool = False, turn: int = 0) -> dict[str, Future[Outcome]]:
        """Begin to run the rows; an outcome each, in the time that it takes. turn: of the same rows once more."""
        return {row.name: self.pool.submit(self._run, row, fast, turn) for row in rows}

    def _run(self, row: Fault | Twin, fast: bool, turn: int) -> Outcome:
        folder = self.root / re.sub(r"\W+", "-", f"{row.name}{' fast' if fast else ''} {turn}")
        with self.locks[row.holds] if row.holds else nullcontext():
            return self._judge(row, folder, fast)

    def _judge(self, row: Fault | Twin, folder: Path, fast: bool) -> Outcome:
        where = ["--lab", str(self.lab.root), "--in", str(folder), "--image", str(self.image)]
        argv = [sys.executable, "-m", "tests.faults.judge", row.name, *where]
        try:
            done = subprocess.run(
                [*argv, *(["--fast"] if fast else [])], cwd=REPOSITORY, env=self._environment(),
                capture_output=True, text=True, timeout=ROW_TIMEOUT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Outcome(row.name, False, why=f"no outcome in {ROW_TIMEOUT_S} s")
        if done.returncode:
            return Outcome(row.name, False, why=done.stderr[-2000:])
        return Outcome(**json.loads(done.stdout.splitlines()[-1]))

    def _environment(self) -> dict[str, str]:
        """Of a user of this cluster, with a git of its own."""
        git = {"GIT_CONFIG_GLOBAL": str(self.root / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"}
        path = f"{self.lab.env['PATH']}:/opt/apptainer/bin:/usr/sbin:/sbin"
        return {**self.lab.env, "PATH": path, **git}


@contextmanager
def ward(root: Path, beside_each_other: int = SIDE_BY_SIDE) -> Iterator[Ward]:
    """A lab in ``root`` for so many rows at a time; what still runs at the end is waited for."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "gitconfig").write_text(GIT_CONFIG)
    with lab_up(root / "lab") as lab, ThreadPoolExecutor(beside_each_other) as pool:
        yield Ward(lab, root, image("--base"), pool, defaultdict(threading.Lock))
