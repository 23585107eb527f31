# SPDX-License-Identifier: Apache-2.0
"""What a backtest proposes is what live ticks have proposed: over the demo, and over recorded runs of curves-lab."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.cli.demo import SITE
from ade_hpc.metrics.collect import gather
from ade_hpc.spec.preferences import load_preferences
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.supervisor.backtest import Replay, replay
from ade_hpc.supervisor.record import decision_json, finding_json
from ade_hpc.supervisor.recorded import Simulated, recorded
from ade_hpc.supervisor.tick import Ticker
from curves_lab.record import unpacked
from tests.support.project import REPOSITORY, Project, make_project, wait_for

RUNS = {  # of tests/metrics/curves, and what is wrong with them
    "elman_climbs-0": "diverging",
    "conv_pipeline_breaks-0": "collapse",
    "regression_overflow-0": "nan",
    "cnn_warm_restarts-0": "healthy",
}
PREFERENCES = """Leave what learns alone, and end what does not.

```yaml
objective: {tag: TAG, goal: GOAL}
limits: {mode: auto, cooldown: 0s}
rules: [{name: hopeless, when: [KINDS], do: {stop: true}}]
```
"""
KINDS = "nan, diverging, collapse"


def decisions(one: Replay) -> list[Any]:
    return [decision_json(step.decision) if step.decision else None for step in one.steps]


def findings(one: Replay) -> list[Any]:
    return [[finding_json(finding) for finding in step.findings] for step in one.steps]


# --- the demo -------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_the_demo_is_decided_again_as_it_was(tmp_path: Path) -> None:
    """Trained with torch, ticked, repaired; then thought through again, and with another factor beside it."""
    kept = tmp_path / "demo"
    argv = [sys.executable, "-m", "ade_hpc.cli", "demo", "--keep", str(kept)]
    told = subprocess.run(argv, capture_output=True, text=True, timeout=250, check=False)
    assert told.returncode == 0, told.stderr
    folder = ExperimentDir(Path(json.loads(told.stdout.splitlines()[-1])["run_dir"]))
    preferences = kept / "project" / "preferences.md"
    past = recorded(folder)
    live = [entry.data for entry in past.ledger.of_kind("observed")]
    acted = next(number for number, data in enumerate(live) if data["decision"])

    began = time.process_time()
    same = replay(past, load_preferences(preferences), SITE)
    assert time.process_time() - began < 1.0

    assert decisions(same) == [data["decision"] for data in live]
    assert findings(same) == [data["findings"] for data in live]
    assert same.first_difference is None

    gentler = kept / "gentler.md"
    text = preferences.read_text()
    assert text.count("optimizer.lr: 0.1}") == 1
    gentler.write_text(text.replace("optimizer.lr: 0.1}", "optimizer.lr: 0.5}"))
    other = replay(past, load_preferences(gentler), SITE)
    assert other.first_difference is other.steps[acted]
    assert decisions(other)[:acted] == decisions(same)[:acted]
    assert [step.counterfactual for step in other.steps] == [number > acted for number in range(len(live))]


# --- curves-lab -----------------------------------------------------------------------------------------------------


def player(root: Path, name: str) -> Project:
    """An experiment whose trainer logs a recorded run of the laboratory."""
    run = json.loads((REPOSITORY / "tests" / "metrics" / "curves" / f"{name}.json").read_text())
    project = make_project(
        root,
        experiment={"name": name, "command": [sys.executable, "playback.py", "--tensorboard", "{tensorboard}"]},
    )
    shutil.copy(REPOSITORY / "tests" / "support" / "playback.py", project.path)
    project.write("record.json", json.dumps(in_order(run["series"])))
    wanted = PREFERENCES.replace("TAG", run["tag"]).replace("GOAL", run["goal"]).replace("KINDS", KINDS)
    project.write("preferences.md", wanted)
    project.commit("a recorded run")
    return project


def in_order(series: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """All points of all tags, as they were logged."""
    points = [
        (float(time), int(step), tag, str(value))
        for tag, data in series.items()
        for one in [unpacked(tag, data)]
        for step, time, value in zip(one.steps, one.wall_times, one.values, strict=True)
    ]
    return [(tag, step, value) for _, step, tag, value in sorted(points)]


def tick_until_all_have_ended(projects: list[Project]) -> None:
    """No run ends by itself before a tick has seen all of it."""
    ticker = Ticker(projects[0].site, lambda kind: projects[0].scheduler, lambda step: None)

    def ended() -> bool:
        scratches = [project.folder.attempt(1).scratch for project in projects]
        played = [scratch for scratch in scratches if (scratch / "played").exists()]
        reports = ticker.tick([project.folder for project in projects])
        for scratch in played:
            (scratch / "seen").touch()
        return all(report.health.verdict == "ended" for report in reports)

    wait_for(ended, 90, "they did not end")


def test_recorded_runs_of_the_laboratory_are_decided_again_as_they_were(tmp_path: Path) -> None:
    """Live ticks over a job that logs them; then the same from the ledger, and from the bare TensorBoard folder."""
    projects = [player(tmp_path / name, name) for name in RUNS]
    for project in projects:
        project.submit()
    tick_until_all_have_ended(projects)

    stopped = set()
    for project in projects:
        past = recorded(project.folder)
        live = past.ledger.of_kind("observed")
        wishes = load_preferences(project.path / "preferences.md")

        again = replay(past, wishes, project.site)
        assert decisions(again) == [entry.data["decision"] for entry in live]
        assert findings(again) == [entry.data["findings"] for entry in live]
        assert again.first_difference is None

        ticks = [
            entry for entry in live if entry.data["health"]["verdict"] == "running" and entry.data["seen"]["until"]
        ]
        logs = gather(project.folder.attempt(1).starts())
        foreign = Simulated("a folder", logs, tuple(entry.data["seen"]["until"] for entry in ticks))
        bare = replay(foreign, wishes, project.site)
        acted = next((number for number, entry in enumerate(ticks) if entry.data["decision"]), len(ticks) - 1)
        assert decisions(bare)[: acted + 1] == [entry.data["decision"] for entry in ticks][: acted + 1]
        assert replay(foreign, wishes, project.site).steps == bare.steps, "twice the same"
        if project.ledger.of_kind("stopped"):
            stopped.add(project.folder.name)
            assert bare.first_difference is bare.steps[acted]
    assert stopped == {name for name, label in RUNS.items() if label != "healthy"}
