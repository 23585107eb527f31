# SPDX-License-Identifier: Apache-2.0
"""The fast path on a real Slurm: from the fault to the next job at work, with no tick from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ade_hpc.launch.lineage import job_of
from ade_hpc.store.records import load_exits
from tests.cluster.conftest import Lab
from tests.support.project import assert_no_overlap, lives, make_project, wait_for

SLURM = {"partition": "main", "time": "10", "mem": "500M", "cpus_per_task": 1, "stall_floor": "2s"}
COOL = {"optimizer": {"lr": 0.05}, "steps": 4000, "step_s": 0.01}


@pytest.mark.parametrize(
    ("fault", "cause", "state"),
    [
        ({"raise_at": 150}, "failed", "FAILED"),
        ({"hang_at": 400}, "stalled", "FAILED"),
        ({"optimizer": {"lr": 0.5}, "hot_from": 300}, "non-finite", "FAILED"),
    ],
    ids=["crash", "stall", "nan"],
)
def test_the_next_job_runs_soon(
    in_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], cause: str, state: str
) -> None:
    """The old job is not cancelled by its own tick: accounting has it as it ended."""
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    project = make_project(tmp_path, kind="slurm", experiment=SLURM, config={**COOL, **fault}, fast_path=True)
    _, first = project.submit()
    assert project.wait_for_exit(1) == cause
    ended_at = load_exits(project.folder.attempt(1))[-1].ended_at

    began = wait_for(lambda: [start for start, _, one in lives(project) if one == "2.0"], 60, "no successor")

    assert ended_at is not None
    assert began[0] - ended_at < 60, "an idle lab takes seconds, see docs/faults.md; this one is busy"
    assert in_lab.wait_state(first, [state]) == state
    assert_no_overlap(project)
    second = job_of(project.folder, project.ledger, 2)
    assert second is not None
    in_lab.run(["scancel", second.job_id])
    in_lab.wait_state(second.job_id, ["CANCELLED", "FAILED"])  # one that crashed may have crashed again
