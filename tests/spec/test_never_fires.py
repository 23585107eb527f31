# SPDX-License-Identifier: Apache-2.0
"""Preferences that are right in every field, and of which something will never happen: a warning with its line."""

from __future__ import annotations

import pytest

from ade_hpc.errors import Problem
from ade_hpc.spec.never_fires import never_fires
from ade_hpc.spec.preferences import read_preferences

OBJECTIVE = "objective: {tag: accuracy/val, goal: max, target: 0.97}"
TUNABLES = "tunables: {optimizer.lr: {min: 1.0e-4, max: 1.0, tag: lr}}"
TAGS = frozenset({"accuracy/val", "loss/val", "lr"})


def warnings(*lines: str, **known: object) -> list[Problem]:
    reading = read_preferences("\n".join(["```yaml", *lines, "```"]), "preferences.md")
    assert reading.preferences is not None
    assert reading.problems == ()
    found = list(never_fires(reading.preferences, reading.document, **known))
    assert all(problem.warning and problem.file == "preferences.md" for problem in found)
    return found


def rule(when: str, do: str = "{scale: {optimizer.lr: 0.5}}") -> str:
    return f"  - {{name: one, when: {when}, do: {do}}}"


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        ([OBJECTIVE.replace("/val", "/test")], 2, "did you mean `accuracy/val`?"),
        (["metrics:", "  - {tag: loss/val, goal: min}", "  - {tag: los/val, goal: min}"], 4, "can't be watched"),
        ([TUNABLES.replace("tag: lr", "tag: rate")], 2, "a change can't be proved by it"),
        (["tunables: {a: {choices: [1, 2]}}", "rules:", rule("{metric: f1, above: 1}", "{set: {a: 2}}")], 4, "f1"),
        (["rules:", rule("{finding: plateau, tag: accuracy}", "{stop: true}")], 3, "never holds"),
        (["rules:", "  - name: deep", "    when: {any: [nan, {all: [{metric: x, above: 1}]}]}", "    do: {ask: true}"],
         4, "the tag x"),
    ],
)  # fmt: skip
def test_a_tag_that_no_past_run_has_logged(lines: list[str], line: int, words: str) -> None:
    (problem,) = warnings(*lines, tags=TAGS)
    assert problem.line == line
    assert words in problem.message
    assert warnings(*lines) == []  # before the first run nobody knows


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        ([OBJECTIVE, "rules:", rule("{metric: accuracy/val, above: 0.98}", "{stop: true}")], 4, "reached its target"),
        (["objective: {tag: l, goal: min, target: 0.1}", "rules:", rule("{metric: l, below: 0.1}", "{ask: true}")],
         4, "reached its target"),
        ([OBJECTIVE, "metrics: [{tag: accuracy/val, goal: min}]"], 3, "the objective wants accuracy/val at its max"),
        ([OBJECTIVE, "metrics: [{tag: accuracy/val, goal: max, threshold: 0.99}]"], 3, "keep one"),
        (["rules:", rule("{metric: x, above: 2, below: 1}", "{ask: true}")], 3, "no number is above 2 and below 1"),
        (["rules:", rule("{all: [{metric: x, above: 2}, {metric: x, below: 2}]}", "{ask: true}")], 3, "never holds"),
        (["rules:", rule("{health: cancelled}", "{ask: true}")], 3, "nothing is decided on a job that is cancelled"),
        (["rules:", rule("{any: [nan, {health: pending}]}", "{ask: true}")], 3, "pending"),
        (["limits: {max_attempts: 1}", TUNABLES, "rules:", rule("nan")], 5, "no new attempt"),
        ([TUNABLES, "rules:", rule("nan", "{scale: {optimizer.lr: 1}}")], 4, "changes nothing"),
        ([TUNABLES, "rules:", rule("nan", "{add: {optimizer.lr: 0}}")], 4, "changes nothing"),
        ([TUNABLES, "rules:", rule("[nan, diverging]"), rule("diverging").replace("one", "two")], 5, "further up"),
    ],
)  # fmt: skip
def test_what_contradicts_itself(lines: list[str], line: int, words: str) -> None:
    (problem,) = warnings(*lines)
    assert problem.line == line
    assert words in problem.message


def test_nothing_to_resume_from() -> None:
    lines = [TUNABLES, "rules:", rule("nan", "{scale: {optimizer.lr: 0.5}, resume: best}"), ""]
    (problem,) = warnings(OBJECTIVE, *lines, resumes={"none"})
    assert problem.line == 5
    assert "no `checkpoint:`" in problem.message
    assert warnings(OBJECTIVE, *lines) == []
    lines[2] = lines[2].replace("best", "weights")
    (problem,) = warnings(OBJECTIVE, *lines, resumes={"none", "best", "last-healthy"})
    assert "no `checkpoint: weights:`" in problem.message


@pytest.mark.parametrize(
    "lines",
    [
        [OBJECTIVE, "rules:", rule("{metric: accuracy/val, below: 0.5}", "{ask: true}")],
        [OBJECTIVE, "metrics: [{tag: accuracy/val, goal: max, threshold: 0.9}]"],
        ["rules:", rule("{metric: loss/val, above: 1, below: 2}", "{ask: true}")],
        ["rules:", rule("{all: [{metric: loss/val, above: 1}, {metric: lr, below: 1}]}", "{ask: true}")],
        ["rules:", rule("{any: [{metric: lr, above: 1}, {metric: lr, below: 0}]}", "{ask: true}")],
        [TUNABLES, "rules:", rule("diverging"), rule("[nan, diverging]").replace("one", "two")],
        [TUNABLES, "rules:", rule("nan").replace("}}}", "}}, max_times: 1}"), rule("nan").replace("one", "two")],
        ["rules:", rule("{health: failed}", "{ask: true}")],
    ],
)
def test_what_can_happen_is_no_warning(lines: list[str]) -> None:
    assert warnings(*lines) == warnings(*lines, tags=TAGS) == []
