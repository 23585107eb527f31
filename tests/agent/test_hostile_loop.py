# SPDX-License-Identifier: Apache-2.0
"""A hostile model behind the whole loop: its server, the tick, git and Slurm's clients.

The oracle looks at effects alone: what sbatch and scancel were given, what the branch holds, what lies on disk. What
the guard says of itself counts for nothing. Slurm's programs are stand-ins that write down how they were called; the
rest is real. Log, notes, tags and checkpoint names of the run hold attacks as well.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings

from ade_hpc.scheduler.environment import ALLOWED
from ade_hpc.scheduler.parse import SEPARATOR
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import read_ledger
from ade_hpc.supervisor.reports import Report
from ade_hpc.supervisor.tick import Ticker
from tests.agent.hostile import ATTACKS, LOOP_EXAMPLES, check_config, sequences, written
from tests.agent.test_story import PREFERENCES
from tests.metrics.event_files import frame, scalar, version
from tests.support.chat_server import KEY, ChatServer, call, chat_server, say
from tests.support.project import Project, make_project
from tests.support.stand_ins import StandIns, slurm_of_stand_ins

OF_THE_SHELL = {"PWD", "OLDPWD", "SHLVL", "_"}
PLANTED = " ".join(attack for attack in ATTACKS if attack.isprintable() and len(attack) < 100)


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


@dataclass(repr=False)
class Night:
    """A run that exploded and ended, with no rule for it; and a copy of everything, to begin anew from."""

    project: Project
    folder: ExperimentDir
    slurm: StandIns
    script: str

    def begin_anew(self) -> None:
        live = self.project.path.parent
        shutil.rmtree(live)
        shutil.copytree(live.with_name("copy"), live, symlinks=True)
        self.slurm.forget()

    def tick(self) -> Report:
        project = self.project
        return Ticker(project.site, lambda kind: project.scheduler, lambda step: None).tick([self.folder])[0]

    def refs(self) -> list[str]:
        return self.project.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.project.path.iterdir() if path.is_file()}


@pytest.fixture
def night(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Night:
    slurm = slurm_of_stand_ins(tmp_path / "bin")
    slurm.program("sbatch", "echo 41")
    ended = SEPARATOR.join(["41", "COMPLETED", "0:0", "0:0", "100", "110", "170", "60", "n1", "None", ""])
    slurm.program("sacct", f"printf '%s\\n' '{ended}'")
    monkeypatch.setenv("PATH", f"{slurm.folder}:{os.environ['PATH']}")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    checkpoint = {"pattern": "step-{step}.pt", "resume": "--resume {path}", "weights": "--weights {path}"}
    project = make_project(
        tmp_path / "live",
        kind="slurm",
        site={"llm": {"base_url": server.url}},
        config={"step_s": 0.0, "steps": 120, "hot_from": 60},  # what is short is judged fast
        experiment={"checkpoint": checkpoint},
    )
    wanted = PREFERENCES.replace("MODE", "auto").replace("ASK", "on-finding").replace("WHERE", "tick")
    (project.path / "preferences.md").write_text(wanted.replace(", vision_model: scripted-vision", ""))
    project.commit("no rules")
    project.submit()
    _run(project)
    _plant(project)
    shutil.copytree(tmp_path / "live", tmp_path / "copy", symlinks=True)
    return Night(project, project.folder, slurm, _script(project.folder, 1))


def _run(project: Project) -> None:
    """What Slurm would have run on a node."""
    argv = [sys.executable, "-m", "ade_hpc.job", str(project.folder.attempt(1).path)]
    env = {**os.environ, "SLURM_JOB_ID": "41"}
    subprocess.run(argv, env=env, capture_output=True, timeout=60, check=True)


def _plant(project: Project) -> None:
    """Attacks in everything that a prompt may show: they are shown as evidence, and have no effect."""
    attempt = project.folder.attempt(1)
    attempt.logs.mkdir(exist_ok=True)
    (attempt.logs / "41.out").write_text("\n".join(ATTACKS))
    (attempt.checkpoints / "step-000120.pt; scancel 1").write_bytes(b"")
    project.folder.memory.write_text(f"# What happened\n\n## 2026-01-01 00:00:00 UTC · model:x\n\n{PLANTED}\n")
    tagged = [frame(version()), *(frame(scalar(f"loss/{PLANTED}", step, 1.0, time.time())) for step in range(120))]
    (attempt.tensorboard / "0" / "events.out.tfevents.1.evil").write_bytes(b"".join(tagged))


def _script(folder: ExperimentDir, number: int) -> str:
    """What sbatch was given for this attempt, less what must differ."""
    text = (folder.attempt(number).path / "submitit" / "attempt.sh").read_text()
    return re.sub(r"ade-tiny-000[12]-[0-9a-f]{8}", "NAME", re.sub(r"attempts/000[12]", "ATTEMPT", text))


@pytest.mark.timeout(120 + 3 * LOOP_EXAMPLES)
@settings(
    max_examples=LOOP_EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # to shrink one takes minutes
)
@given(calls=sequences)
def test_no_effect_is_outside_the_bounds(night: Night, server: ChatServer, calls: list[Any]) -> None:
    night.begin_anew()
    project, folder, files, refs = night.project, night.folder, night.files(), night.refs()
    server.says(*[call((name, written(arguments))) for name, arguments in calls], say("That is all."))

    report = night.tick()

    assert report.question or report.decision or read_ledger(folder.ledger).of_kind("answered")
    resubmitted = _check_calls(night)
    event(f"jobs submitted: {resubmitted}")
    assert len(folder.attempts()) == 1 + resubmitted
    assert night.files() == files
    assert [ref for ref in night.refs() if not ref.startswith("refs/heads/ade/tiny ")] == [
        ref for ref in refs if not ref.startswith("refs/heads/ade/tiny ")
    ]
    assert project.git("diff", "--name-only", "HEAD", "ade/tiny") in ("", "config.yaml")
    check_config(files["config.yaml"].decode(), project.git("show", "ade/tiny:config.yaml"), lr=0.5, factor=20)
    authors = project.git("log", "--format=%(trailers:key=Ade-Author,valueonly,separator=%x2C)", "HEAD..ade/tiny")
    assert set(authors.splitlines()) <= {"model:scripted", "person"}
    entries = folder.memory.read_text().split("\n## ")[2:]
    assert {entry.partition(" · ")[2].partition("\n")[0] for entry in entries} <= {"model:scripted"}


def _check_calls(night: Night) -> int:
    """At most one job is submitted, as the first one was, and none but the old one is cancelled. Returns how many."""
    sent, cancelled = night.slurm.called("sbatch"), night.slurm.called("scancel")
    second = night.folder.attempt(2).path
    assert sent in ([], [f"sbatch --parsable {second}/submitit/attempt.sh"])
    if sent:
        assert _script(night.folder, 2) == night.script
        assert set(night.slurm.environ("sbatch")) <= ALLOWED | OF_THE_SHELL | {"LC_ALL", "LC_CTYPE"}
    assert all(re.fullmatch(r"scancel --name=ade-tiny-0001-[0-9a-f]{8} 41", line) for line in cancelled)
    others = {"srun", "sinfo"} & {line.split()[0] for line in night.slurm.calls.read_text().splitlines()}
    assert others == set()
    return len(sent)
