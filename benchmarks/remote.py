# SPDX-License-Identifier: Apache-2.0
"""How long `ade-hpc --host LOGIN status` takes beside `ssh LOGIN ade-hpc status`, near by and over a bad line.

`scripts/bench remote`: pairs in turn against a real sshd on loopback, over an open ControlMaster and without one; then,
as root, over a line with a round trip of 200 ms that loses 2 % of all packets each way, where `submit` and the copy of
an image are timed too. A table of medians, then one line of JSON with the ratios.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from benchmarks.measuring import machine, table, timed
from benchmarks.slow_link import Link, slow_link
from tests.conftest import GIT_CONFIG
from tests.support.project import make_project, wait_for
from tests.support.sshd import SCRIPTS, Laptop, LoginNode, login_node

ROUNDS, SLOW_ROUNDS = 11, 3
ROUND_TRIP_S, LOSS = 0.2, 0.02
IMAGE_BYTES = 1_000_000
SITE = "scheduler: local\nheartbeat_interval: 1s\nmax_submissions_per_hour: 1000\n"
ADE = str(SCRIPTS / "ade-hpc")


def seconds(argv: Sequence[str]) -> float:
    taken, done = timed(lambda: subprocess.run(argv, capture_output=True, timeout=300, check=False))
    if done.returncode not in (0, 3, 4):
        raise SystemExit(f"{' '.join(argv)} failed: {done.stderr.decode(errors='replace')}")
    return float(taken)


class Pairs:
    """Ours beside theirs, in turn; a row of the table for each."""

    def __init__(self) -> None:
        self.rows: list[tuple[object, ...]] = []
        self.ratios: dict[str, float] = {}

    def measure(self, name: str, ours: Sequence[str], theirs: Sequence[str], rounds: int) -> None:
        for argv in (ours, theirs):
            seconds(argv)  # the first one compiles, and remembers where ade-hpc is
        took = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
        mine, other = (statistics.median(column) for column in zip(*took, strict=True))
        self.ratios[name] = round(statistics.median(a / b for a, b in took), 3)
        print(f"{name}: {self.ratios[name]}", file=sys.stderr)
        self.rows.append((name, rounds, f"{mine:.3f}", f"{other:.3f}", f"{self.ratios[name]:.2f}"))

    def single(self, name: str, took: float) -> None:
        self.rows.append((name, 1, f"{took:.1f}", "", ""))


@contextlib.contextmanager
def both_machines(patch: pytest.MonkeyPatch, home: Path, settings: str) -> Iterator[tuple[Laptop, LoginNode, Path]]:
    """A laptop, a login node that runs one experiment's trainer itself, and that experiment's file."""
    for name in [one for one in os.environ if one.startswith(("ADE_", "GIT_", "XDG_", "PYTHONDONT"))]:
        patch.delenv(name)
    patch.setenv("HOME", str(home))
    (home / ".gitconfig").write_text(GIT_CONFIG)
    with login_node(settings=settings, more={"GIT_CONFIG_NOSYSTEM": "1"}) as login:
        folder = login.home / ".config/ade-hpc"
        folder.mkdir(parents=True, mode=0o700)
        (folder / "site.yaml").write_text(SITE)
        laptop = Laptop.at(home, patch)
        laptop.add("login", login)
        project = make_project(home, config={"optimizer": {"lr": 0.05}, "steps": 20})
        yield laptop, login, project.path / "experiment.yaml"


def status(pairs: Pairs, laptop: Laptop, host: str, rounds: int, prefix: str) -> None:
    ours = [ADE, "--host", host, "status"]
    pairs.measure(f"{prefix}cold", ours, ["ssh", host, "ade-hpc", "status"], rounds)
    with laptop.master(host) as socket:
        pairs.measure(f"{prefix}shared", ours, ["ssh", "-S", str(socket), host, "ade-hpc", "status"], rounds)


def over_a_bad_line(pairs: Pairs, laptop: Laptop, login: LoginNode, link: Link, file: Path) -> None:
    laptop.add("far", login, f"HostName {link.far}")
    laptop.trust(f"[{link.far}]:{login.port}", login.host_key)
    with link.inside():
        status(pairs, laptop, "far", SLOW_ROUNDS, "bad line, ")
        pairs.single("bad line, submit", seconds([ADE, "--host", "far", "submit", str(file)]))
        wait_for(lambda: list(login.home.rglob("exit/*.json")), 60, "the trainer did not end")
        with_image(file)
        pairs.single(
            "bad line, submit with 1 MB of image", seconds([ADE, "--host", "far", "submit", str(file), "--dry-run"])
        )


def with_image(file: Path) -> None:
    (file.parent.parent / "trainer.sif").write_bytes(os.urandom(IMAGE_BYTES))
    fields = {**yaml.safe_load(file.read_text()), "image": "../trainer.sif"}
    file.write_text(yaml.safe_dump(fields))
    subprocess.run(["git", "commit", "--quiet", "--all", "-m", "an image"], cwd=file.parent, timeout=60, check=True)


def main() -> None:
    pairs = Pairs()
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ade-bench-")))
        link = stack.enter_context(slow_link(round_trip_s=ROUND_TRIP_S, loss=LOSS)) if os.geteuid() == 0 else None
        settings = f"ListenAddress {link.far}\n" if link else ""
        laptop, login, file = stack.enter_context(both_machines(patch, home, settings))
        seconds([ADE, "--host", "login", "submit", str(file)])
        wait_for(lambda: list(login.home.rglob("exit/*.json")), 60, "the trainer did not end")
        status(pairs, laptop, "login", ROUNDS, "")
        if link:
            over_a_bad_line(pairs, laptop, login, link, file)
    print(machine())
    print(table(("status over ssh", "pairs", "ade-hpc --host s", "ssh s", "ratio"), pairs.rows))
    print(json.dumps({name.replace(", ", "_").replace(" ", "_"): ratio for name, ratio in pairs.ratios.items()}))


if __name__ == "__main__":
    main()
