# SPDX-License-Identifier: Apache-2.0
"""The sidecar looks through apptainer: it finds the trainer behind starter and init, and asks it for its stacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ade_hpc.job import proc
from ade_hpc.store.records import load_exits, load_heartbeats
from tests.support.images import image
from tests.support.project import make_project, wait_for

pytestmark = pytest.mark.timeout(600)  # the first of them may have to build the image

COMMAND = ["python3", "train.py", "--config", "{config}", "--tensorboard", "{tensorboard}"]


@pytest.fixture(scope="module")
def base() -> Path:
    return image("--base")


def test_a_trainer_that_hangs_in_its_container_tells_its_stacks(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADE_SITE", str(tmp_path / "site.yaml"))
    command = [*COMMAND, "--checkpoints", "{checkpoints}", "{resume}"]
    project = make_project(
        tmp_path,
        experiment={"image": str(base), "command": command, "stall_floor": "3s"},
        config={"optimizer": {"lr": 0.05}, "steps": 100_000},
        fast_path=True,
    )
    project.submit()
    attempt = project.folder.attempt(1)
    beat = wait_for(
        lambda: next((one for one in load_heartbeats(attempt) if one.last_step), None), 60, "it never trained"
    )
    assert "train.py" in Path(f"/proc/{beat.trainer_pid}/cmdline").read_text()
    assert {one.name for one in proc.tree(beat.trainer_pid or 0)} == {"python3"}
    (attempt.scratch / "order").write_text("deadlock")

    assert project.wait_for_exit(1) == "stalled"

    assert "in deadlock" in (attempt.path / load_exits(attempt)[-1].evidence).read_text()
    wait_for(lambda: load_heartbeats(project.folder.attempt(2)), 60, "no successor")
    project.end()
