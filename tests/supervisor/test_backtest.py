# SPDX-License-Identifier: Apache-2.0
"""Backtest: the past under other preferences, exact up to the first other action."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ade_hpc.errors import StoreError
from ade_hpc.metrics.collect import collect, gather
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Health, JobTruth
from ade_hpc.policy.snapshot import Past, Snapshot
from ade_hpc.spec.preferences import Preferences, parse_preferences
from ade_hpc.spec.site import Site
from ade_hpc.store.inbox import drop
from ade_hpc.supervisor.backtest import Replay, as_json, replay
from ade_hpc.supervisor.record import decision_json, finding_json
from ade_hpc.supervisor.recorded import Moment, recorded, simulated
from tests.metrics.event_files import NAME, frame, points, restart, scalar, version, write
from tests.support.project import PREFERENCES, Project, make_project, wait_for

START, HOUR = 1.7e9, 3600.0


def wishes(mode: str = "auto", factor: str = "0.1") -> Preferences:
    """The story's preferences, with this mode and this factor for the learning rate."""
    text = PREFERENCES.replace("MODE", mode).replace("optimizer.lr: 0.1}", f"optimizer.lr: {factor}}}")
    return parse_preferences(text, f"{mode}.md")


def decisions(one: Replay) -> list[Any]:
    return [decision_json(step.decision) if step.decision else None for step in one.steps]


# --- a recorded run -------------------------------------------------------------------------------------------------


def test_every_tick_of_a_recorded_run_is_decided_again_as_it_was(tmp_path: Path) -> None:
    """Its own preferences give what the live ticks found and decided; others differ where they first act."""
    project = make_project(tmp_path)
    project.submit()
    project.run_to_end()
    live = [entry.data for entry in project.ledger.of_kind("observed")]
    acted = next(number for number, data in enumerate(live) if data["decision"])
    past = recorded(project.folder)

    same = replay(past, wishes(), project.site)
    assert decisions(same) == [data["decision"] for data in live]
    found = [[finding_json(finding) for finding in step.findings] for step in same.steps]
    assert found == [data["findings"] for data in live]
    assert all(step.exact and not step.counterfactual for step in same.steps)
    assert same.first_difference is None
    assert same.same_wishes == len(live)

    other = replay(past, wishes(factor="0.2"), project.site)
    assert other.first_difference is other.steps[acted]
    assert decisions(other)[:acted] == decisions(same)[:acted]
    assert decisions(other)[acted]["changes"] == [{"key": "optimizer.lr", "old": 0.5, "new": 0.1}]
    assert [step.counterfactual for step in other.steps] == [number > acted for number in range(len(live))]
    assert other.same_wishes == 0


def test_a_night_of_observing_shows_what_tonight_would_do(tmp_path: Path) -> None:
    """What was only said in mode observe would be done in mode auto, and that is the first difference."""
    project = make_project(tmp_path, mode="observe")
    project.submit()
    project.run_to_end()
    past = recorded(project.folder)

    first = replay(past, wishes("auto"), project.site).first_difference
    assert first is not None
    assert first.happened is not None
    assert first.decision is not None
    assert (first.happened["outcome"], first.decision.outcome) == ("observe", "allow")
    assert replay(past, wishes("observe"), project.site).first_difference is None


def test_what_a_person_approved_is_part_of_the_past(tmp_path: Path) -> None:
    """An approval on record is an approval again: the same preferences give the same actions."""
    project = make_project(tmp_path, mode="propose")
    project.submit()
    drop(project.folder, "approve", {"id": _tick_until_waiting(project), "by": "ada"}, now=time.time())
    assert project.tick().done
    project.wait_for_exit(2)

    again = replay(recorded(project.folder), wishes("propose"), project.site)

    assert again.first_difference is None
    assert decisions(again)[-1]["outcome"] == "allow"


def test_a_pause_is_part_of_the_past(tmp_path: Path) -> None:
    """What was held back then is held back again, by the name of whoever did it."""
    project = make_project(tmp_path)
    project.submit()
    project.folder.hold.touch()
    project.run_to_end()
    again = replay(recorded(project.folder), wishes(), project.site)
    assert again.first_difference is None
    assert any("paused by" in refusal for one in decisions(again) if one for refusal in one["refusals"])


def _tick_until_waiting(project: Project) -> str:
    waiting = wait_for(lambda: project.tick() and project.ledger.of_kind("waiting"), 60, "nothing was proposed")
    return str(waiting[-1].data["id"])


@dataclass(frozen=True)
class Given:
    """Moments that a test made up."""

    moments_given: tuple[Moment, ...]
    name: str = "given"
    notes: tuple[str, ...] = ()

    def moments(self, preferences: Preferences) -> Iterator[Moment]:
        return iter(self.moments_given)


def test_what_a_model_proposed_then_is_judged_by_the_bounds_of_now() -> None:
    """Nobody is asked again: the recorded proposal goes before the guard, and where none is, that is said."""
    loss = Series("loss/val", np.arange(50), START + np.arange(50.0), np.r_[np.linspace(2, 1, 25), np.full(25, np.nan)])
    snapshot = Snapshot(
        "given", START + 50, 1, JobTruth("running"), curves=Curves({"loss/val": loss}), config={"lr": 0.5},
        past=Past(attempts=1),
    )  # fmt: skip
    said = {
        "outcome": "allow", "refusals": [], "action": "change", "author": "model:m", "reason": "too hot",
        "changes": [{"key": "lr", "old": 0.5, "new": 0.01}], "resume": "none", "resources": {}, "exclude_nodes": [],
    }  # fmt: skip
    text = "```yaml\nobjective: {tag: loss/val, goal: min}\nlimits: {mode: auto}\nagent: {model: m}\n"
    wide = parse_preferences(text + "tunables: {lr: {min: 0.001, max: 1.0}}\n```\n", "wide.md")
    narrow = parse_preferences(text + "tunables: {lr: {min: 0.1, max: 1.0}}\n```\n", "narrow.md")
    asked = Given((Moment(snapshot, Health("running"), happened=said, answers=(said,)),))

    assert replay(asked, wide, Site()).first_difference is None
    (step,) = replay(asked, narrow, Site()).steps
    assert step.decision is not None
    assert step.decision.refusals == ("lr: 0.01 is outside 0.1 to 1",)
    assert step.differs

    (step,) = replay(Given((Moment(snapshot, Health("running")),)), wide, Site()).steps
    assert (step.decision, "no rule covers nan" in step.asked) == (None, True)


def test_a_ledger_whose_attempt_is_gone_is_said_in_one_sentence(tmp_path: Path) -> None:
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 20})
    project.submit()
    project.run_to_end()
    project.folder.attempt(1).record.unlink()
    with pytest.raises(StoreError, match=r"tiny: ledger line \d+ can't be replayed"):
        replay(recorded(project.folder), wishes(), project.site)


# --- any TensorBoard folder -----------------------------------------------------------------------------------------


def diverging_log(folder: Path, steps: int = 600, every_s: float = 144.0) -> Path:
    """A 24-hour log whose loss explodes half way."""
    payloads = []
    for step in range(1, steps + 1):
        loss = 0.05 + 2 * 0.98**step if step < steps // 2 else min(1.3 ** (step - steps // 2), 1e30)
        for tag, value in (("loss/val", loss), ("accuracy/val", 0.1 if loss > 3 else 1 - loss / 3), ("lr", 0.5)):
            payloads.append(scalar(tag, step, value, START + step * every_s))
    write(folder / NAME, payloads)
    return folder


def test_a_foreign_log_is_ticked_through_by_its_own_clock(tmp_path: Path) -> None:
    """When would it have acted, and what would it have done: with the value that the log shows for the tunable."""
    source = simulated(diverging_log(tmp_path / "run"))
    one = replay(source, wishes(), Site())

    assert len(one.steps) == 24
    assert one.steps[-1].time == START + 600 * 144
    first = one.first_difference
    assert first is not None
    assert first.decision is not None
    assert START + 12 * HOUR < first.time < START + 15 * HOUR
    assert [(change.old, change.new) for change in first.decision.proposal.changes] == [(0.5, 0.05)]
    assert all(step.counterfactual for step in one.steps if step.time > first.time)
    assert as_json(source, [one]) == as_json(source, [replay(source, wishes(), Site())])


def test_a_short_log_gets_twenty_ticks_and_a_long_one_a_thousand(tmp_path: Path) -> None:
    assert len(simulated(diverging_log(tmp_path / "short", 50, 1.0)).times) == 20
    assert len(simulated(diverging_log(tmp_path / "often", 50, 1.0), 7.0).times) == 7
    assert len(simulated(diverging_log(tmp_path / "years", 50, 1e7)).times) == 1000


def test_a_day_is_replayed_in_under_a_second(tmp_path: Path) -> None:
    """24 hourly ticks over 35 000 points."""
    values = [(tag, step) for step in range(8640) for tag in ("loss/train", "loss/val", "accuracy/val", "lr")]
    write(tmp_path / NAME, (scalar(tag, step, 1 / (2 + step), START + 10 * step) for tag, step in values))
    began = time.process_time()
    one = replay(simulated(tmp_path), wishes(), Site())
    assert time.process_time() - began < 1.0
    assert len(one.steps) == 24


def test_logs_until_are_what_a_reader_saw_then(tmp_path: Path) -> None:
    """A requeued run, cut at any record, is what collect gave when that record was the last one in the files."""
    first = [scalar(tag, step, step + 0.5, START + step) for step in range(30) for tag in ("a", "b")]
    second = [restart(20), *(scalar("a", step, -step, START + 100 + step) for step in range(20, 40))]
    starts = [tmp_path / "0", tmp_path / "1"]
    whole = [[version(), *first], [version(), *second]]
    for folder, payloads in zip(starts, whole, strict=True):
        write(folder / NAME, payloads[1:])
    logs = gather(starts)
    (starts[1] / NAME).unlink()
    for time_seen, kept in [(START + 5, 12), (START + 29, 60)]:
        (starts[0] / NAME).write_bytes(b"".join(map(frame, whole[0][: kept + 1])))
        assert points(logs.until(time_seen)) == points(collect(starts))
    for time_seen, kept in [(START + 120, 2), (START + 139, 21)]:
        (starts[1] / NAME).write_bytes(b"".join(map(frame, whole[1][: kept + 1])))
        assert points(logs.until(time_seen)) == points(collect(starts))
    assert logs.until(START - 1).series == {}


# --- the command ----------------------------------------------------------------------------------------------------


def ade(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ade_hpc.cli", "backtest", *arguments],
        env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_command_compares_two_files_and_changes_nothing(tmp_path: Path) -> None:
    run = diverging_log(tmp_path / "run")
    for mode in ("auto", "observe"):
        (tmp_path / f"{mode}.md").write_text(PREFERENCES.replace("MODE", mode))
    both = ("--preferences", str(tmp_path / "auto.md"), "--against", str(tmp_path / "observe.md"))
    before = sorted(tmp_path.rglob("*"))

    text = ade(str(run), *both)
    answer = ade(str(run), *both, "--every", "2h", "--json")

    assert text.returncode == 0, text.stderr
    assert "DIFFERS: rule:diverged: optimizer.lr: 0.5 -> 0.05" in text.stdout
    assert "mode observe: only said" in text.stdout
    parsed = json.loads(answer.stdout)
    assert [one["ticks"] for one in parsed["replays"]] == [12, 12]
    assert [one["first_difference"] is None for one in parsed["replays"]] == [False, True]
    assert "NaN" not in answer.stdout
    assert "Infinity" not in answer.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_what_the_log_does_not_hold_is_said_with_its_line(tmp_path: Path) -> None:
    """A typo or a folder too deep must not look like preferences that are content with the run."""
    run = diverging_log(tmp_path / "run" / "0").parent
    text = PREFERENCES.replace("MODE", "auto").replace("accuracy/val", "0/acuracy/val")
    text = text.replace("tunables: {", "tunables: {clip: {choices: [1, 2], tag: 0/clip}, ")
    (tmp_path / "p.md").write_text(text)
    told = ade(str(run), "--preferences", str(tmp_path / "p.md"))
    answer = ade(str(run), "--preferences", str(tmp_path / "p.md"), "--json")
    (replayed,) = json.loads(answer.stdout)["replays"]
    lacking = [
        (6, "`objective.tag`: no event file of a past run has the tag 0/acuracy/val"),
        (7, "`tunables.clip`: no value of it"),
        (7, "`tunables.clip.tag`"),
        (7, "`tunables.optimizer.lr`: no value of it"),
        (7, "`tunables.optimizer.lr.tag`: no event file of a past run has the tag lr"),
    ]
    for line, words in lacking:
        (note,) = (note for note in replayed["notes"] if f"p.md:{line}: warning: {words}" in note)
        assert note in told.stdout
    assert len(replayed["notes"]) == len(lacking)
    assert told.returncode == answer.returncode == 0


def test_preferences_without_a_yaml_block_are_said_to_watch_only(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("Get the accuracy up.\n")
    done = ade(str(diverging_log(tmp_path / "run")), "--preferences", str(tmp_path / "p.md"))
    assert "p.md:1: warning: no yaml block" in done.stdout
    assert done.returncode == 0


def test_a_tunable_that_the_config_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path, config={"optimizer": {"lr": 0.05}, "steps": 20})
    monkeypatch.setenv("ADE_REGISTRY", str(project.registry))
    project.submit()
    project.run_to_end()
    right, wrong = tmp_path / "right.md", tmp_path / "wrong.md"
    right.write_text(PREFERENCES.replace("MODE", "auto"))
    wrong.write_text(PREFERENCES.replace("MODE", "auto").replace("optimizer.lr", "optimiser.lr"))
    answer = ade("tiny", "--preferences", str(right), "--against", str(wrong), "--json")
    notes, (note,) = (one["notes"] for one in json.loads(answer.stdout)["replays"])
    assert notes == []
    assert "did you mean `optimizer.lr`?" in note


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("nothing-here",), 2, "is neither a registered experiment"),
        ((".", "--every", "soon"), 2, "must be a duration"),
    ],
)
def test_what_can_t_be_replayed_is_said(tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    (tmp_path / "p.md").write_text("nothing but words\n")
    done = ade(*arguments, "--preferences", str(tmp_path / "p.md"))
    assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (code, True, False)
