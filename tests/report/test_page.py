# SPDX-License-Identifier: Apache-2.0
"""The report as HTML: every number is the ledger's, nothing from outside becomes markup, and it stays small."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ade_hpc.errors import AdeError
from ade_hpc.metrics.collect import collect
from ade_hpc.metrics.panels import Run
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Finding, Health
from ade_hpc.report.chart import Line, panel
from ade_hpc.report.history import Event
from ade_hpc.report.night import Night, gather
from ade_hpc.report.page import render
from ade_hpc.spec.site import Site
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import append
from tests.metrics.event_files import NAME, scalar, write
from tests.support.project import Project, lives, make_project, wait_for

NOW = 1.7e9
HOSTILE = '<script>alert(1)</script>"><img src=https://evil.example/x onerror=alert(2)>\x1b[2J\u202e&amp;'


@dataclass
class Page(HTMLParser):
    """The page as a browser takes it: elements, attributes, text, and the numbers that are marked as such."""

    source: str
    tags: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    values: list[str] = field(default_factory=list)
    numbers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    unclosed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._number = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.values += [value or "" for _, value in attrs]
        self._number = dict(attrs).get("data-is") or ""
        if tag != "meta":
            self.unclosed.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._number:
            self.numbers[self._number] = data
            self._number = ""


def page_of(*nights: Night) -> Page:
    page = Page(render(nights, now=NOW))
    assert page.unclosed == []
    return page


def report_on(project: Project) -> tuple[Night, Page]:
    night = gather(project.folder, project.site, now=time.time())
    return night, page_of(night)


def test_every_number_is_the_ledger_s(tmp_path: Path) -> None:
    """A repaired run on two GPUs: attempts, best, GPU-hours used, and at most so many saved."""
    project = make_project(tmp_path, experiment={"gpus_per_node": 2, "time": "1:00:00"})
    project.submit()
    project.run_to_end()
    observed = [entry.data for entry in project.ledger.of_kind("observed")]
    first = [data for data in observed if data["attempt"] == 1][-1]
    usage = {"m": {"calls": 2, "input": 900, "output": 100}}
    append(project.folder.ledger, "unanswered", {"attempt": 2, "text": "", "usage": usage}, now=time.time())
    project = replace(project, site=Site.model_validate({"llm": {"prices": {"m": {"input": 1.0, "output": 10.0}}}}))
    accuracy = collect(project.folder.attempt(2).starts()).series["accuracy/val"].values

    night, page = report_on(project)

    assert page.numbers["attempts"] == f"{len(project.ledger.of_kind('intent'))}" == "2"
    assert float(page.numbers["best"]) == pytest.approx(accuracy.max(), rel=1e-4)
    assert float(page.numbers["gpu-hours-used"]) == pytest.approx(observed[-1]["past"]["gpu_hours"], abs=0.005)
    bound = 2 * 1.0 - 2 * first["job"]["elapsed_s"] / 3600
    assert night.gpu is not None
    assert night.gpu.ended_early[1][0] == 2.0
    assert night.gpu.saved_at_most == pytest.approx(bound)
    assert float(page.numbers["gpu-hours-saved"]) == pytest.approx(bound, abs=0.005)
    assert page.numbers["tokens"] == "1000"
    assert "2 calls, cost 0.0019" in page.text
    assert "an upper bound" in page.text
    assert "GPUs × time limit − GPU-hours it had run" in page.text

    lines = night.diffs[2].splitlines()
    assert [line for line in lines[2:] if line[:1] in "+-"] == ["-  lr: 0.5", "+  lr: 0.05"]
    assert "diverging in loss/train" in page.text
    assert "rule:diverged" in page.text
    assert ".pt of attempt 1" in page.text
    assert "Nothing needs a person" in page.text

    both = page_of(night, replace(night, name="its twin"))
    assert both.numbers["all-attempts"] == "4"
    assert "2 not made by a person" in both.text
    assert float(both.numbers["all-gpu-hours-used"]) == pytest.approx(2 * night.gpu.used, abs=0.01)
    assert float(both.numbers["all-gpu-hours-saved"]) == pytest.approx(2 * bound, abs=0.01)
    assert both.numbers["all-tokens"] == "2000"
    assert "4 calls, cost 0.0038" in both.text
    assert "all-attempts" not in page.numbers, "of one experiment its own numbers are enough"


@pytest.mark.parametrize(
    ("mode", "config", "sentence"),
    [
        ("propose", {}, "ade-hpc approve tiny"),
        ("auto", {"ignore_config": True}, "param_groups"),
        ("auto", {"optimizer": {"lr": 0.05}, "exit_at": 30, "exit_with": 3}, "the same crash at the same place"),
    ],
    ids=["a proposal waits", "a change had no effect", "a crash that comes again"],
)
def test_what_needs_a_person_is_said(tmp_path: Path, mode: str, config: dict[str, object], sentence: str) -> None:
    project = make_project(tmp_path, mode=mode, config=config)
    project.submit()
    project.run_to_end()
    night, page = report_on(project)
    assert any(sentence in need for need in night.needs)
    assert "Needs a person" in page.text


def test_a_submission_that_was_refused_is_told_and_not_counted(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 20})
    project.write("notes", "not committed")
    project.git("add", "notes")
    with pytest.raises(AdeError, match="notes"):
        project.submit()
    project.commit()
    project.submit()
    project.run_to_end()
    night, page = report_on(project)
    assert [row.outcome for row in night.attempts] == ["refused", "completed"]
    assert page.numbers["attempts"] == "1"
    both = page_of(night, Night("its twin"))
    assert both.numbers["all-attempts"] == "1"
    assert "1 attempt" in both.text
    assert "2 attempts" not in both.text


def test_mode_observe_tells_what_it_would_have_done_and_calls_nobody(tmp_path: Path) -> None:
    project = make_project(tmp_path, mode="observe")
    project.submit()
    project.run_to_end()
    night, page = report_on(project)
    assert night.needs == ()
    assert "Would have done: optimizer.lr: 0.5 → 0.05 (rule:diverged)" in page.text


def test_what_can_t_be_read_needs_a_person_and_stops_nothing(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 20})
    gone = gather(ExperimentDir(tmp_path / "gone"), project.site, now=NOW)
    assert "is missing or damaged" in gone.needs[0]
    assert "gone" in page_of(gone, Night("well", Health("ended", "completed"))).text


def test_a_ledger_of_another_version_stops_only_itself(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 20})
    project.submit()
    project.run_to_end()
    append(project.folder.ledger, "observed", {"attempt": 1, "findings": "none"}, now=time.time())
    night, _ = report_on(project)
    assert "did another version write its ledger?" in night.needs[0]


def test_a_live_experiment_that_no_tick_looks_at_is_noticed(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 100_000})
    project.submit()
    wait_for(lambda: lives(project), 60, "it never started")
    project.tick()
    later = gather(project.folder, project.site, now=time.time() + 5 * 3600)
    assert any("No tick has looked at it for 5 hours" in need for need in later.needs)
    project.end()


def test_nothing_from_outside_becomes_markup(tmp_path: Path) -> None:
    """Tags, reasons and authors that hold a script, an image, an escape sequence and a bidirectional override."""
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 20})
    project.submit()
    project.run_to_end()
    write(project.folder.attempt(1).starts()[0] / f"{NAME}.2", [scalar(HOSTILE, step, 1.0) for step in range(9)])
    decision = {
        "outcome": "refuse", "refusals": [HOSTILE], "action": "ask", "author": HOSTILE, "reason": HOSTILE,
        "changes": [{"key": HOSTILE, "old": 1, "new": HOSTILE}], "resume": "none",
    }  # fmt: skip
    last = project.ledger.of_kind("observed")[-1].data
    found = {"kind": "nan", "tag": HOSTILE, "first_step": 1, "last_step": 2, "severity": "intervene"}
    append(project.folder.ledger, "observed", {**last, "decision": decision, "findings": [found]}, now=time.time())
    append(project.folder.ledger, HOSTILE, {"reason": HOSTILE}, now=time.time())

    night, page = report_on(project)

    assert HOSTILE in night.runs[0].curves.series
    assert page.text.count("<script>") >= 4  # as text
    assert not page.tags & {"script", "img", "iframe", "object", "link", "a"}
    assert not [name for name in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page.source)
    assert "&amp;amp;" in page.source


def test_the_page_loads_and_runs_nothing() -> None:
    page = page_of(Night("one"), Night("two"))
    assert "default-src 'none'; style-src 'unsafe-inline'" in page.values
    assert "script" not in page.tags
    assert "http" not in page.source.replace('http-equiv="', "")
    assert "url(" not in page.source


def test_a_hundred_experiments_stay_under_three_megabytes() -> None:
    """With ten attempts each; all of them are still there, in less detail, and that is said."""
    steps = np.arange(5000)
    noise = np.random.default_rng(0).normal(1, 0.2, 5000)
    curves = Curves({f"loss/{n}": Series(f"loss/{n}", steps, NOW + steps, noise) for n in range(4)})
    events = tuple(Event(NOW + n, "observed", f"attempt 1: running; found number {n} " * 8) for n in range(300))
    big = Night("big", Health("running"), NOW, runs=(Run("attempt 1", curves),) * 10, events=events)
    page = page_of(*(replace(big, name=f"experiment-{n}") for n in range(100)))
    assert len(page.source.encode()) < 3_000_000
    assert all(f"experiment-{n}" in page.text for n in range(100))
    assert "in less detail" in page.text
    assert "svg" in page.tags


def test_whoever_needs_a_person_comes_first() -> None:
    page = page_of(Night("calm", Health("running")), Night("loud", Health("ended", "failed"), needs=("look",)))
    assert page.text.index("loud") < page.text.index("calm")
    assert "1 needs a person" in page.text


ODD_CURVES: dict[str, Sequence[float]] = {
    "empty": [],
    "one": [1.0],
    "nan": [np.nan] * 5,
    "infinite": [np.inf, -np.inf, 1.0],
    "zero": [0.0] * 4,
    "huge": [1e308, -1e308],
    "tiny": [1e-320, 1.0],
    "explosion": np.logspace(-3, 30, 60),
}


@pytest.mark.parametrize("values", ODD_CURVES.values(), ids=ODD_CURVES)
@pytest.mark.parametrize("tag", ["loss/val", "accuracy/val"])
def test_any_curve_can_be_drawn(tag: str, values: Sequence[float]) -> None:
    """No value that a trainer may log breaks the picture or leaves a coordinate that is no number."""
    series = Series(tag, np.arange(len(values)), NOW + np.arange(len(values)), np.array(values, float))
    lines = [Line("target", 0.97, "target"), Line("finding", 1, "nan"), Line("change", 0, "attempt 2")]
    picture = panel(tag, [Run("attempt 1", Curves({tag: series}))], lines, 100)
    assert "nan," not in picture.lower()
    assert not re.search(r'(?:[xy][12]?|c[xy]|points)="[^"]*(?:nan|inf)', picture)


def test_an_explosion_does_not_press_the_rest_flat() -> None:
    """A loss that goes to 1e30: what lies between 0.1 and 2 still takes a good part of the height."""
    values = np.r_[np.linspace(2, 0.1, 90), 10.0 ** np.linspace(0, 30, 10)]
    series = Series("loss/val", np.arange(100), NOW + np.arange(100), values)
    picture = panel("loss/val", [Run("attempt 1", Curves({"loss/val": series}))], [], 200)
    points = re.findall(r'class="run new" points="([^"]+)"', picture)[0].split()
    heights = [float(point.split(",")[1]) for point in points[:90]]
    assert max(heights) - min(heights) > 40


def test_findings_are_marked_where_they_began() -> None:
    series = Series("loss/val", np.arange(100), NOW + np.arange(100), np.linspace(2, 1, 100))
    night = Night(
        "one",
        Health("running"),
        runs=(Run("attempt 1", Curves({"loss/val": series})),),
        findings=(Finding("plateau", "loss/val", 50, 99, "intervene"),),
    )
    (at,) = re.findall(r'class="finding" x1="([0-9.]+)"', page_of(night).source)
    first, last = re.findall(r'class="run new" points="([0-9.]+),.* ([0-9.]+),[0-9.]+"', page_of(night).source)[0]
    assert float(at) == pytest.approx((float(first) + float(last)) / 2, abs=3)


def test_the_command_writes_one_file_about_all_experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its user's eyes only; what is wrong is one sentence."""
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}})
    project.submit()
    project.run_to_end()
    monkeypatch.setenv("ADE_REGISTRY", str(project.registry))
    output = tmp_path / "night.html"

    assert "night.html: tiny" in ade("report", "-o", str(output)).stdout
    assert output.stat().st_mode & 0o777 == 0o600
    assert "Nothing needs a person" in output.read_text()
    assert ade("report", "tiny", "-o", str(output)).returncode == 0
    told = json.loads(ade("report", "-o", str(output), "--json").stdout)
    assert told == {"schema": 1, "path": str(output), "experiments": [{"name": "tiny", "needs": []}]}
    project.folder.record.unlink()
    (broken,) = json.loads(ade("report", "-o", str(output), "--json").stdout)["experiments"]
    assert "It can't be read" in broken["needs"][0]
    assert "needs a person: tiny" in ade("report", "-o", str(output)).stdout
    assert ade("report", "nobody", "-o", str(output)).returncode == 2
    missing = ade("report", "-o", str(tmp_path / "no" / "night.html"))
    assert (missing.returncode, "can't be written" in missing.stderr) == (1, True)


def ade(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ade_hpc.cli", *arguments],
        env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
