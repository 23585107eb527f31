# SPDX-License-Identifier: Apache-2.0
"""GPU-hours count what each attempt asked for, and what the next one would ask for (invariant 3)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ade_hpc.job.budget import over_gpu_hours
from ade_hpc.model import JobTruth
from ade_hpc.report.night import gather
from ade_hpc.spec.preferences import load_preferences
from ade_hpc.store.records import load_attempt
from ade_hpc.supervisor.backtest import replay
from ade_hpc.supervisor.experiment import load_supervised
from ade_hpc.supervisor.past import Usage, past_of
from ade_hpc.supervisor.recorded import recorded
from tests.support.project import Project, make_project

ONE_GPU_HOUR = {"gpus_per_node": 1, "time": "1:00:00"}
CRASHES = {"optimizer": {"lr": 0.05}, "exit_at": 30, "exit_with": 3}


def wishes(project: Project, limits: str, *rules: str) -> None:
    """Preferences in mode auto without a cooldown, bounds wide enough for every rule of this file."""
    bounds = "resources: {time: {max: 3-0}, nodes: {max: 8}, gpus_per_node: {max: 8}, gres: {choices: ['gpu:8']}}"
    lines = [
        "```yaml",
        "objective: {tag: accuracy/val, goal: max}",
        "tunables: {optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 20, tag: lr}}",
        f"limits: {{mode: auto, max_attempts: 6, cooldown: 0s, {bounds}, {limits}}}",
        "rules:",
        *(f"  - {{{rule}}}" for rule in rules),
        "```",
    ]
    project.write("preferences.md", "\n".join(lines))


@pytest.mark.parametrize(
    ("resources", "hours"),
    [
        ("time: 2-00:00:00", "48.0"),
        ("time: 2-0", "48.0"),
        ("time: 180", "3.0"),
        ("nodes: 3", "3.0"),
        ("gpus_per_node: 4", "4.0"),
        ("gpus_per_node: a100:4", "4.0"),
        ("gres: gpu:8", "8.0"),
        ("nodes: 2, gpus_per_node: 2, time: 2:00:00", "8.0"),
    ],
)
def test_more_than_is_left_is_not_asked_for(tmp_path: Path, resources: str, hours: str) -> None:
    project = make_project(tmp_path, experiment=ONE_GPU_HOUR, config=CRASHES)
    wishes(project, "gpu_hours: 2", f"name: more, when: {{health: failed}}, do: {{resources: {{{resources}}}}}")
    project.commit()
    project.submit()
    project.wait_until_over(1)

    report = project.tick()

    assert report.decision is not None
    (refusal,) = report.decision.refusals
    assert refusal.startswith("gpu_hours: 0.0 are used")
    assert f"the next attempt may use {hours} of 2" in refusal
    assert len(project.folder.attempts()) == 1


def test_every_attempt_counts_with_the_gpus_that_it_had(tmp_path: Path) -> None:
    """One GPU, then four: at the tick and on the node. Whoever goes on, goes on with four."""
    project = make_project(tmp_path, experiment=ONE_GPU_HOUR, config=CRASHES)
    wishes(project, "gpu_hours: 9.5", "name: wide, when: {health: failed}, do: {resources: {gpus_per_node: 4}}")
    project.commit()
    project.submit()
    project.wait_until_over(1)
    project.tick()
    project.wait_until_over(2)
    one = load_supervised(project.folder)
    an_hour = {job.job_id: JobTruth("ended", "FAILED", elapsed_s=3600.0) for job in one.jobs}
    second = load_attempt(project.folder.attempt(2))
    assert second is not None

    assert past_of(one, an_hour, Usage(0, 0), now=time.time()).gpu_hours == 5.0
    now = time.time()
    assert over_gpu_hours(project.folder.attempt(2), second, since=now - 3600) == ""
    over = over_gpu_hours(project.folder.attempt(2), second, since=now - 2 * 3600)
    assert over == "not queued again: gpu_hours: 8.0 are used and one more start may use 4.0 of 9.5"


def test_a_backtest_holds_past_requests_to_the_bound(tmp_path: Path) -> None:
    """What the second attempt asked for, two GPUs, counts for the third that would have been made."""
    project = make_project(tmp_path, experiment=ONE_GPU_HOUR, config=CRASHES)
    rules = (
        "name: wide, when: {health: failed}, do: {resources: {gpus_per_node: 2}}, max_times: 1",
        "name: long, when: {health: failed}, do: {resources: {time: 2-0}}",
    )
    wishes(project, "gpu_hours: 100", *rules)
    project.commit()
    project.submit()
    project.wait_until_over(1)
    project.tick()
    project.wait_until_over(2)
    assert project.tick().done

    wishes(project, "gpu_hours: 10", *rules)
    first, second = replay(
        recorded(project.folder), load_preferences(project.path / "preferences.md"), project.site
    ).steps

    assert not first.differs
    assert second.differs
    assert second.decision is not None
    assert "the next attempt may use 96.0 of 10" in second.decision.refusals[0]


def test_what_was_saved_is_reckoned_for_each_attempt(tmp_path: Path) -> None:
    """The second diverges on two GPUs, as the first did on one."""
    project = make_project(tmp_path, experiment=ONE_GPU_HOUR)
    again = "when: diverging, do:"
    wishes(
        project,
        "gpu_hours: 100",
        f"name: wide, {again} {{resources: {{gpus_per_node: 2}}}}, max_times: 1",
        f"name: slower, {again} {{scale: {{optimizer.lr: 0.1}}}}",
    )
    project.commit()
    project.submit()
    project.run_to_end()

    gpu = gather(project.folder, project.site, now=time.time()).gpu

    assert gpu is not None
    assert {number: limit for number, (limit, _) in gpu.ended_early.items()} == {1: 1.0, 2: 2.0}
    ran = {entry.data["attempt"]: entry.data["job"]["elapsed_s"] for entry in project.ledger.of_kind("observed")}
    assert gpu.ended_early[2][1] == pytest.approx(2 * ran[2] / 3600)
