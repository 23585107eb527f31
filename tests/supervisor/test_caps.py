# SPDX-License-Identifier: Apache-2.0
"""The caps of the site file hold across experiments, also within one tick (invariant 3)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ade_hpc.store.registry import register
from ade_hpc.supervisor.reports import Report
from ade_hpc.supervisor.tick import Ticker
from tests.support.project import Project, make_project

CRASHES = {"optimizer": {"lr": 0.05}, "steps": 40, "exit_at": 30, "exit_with": 3}


def all_crashed(root: Path, **site: int) -> list[Project]:
    """Three experiments of one user, each worth a second try."""
    projects = [
        make_project(root / name, experiment={"name": name}, config=CRASHES, site=site) for name in ("a", "b", "c")
    ]
    for project in projects:
        project.submit()
    for project in projects:
        project.wait_until_over(1)
    return projects


def tick(projects: list[Project]) -> list[Report]:
    first = projects[0]
    ticker = Ticker(first.site, lambda kind: first.scheduler, lambda step: None)
    return ticker.tick([project.folder for project in projects])


@pytest.mark.parametrize(
    ("site", "bound"),
    [
        ({"max_live_attempts": 1}, "1 attempts are alive; the site allows 1"),
        ({"max_submissions_per_hour": 4}, "4 submissions in the last hour; the site allows 4"),
    ],
)
def test_three_that_die_together_are_not_one_too_many(tmp_path: Path, site: Mapping[str, int], bound: str) -> None:
    """What the first of them has submitted in this very tick counts for the second and the third."""
    projects = all_crashed(tmp_path, **site)

    reports = tick(projects)

    assert [len(project.folder.attempts()) for project in projects] == [2, 1, 1]
    refused = [report.decision.refusals for report in reports[1:] if report.decision is not None]
    assert refused == [(bound,), (bound,)]
    projects[0].wait_for_exit(2)


def test_a_tick_of_one_counts_the_others(tmp_path: Path) -> None:
    """A job that asks for its own tick must not be a way around the caps."""
    projects = all_crashed(tmp_path, max_submissions_per_hour=3)
    first, *others = projects
    ticker = Ticker(first.site, lambda kind: first.scheduler, lambda step: None)
    ticker = replace(ticker, others=tuple(project.folder for project in others))

    report = ticker.tick([first.folder])[0]

    assert report.decision is not None
    assert report.decision.refusals == ("3 submissions in the last hour; the site allows 3",)


def test_two_ticks_at_once_take_turns(tmp_path: Path) -> None:
    """Real processes, started together: between them they find room for one submission, and not for one each."""
    projects = all_crashed(tmp_path)
    for project in projects:
        register(tmp_path / "registry", project.folder)
    (tmp_path / "site.yaml").write_text("scheduler: local\nmax_submissions_per_hour: 4\n")
    env = {**os.environ, "ADE_SITE": str(tmp_path / "site.yaml"), "ADE_REGISTRY": str(tmp_path / "registry")}
    argv = [sys.executable, "-m", "ade_hpc.cli", "tick"]
    both = [subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=100)[0] for process in both]
    assert sum(len(project.folder.attempts()) for project in projects) == 4, said
    projects[0].wait_for_exit(2)
