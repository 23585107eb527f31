# SPDX-License-Identifier: Apache-2.0
"""A rule that only starts again, or asks for what the attempt has, does not go on for ever."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from ade_hpc.cli.main import app
from ade_hpc.report.history import attempts
from tests.support.project import Project, make_project

CRASHES = {"optimizer": {"lr": 0.05}, "exit_at": 30, "exit_with": 3}


def crashing(root: Path, *rules: str) -> Project:
    project = make_project(root, config=CRASHES)
    limits = "limits: {mode: auto, max_attempts: 8, cooldown: 4h, resources: {mem: {max: 256G}}}"
    lines = ["```yaml", limits, "rules:", *(f"  - {{when: {{health: failed}}, {rule}}}" for rule in rules), "```"]
    project.write("preferences.md", "\n".join(lines))
    project.commit()
    project.submit()
    return project


def run(project: Project, *command: str) -> str:
    wide = {"ADE_REGISTRY": str(project.registry), "COLUMNS": "300"}
    done = CliRunner().invoke(app, command, env=wide, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def end_of(project: Project) -> tuple[str, str]:
    """Tick until nothing more is done; returns who had the last word, and what it was."""
    for number in range(1, 9):
        project.wait_until_over(number)
        report = project.tick()
        if not report.done:
            assert report.decision is not None
            assert report.code == 4
            decision = report.decision
            return decision.proposal.author, "; ".join(decision.refusals) or decision.proposal.reason
    raise AssertionError("it went on and on")


def test_what_the_attempt_has_already_is_not_asked_for_again(tmp_path: Path) -> None:
    """The rule has nothing more to say, so the answer for a crash speaks: the same one at the same step."""
    project = crashing(tmp_path, "name: more, do: {resources: {mem: 64G}}")

    author, said = end_of(project)

    assert len(project.folder.attempts()) == 2
    assert (author, "the same crash at the same place" in said) == ("answer:failed", True)


def test_a_rule_that_only_starts_again_is_held_by_the_breaker(tmp_path: Path) -> None:
    project = crashing(tmp_path, "name: again, do: {resume: last-healthy}")

    assert end_of(project) == ("rule:again", "3 starts in a row have brought no new step: a person must look")
    assert len(project.folder.attempts()) == 3


def test_memory_may_be_raised_step_by_step(tmp_path: Path) -> None:
    """Each asks for something new: another try, although none of them brings a new step."""
    steps = ("32G", "64G", "128G", "256G")
    rules = [f"name: to-{mem}, do: {{resources: {{mem: {mem}}}}}, max_times: 1" for mem in steps]
    project = crashing(tmp_path, *rules)

    end_of(project)

    assert [row.author for row in attempts(project.folder)] == ["person", *(f"rule:to-{mem}" for mem in steps)]
    assert [row.asks for row in attempts(project.folder)] == [(), *((f"mem: {mem}",) for mem in steps)]
    told = run(project, "history", "tiny", "-v")
    assert "rule:to-32G decides: mem: 32G, because the job is ended (failed)" in told
    assert "the job is ended (failed) (with mem: 256G)" in told
    run(project, "report", "tiny", "-o", str(tmp_path / "page.html"))
    assert "restarted, with mem: 128G" in (tmp_path / "page.html").read_text()
