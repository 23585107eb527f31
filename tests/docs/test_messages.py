# SPDX-License-Identifier: Apache-2.0
"""docs/troubleshooting.md quotes what the program says: each message stands in the code, and many are produced."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.cli.test_commands import ade
from tests.support.pages import TOP
from tests.support.project import Project, make_project, wait_for

PAGE = (TOP / "docs/troubleshooting.md").read_text()
QUOTED = [" ".join(one.split()) for one in re.findall(r"\*\*`([^`]+)`\*\*", PAGE)]


@cache
def templates() -> tuple[str, ...]:
    """Every text in the program, with a NUL where a value goes in."""
    found = []
    for path in (TOP / "ade_hpc").rglob("*.py"):
        found += [_text(node) for node in ast.walk(ast.parse(path.read_text()))]
    return tuple({text for text in found if " " in text})


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return ""


def stands_in_the_code(message: str) -> bool:
    parts = [part for part in message.split("...") if part.strip()]
    words = ".*".join(re.escape(part) for part in parts)
    pattern = re.compile(rf"(?<!\w){words}(?!\w)", re.DOTALL)  # no half words
    return any(pattern.search(text) for text in templates())


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_stands_in_the_code(message: str) -> None:
    assert stands_in_the_code(message)


def test_a_message_that_nobody_says_would_be_noticed() -> None:
    assert len(QUOTED) > 70
    assert not stands_in_the_code("is in no mercurial repository")
    assert not stands_in_the_code("no experiment is called ...; unknown: ...")


# --- produced -------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    (tmp_path / "site.yaml").write_text("scheduler: local\nheartbeat_interval: 1s\nmax_submissions_per_hour: 100\n")
    return make_project(tmp_path, mode="observe", config={"steps": 100_000})


def quoted(beginning: str) -> re.Pattern[str]:
    """The one quoted message that begins so, to be found in what was said."""
    (message,) = (one for one in QUOTED if one.startswith(beginning))
    return re.compile(".*".join(map(re.escape, message.split("..."))))


def test_the_messages_of_a_first_day(project: Project, tmp_path: Path) -> None:
    """What a new user meets, one after the other."""

    def says(beginning: str, *arguments: str, code: int) -> None:
        done = ade(*arguments, cwd=project.path)
        assert quoted(beginning).search(done.stdout + done.stderr), done.stdout + done.stderr
        assert done.returncode == code
        assert "Traceback" not in done.stderr

    says("no registry", "status", code=3)
    says("does not exist: check", "submit", "nothing.yaml", code=1)
    project.write("notes.txt", "not committed")
    says("uncommitted changes", "submit", "experiment.yaml", code=1)
    project.commit()
    assert ade("submit", "experiment.yaml", cwd=project.path).returncode == 0
    says("is alive", "submit", "experiment.yaml", code=2)
    says("nothing of", "approve", "tiny", code=2)
    wait_for(lambda: list(project.folder.attempt(2).checkpoints.glob("*")), 60, "it never trained")
    assert ade("cancel", "tiny").returncode == 0
    project.wait_until_over(2)
    (project.path / "preferences.md").chmod(0o666)
    says("can be written by others", "tick", code=1)
    experiment = (project.path / "experiment.yaml").read_text()
    project.write("experiment.yaml", experiment.replace("config:", "confg:"))
    says("unknown key", "check", code=1)
    project.write("experiment.yaml", f"{experiment}image: none.sif\n")
    project.commit()
    says("build it with", "submit", "experiment.yaml", code=1)
    project.write("experiment.yaml", experiment)
    (tmp_path / "site.yaml").write_text("max_submissions_per_hour: 1\nscheduler: local\n")
    project.commit()
    says("submissions in the last hour", "submit", "experiment.yaml", code=2)
    project.folder.record.unlink()
    says("is missing or damaged; is", "tick", code=3)
