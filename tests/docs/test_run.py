# SPDX-License-Identifier: Apache-2.0
"""Commands of the pages that need no cluster really run, in a project as their pages assume it.

The rest parses (test_commands.py), and the quick start runs as a whole, also on a real Slurm (test_quickstart.py).
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ade_hpc.cli.main import app
from tests.docs.test_commands import OURS
from tests.support.project import Project, make_project

RUN = frozenset("status history logs tick check diagnose plot report backtest pause resume init submit".split())
# What pages call things, and what they are called here
STANDS_FOR = {"NAME": "tiny", "digits": "tiny", "my-experiment": "tiny", "LOGDIR": "runs/exp1", "TAG:max|min": "lr:min"}
NOT_HERE = frozenset({"--host", "--follow", "-f", "--watch", "--model"})


def _runnable() -> list[tuple[str, ...]]:
    found = set()
    for command in OURS:
        words = tuple(STANDS_FOR.get(word, word) for word in command.words[1:])
        synopsis = any(re.search(r"[\[|]|\.\.\.", word) for word in words)
        alone = command.in_text and len(words) == 1
        if words and words[0] in RUN and not synopsis and not alone and not NOT_HERE.intersection(words):
            found.add(words)
    return sorted(found, key=lambda words: (words[0] != "submit", words))  # the rest has something to look at


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """With what pages name: a run of somebody else's, two files of preferences, a run that exploded."""
    (tmp_path / "site.yaml").write_text("scheduler: local\nheartbeat_interval: 1s\nmax_submissions_per_hour: 100\n")
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("ADE_REGISTRY", str(tmp_path / "registry"))
    project = make_project(tmp_path, mode="observe", config={"steps": 200})
    (project.path / ".gitignore").write_text(".ade/\nruns/\n*.png\n*.html\n*.md\nsite.yaml\n")
    project.git("rm", "-q", "--cached", "preferences.md")
    project.commit()
    project.submit()
    project.wait_until_over(1)
    project.tick()
    shutil.copytree(project.folder.attempt(1).tensorboard / "0", project.path / "runs" / "exp1")
    for name in ("new.md", "site.yaml"):
        source = project.path / "preferences.md" if name.endswith(".md") else tmp_path / "site.yaml"
        shutil.copy(source, project.path / name)
    return project


def test_what_needs_no_cluster_runs(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.path)
    ran = _runnable()
    assert len({words[0] for words in ran}) >= 10, ran
    for words in ran:
        done = CliRunner().invoke(app, words)
        assert done.exit_code in ((0, 4) if words[0] in ("tick", "status") else (0,)), (
            words,
            done.output,
            done.exception,
        )
        if words[0] == "submit" and "--dry-run" not in words:
            project.wait_until_over(len(project.folder.attempts()))
