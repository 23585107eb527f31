# SPDX-License-Identifier: Apache-2.0
"""What people see on terminals of any width, with colours or without, and the words for what a tick has decided."""

from __future__ import annotations

import getpass
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import ade
from tests.metrics.event_files import NAME, scalar, write
from tests.support.project import Project, make_project

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


def on_a_terminal(columns: int, *words: str, **env: str) -> str:
    """Everything that the command writes to a terminal of so many columns."""
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ade_hpc.cli", *words], stdin=secondary, stdout=secondary, stderr=secondary,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color", **env},
    )  # fmt: skip
    os.close(secondary)
    seen = b""
    try:
        while select.select([primary], [], [], 60)[0] and (more := os.read(primary, 65536)):
            seen += more
    except OSError:
        pass  # how Linux says that nobody holds the other end any more (pty(7))
    process.wait(timeout=60)
    os.close(primary)
    return seen.decode().replace("\r\n", "\n")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """It has exploded, in mode propose."""
    (tmp_path / "site.yaml").write_text("scheduler: local\nheartbeat_interval: 1s\n")
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    experiment = {"name": "a-rather-long-name-for-an-experiment"}
    project = make_project(tmp_path, mode="propose", config={"steps": 200}, experiment=experiment)
    project.submit()
    project.wait_until_over(1)
    return project


def test_it_fits_and_says_what_waits(project: Project) -> None:
    name = project.folder.name
    told = ade("tick").stdout
    assert "rule:diverged proposes: optimizer.lr: 0.5 -> 0.05, from the last healthy checkpoint, because" in told
    assert f"(ade-hpc approve {name}, or reject)" in told
    assert "rule:diverged proposes: optimizer.lr: 0.5 -> 0.05, because" in ade("history", name, "-v").stdout
    for columns in (60, 80, 120):
        seen = on_a_terminal(columns, "status")
        assert COLOUR.search(seen)
        table = re.sub(r"\x1b\[[0-9;]*m", "", seen).partition("last tick:")[0]
        assert max(len(line.rstrip()) for line in table.splitlines()) <= columns
        assert ("heartbeat" in table) == (columns >= 90)
        assert f"ade-hpc approve {name}" in seen
        assert str(project.folder.attempt(1).logs) in seen, "a path is whole, whatever the width"
        story = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(columns, "history", name))
        assert "submitted by hand" in story, "no word is torn"
        assert ("attempt 1: by person" in story) == (columns < 110)
    assert not COLOUR.search(on_a_terminal(80, "status", NO_COLOR="1"))


def test_a_person_is_needed_for_as_long_as_a_proposal_waits(project: Project) -> None:
    assert [ade("tick", *more).returncode for more in (["--dry-run"], [], [])] == [4, 4, 4]
    assert "exit code 4 (a person is needed)" in ade("status").stdout
    assert ade("approve", project.folder.name).returncode == 0
    done = ade("tick")
    assert (done.returncode, "resubmitted" in done.stdout) == (0, True)
    project.wait_until_over(2)


def test_what_a_person_has_rejected_is_said_so_and_waits_for_nobody(project: Project) -> None:
    """Also before a tick has read it in the inbox: no word can call it back."""
    name, who = project.folder.name, getpass.getuser()
    ade("tick")
    assert ade("approve", name).returncode == 0
    assert ade("reject", name).returncode == 0
    for word in ("approve", "reject"):
        late = ade(word, name)
        assert (late.returncode, late.stdout) == (2, "")
        assert f"{who} has rejected what waited" in late.stderr
    for more in (["--dry-run"], [], []):
        told = ade("tick", *more).stdout
        assert ("ade-hpc approve" in told) == ("--dry-run" in more), "a dry run leaves the inbox alone"
        assert (f"rule:diverged was refused: rejected by {who}" in told) == ("--dry-run" not in more)
    assert "ade-hpc approve" not in ade("status").stdout
    assert f"from the last healthy checkpoint; rejected by {who}" in project.folder.memory.read_text()
    assert f"(rejected by {who})" in ade("history", name, "-v").stdout
    assert len(project.folder.attempts()) == 1


def test_what_is_refused_or_only_said_is_said_so(project: Project) -> None:
    preferences = project.path / "preferences.md"
    preferences.write_text(preferences.read_text().replace("mode: propose", "mode: observe"))
    assert "rule:diverged would decide (mode: observe): optimizer.lr: 0.5 -> 0.05" in ade("tick").stdout
    preferences.write_text(preferences.read_text().replace("max_attempts: 6", "max_attempts: 1"))
    done = ade("tick")
    assert "rule:diverged was refused: max_attempts: 1 of 1 are made" in done.stdout
    assert done.returncode == 4
    assert "exit code 4 (a person is needed)" in ade("status").stdout


def test_words_from_outside_that_look_like_markup_stand_as_they_are(project: Project) -> None:
    """A tag may hold brackets, and so does the reason of a new attempt that names it."""
    preferences = project.path / "preferences.md"
    text = preferences.read_text().replace("mode: propose", "mode: auto")
    rule = "when: [nan, diverging], do: {scale: {optimizer.lr: 0.1}, resume: last-healthy}"
    preferences.write_text(text.replace(rule, "when: {finding: nan, tag: 'loss[/val]'}, do: {resume: none}"))
    tags = ("loss[/val]", "loss[train]", "loss:fire:")
    logged = [scalar(tag, step, float("nan")) for tag in tags for step in range(20)]
    write(project.folder.attempt(1).starts()[0] / f"{NAME}.2", logged)
    assert "resubmitted" in ade("tick").stdout
    project.wait_until_over(2)
    write(project.folder.attempt(2).starts()[0] / f"{NAME}.2", logged)
    ade("tick", "--no-llm")
    status, history = (ade(*words, COLUMNS="300") for words in (("status",), ("history", project.folder.name)))
    assert (status.returncode, history.returncode) == (0, 0)
    assert all(f"nan in {tag}" in status.stdout for tag in tags)
    assert "nan in loss[/val] from step 0" in history.stdout
