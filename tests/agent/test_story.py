# SPDX-License-Identifier: Apache-2.0
"""The whole loop with a scripted model behind a real chat API: asked, bounded, carried out, remembered."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.agent.budget import spent
from ade_hpc.cli import wishes
from ade_hpc.launch.plan import Plan, new_token
from ade_hpc.metrics.collect import collect
from ade_hpc.report.history import story
from ade_hpc.report.waiting import spending, waits_for
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.ledger import Entry, append
from ade_hpc.store.records import load_attempt
from ade_hpc.supervisor.reports import Report
from ade_hpc.supervisor.tick import Ticker
from tests.support.chat_server import KEY, ChatServer, call, chat_server, fail, say, wait
from tests.support.project import REPOSITORY, Project, environment, lives, make_project, wait_for

PREFERENCES = """# What I want

Get the accuracy up. When the loss explodes, lower the learning rate. Use your judgement, and say what you think.

```yaml
objective: {tag: accuracy/val, goal: max, target: 0.97}
tunables: {optimizer.lr: {min: 1.0e-4, max: 1.0, max_factor: 20, tag: lr}}
limits: {mode: MODE, max_attempts: 6, cooldown: 0s}
agent: {ask: ASK, model: scripted, vision_model: scripted-vision, where: WHERE}
```
"""
PRICES = {name: {"input": 1.0, "output": 10.0} for name in ("scripted", "scripted-vision")}
LOOK = call(("analyze_metric", {"tag": "loss/val", "question": "Where does it explode?"}))
TOO_FAR = call(("modify_config", {"key": "optimizer.lr", "value": 1.0e-6, "reason": "the loss explodes"}))
DOWN = call(("modify_config", {"key": "optimizer.lr", "value": 0.05, "reason": "the loss explodes"}))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with chat_server(LOOK, say("It explodes after step 150."), TOO_FAR, DOWN) as running:
        yield running


def make(
    root: Path,
    server: ChatServer,
    *,
    mode: str = "auto",
    ask: str = "on-finding",
    where: str = "tick",
    timeout: str = "60s",
    **more: Any,
) -> Project:
    """A project whose run explodes, and for which no rule is written."""
    llm = {"base_url": server.url, "prices": PRICES, "timeout": timeout}
    project = make_project(root, site={"llm": llm}, **more)
    wanted = PREFERENCES.replace("MODE", mode).replace("ASK", ask).replace("WHERE", where)
    (project.path / "preferences.md").write_text(wanted)
    project.commit("no rules")
    project.submit()
    return project


def tick(project: Project, *, llm: bool = True) -> Report:
    ticker = Ticker(project.site, lambda kind: project.scheduler, lambda step: None, llm=llm)
    return ticker.tick([project.folder])[0]


def tick_until_trouble(project: Project, *, llm: bool = True) -> Report:
    """Tick until a question is open, answered or not."""

    def troubled() -> Report | None:
        report = tick(project, llm=llm)
        return report if report.findings and (report.question or report.decision or report.done) else None

    found: Report = wait_for(troubled, 60.0, "no question came up")
    return found


def entries(project: Project, *kinds: str) -> list[Entry]:
    return project.ledger.of_kind(*kinds)


def test_the_model_sees_the_picture_and_its_bounded_change_runs(tmp_path: Path, server: ChatServer) -> None:
    """One changed line, a new attempt from the right checkpoint, a story in memory.md, the picture on record."""
    project = make(tmp_path, server)

    reports = project.run_to_end()

    record = load_attempt(project.folder.attempt(2))
    assert record is not None
    assert [(one.key, one.old, one.new) for one in record.changes] == [("optimizer.lr", 0.5, 0.05)]
    assert record.parent is not None
    assert record.parent.step is not None
    assert record.parent.step <= 150
    assert record.author == "model:scripted"
    assert reports[-1].health.cause == "completed"
    diff = project.git("diff", "--unified=0", "HEAD", "ade/tiny").splitlines()
    changed = [line for line in diff if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-  lr: 0.5", "+  lr: 0.05"]
    assert "Ade-Author: model:scripted" in project.git("log", "-1", "--format=%b", "ade/tiny")

    answered = entries(project, "answered")[0].data
    assert [one["outcome"] for one in answered["decisions"]] == ["refuse", "allow"]
    assert server.asked[1].images == [Path(answered["picture"]).read_bytes()]
    events, _ = story(project.folder)
    told = " ".join(event.text for event in events)
    assert all(event.more == () for event in events if event.kind in ("question", "answered"))
    assert answered["picture"] in told
    assert "max_factor" in told
    assert "model:scripted" in project.folder.memory.read_text()
    cost = "4 calls of a model in 24 h, 4200 tokens, 0.0060 by the prices of site.yaml"
    assert spending(project.ledger, project.site.llm.prices, now=time.time()) == cost


def test_with_the_model_down_the_question_stays_open_and_a_later_tick_asks_it(
    tmp_path: Path, server: ChatServer
) -> None:
    """However often it was tried meanwhile: who fails with a status bills nothing."""
    server.says(fail(500, retry_after="0"))
    project = make(tmp_path, server)
    project.wait_for_exit(1)

    down = [tick(project) for _ in range(7)]

    assert {report.code for report in down} == {3}
    assert "no judgement this time" in down[-1].problems[-1]
    assert ["HTTP status 500" in one.data["text"] for one in entries(project, "unanswered")] == [True]
    assert "no judgement yet: the model's server answered with HTTP status 500" in waits_for("tiny", project.ledger, 1)
    assert len(server.asked) == 14
    assert len(project.folder.attempts()) == 1
    server.says(DOWN)
    answer = tick(project)
    assert answer.done.startswith("resubmitted")
    assert len(entries(project, "question")) == 1


def test_with_the_model_down_rules_still_work(tmp_path: Path, server: ChatServer) -> None:
    server.says(fail(500))
    project = make(tmp_path, server)
    with (project.path / "preferences.md").open("a") as file:
        file.write("```yaml\nrules: [{name: hot, when: [nan, diverging], do: {scale: {optimizer.lr: 0.1}}}]\n```\n")
    project.wait_for_exit(1)
    report = tick(project)
    assert report.done.startswith("resubmitted")
    assert report.code == 0
    assert server.asked == []


@pytest.mark.parametrize(("llm", "where"), [(False, "tick"), (True, "laptop")])
def test_a_tick_that_can_not_reach_the_model_leaves_the_question_open(
    tmp_path: Path, server: ChatServer, llm: bool, where: str
) -> None:
    """Compute nodes often have no network: that is not degraded."""
    project = make(tmp_path, server, where=where)
    project.wait_for_exit(1)
    report = tick(project, llm=llm)
    assert report.code == 0
    assert report.question.startswith("no rule covers")
    assert server.asked == []
    if where == "tick":
        assert tick(project).done.startswith("resubmitted")


def test_the_same_question_is_not_asked_twice(tmp_path: Path, server: ChatServer) -> None:
    server.says(say("Wait: the next epoch will tell."))
    project = make(tmp_path, server)
    project.wait_for_exit(1)
    first = tick(project)
    asked = len(server.asked)
    later = [tick(project) for _ in range(3)]
    assert asked == 1
    assert len(server.asked) == asked
    assert {report.code for report in (first, *later)} == {4}  # it was judged, and still nobody mends it


@pytest.mark.parametrize(("tokens", "calls"), [((700, 20), 6), ((4_000, 900), 3), ((5_500, 100), 2)])
def test_an_incident_has_one_budget_over_all_its_ticks(
    tmp_path: Path, server: ChatServer, tokens: tuple[int, int], calls: int
) -> None:
    """A model that never comes to an end gets six calls and 15,000 tokens, not so many in each tick."""
    server.says(call(("check_job_health", {}), tokens=tokens))
    project = make(tmp_path, server)
    project.wait_for_exit(1)
    codes = [tick(project).code for _ in range(4)]
    used = spent(project.ledger)["scripted"]
    assert (used.calls, len(server.asked)) == (calls, calls)
    assert used.tokens <= 15_000
    assert codes == [4, 4, 4, 4]


def test_calls_that_nobody_answers_count_into_the_budget_of_the_incident(tmp_path: Path, server: ChatServer) -> None:
    """Their provider may bill each of them; and one can read that they were made, and why no judgement came."""
    server.says(wait(60))
    project = make(tmp_path, server, timeout="1s")
    project.wait_for_exit(1)
    codes = [tick(project).code for _ in range(8)]
    calls, used = len(server.asked), spent(project.ledger)["scripted"]
    assert 3 <= calls <= 6
    assert used.calls == calls
    assert 1_000 * calls < used.tokens <= 15_000
    assert codes == [3] * calls + [4] * (8 - calls)
    events, _ = story(project.folder)
    told = [event.text for event in events if event.kind == "unanswered"]
    assert ["1 call, " in text and "no answer in time" in text for text in told] == [True] * calls + [False]
    assert spending(project.ledger, project.site.llm.prices, now=time.time()).startswith(
        f"{calls} calls of a model in 24 h, "
    )
    why = entries(project, "unanswered")[-1].data["text"]
    assert f"no judgement yet: {why}" in waits_for("tiny", project.ledger, 1)


def test_a_quiet_day_costs_nothing(tmp_path: Path, server: ChatServer) -> None:
    """24 ticks over a healthy but noisy run, with prose that asks for judgement: no question, no call."""
    project = make(tmp_path, server, config={"optimizer": {"lr": 0.05}, "steps": 100_000, "noise": 0.15})
    starts = project.folder.attempt(1)
    wait_for(lambda: lives(project), 60.0, "no heartbeat told of the trainer")
    reports = []
    for hour in range(1, 25):
        reached = partial(_has_logged, starts, 20 * hour)
        wait_for(reached, 30.0, f"the run never came to step {20 * hour}")
        reports.append(tick(project))
    project.end()
    assert entries(project, "question", "answered", "unanswered") == []
    assert server.asked == []
    assert {report.code for report in reports} == {0}
    assert {report.health.verdict for report in reports} == {"running"}
    assert len(entries(project, "observed")) == 24


def _has_logged(attempt: AttemptDir, steps: int) -> bool:
    return len(collect(attempt.starts(), None).series.get("lr", ())) >= steps


def test_every_tick_asks_only_when_there_is_something_new(tmp_path: Path, server: ChatServer) -> None:
    server.says(say("All is well."))
    project = make(tmp_path, server, ask="every-tick", config={"optimizer": {"lr": 0.05}, "steps": 60})
    project.wait_for_exit(1)
    reports = [tick(project) for _ in range(3)]
    assert len(server.asked) == 1
    assert {report.code for report in reports} == {0}


def test_a_person_who_cancels_while_the_model_thinks_has_the_last_word(tmp_path: Path, server: ChatServer) -> None:
    from ade_hpc.launch.cancel import cancel

    project = make(tmp_path, server)

    def think(asked: object, number: int) -> Any:
        cancel(project.folder, project.scheduler, who="anna")
        return DOWN if number == 0 else say("Then not.")

    server.script = think
    report = tick_until_trouble(project)
    assert report.decision is not None
    assert report.decision.outcome == "refuse"
    assert len(project.folder.attempts()) == 1


def test_a_submission_that_is_begun_while_the_model_thinks_is_not_met_by_another(
    tmp_path: Path, server: ChatServer
) -> None:
    """Somebody's `submit` has announced attempt 2 and is about to call sbatch."""
    project = make(tmp_path, server)

    def think(asked: object, number: int) -> Any:
        plan = Plan(2, new_token(project.folder.name, 2), project.kind, "person:anna", "submitted")
        append(project.folder.ledger, "intent", plan.to_json(), now=time.time())
        return DOWN

    server.script = think
    report = tick_until_trouble(project)
    assert not report.done
    assert len(entries(project, "intent")) == 2
    assert [attempt.number for attempt in project.folder.attempts()] == [1]


# --- mode propose -------------------------------------------------------------------------------------------------


@pytest.fixture
def proposed(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in which a proposal of the model waits."""
    project = make(tmp_path, server, mode="propose")
    monkeypatch.setenv("ADE_REGISTRY", str(project.registry))
    report = tick_until_trouble(project)
    assert report.decision is not None
    assert report.decision.outcome == "propose"
    assert len(project.folder.attempts()) == 1
    return project


def test_a_proposal_waits_for_a_person_and_is_then_carried_out(proposed: Project, server: ChatServer) -> None:
    asked = len(server.asked)
    assert tick(proposed).code == 4
    assert len(entries(proposed, "waiting")) == 1
    wishes.answer("tiny", "approve")
    report = tick(proposed)
    assert report.done.startswith("resubmitted")
    assert report.code == 0
    record = load_attempt(proposed.folder.attempt(2))
    assert record is not None
    assert record.changes[0].new == 0.05
    assert len(server.asked) == asked
    assert len(proposed.folder.attempts()) == 2


def test_a_rejected_proposal_is_not_made_again(proposed: Project, server: ChatServer) -> None:
    wishes.answer("tiny", "reject")
    for _ in range(2):
        tick(proposed)
    assert len(proposed.folder.attempts()) == 1
    with pytest.raises(Exception, match="nothing of tiny waits"):
        wishes.answer("tiny", "approve")


def test_approval_is_judged_again_by_what_holds_now(proposed: Project) -> None:
    """The person has narrowed the range since: their last word counts."""
    path = proposed.path / "preferences.md"
    path.write_text(path.read_text().replace("min: 1.0e-4", "min: 0.1"))
    wishes.answer("tiny", "approve")
    report = tick(proposed)
    assert report.decision is not None
    assert report.decision.outcome == "refuse"
    assert "outside" in report.decision.refusals[0]
    assert len(proposed.folder.attempts()) == 1


def test_revert_takes_the_last_change_back(proposed: Project) -> None:
    wishes.answer("tiny", "approve")
    tick(proposed)
    wishes.revert("tiny")
    report = tick(proposed)
    assert report.done.startswith("resubmitted")
    record = load_attempt(proposed.folder.attempt(3))
    assert record is not None
    assert (record.changes[0].old, record.changes[0].new) == (0.05, 0.5)
    assert record.author.startswith("person:")
    assert proposed.git("diff", "HEAD", "ade/tiny") == ""


# --- what stays out -----------------------------------------------------------------------------------------------


def test_no_secret_is_left_anywhere(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries in the environment, in the trainer's output, and from a server that gives our own header back."""
    canaries = {"OPENAI_API_KEY": KEY, "WANDB_API_KEY": "canary-wandb-5f2", "MY_SECRET": "canary-secret-9a1"}
    for name, value in canaries.items():
        monkeypatch.setenv(name, value)
    leaks = " ".join(canaries.values())
    canaries["PLAIN_SETTING"] = "canary-plain-77c"  # no secret by its name, and nobody's business
    monkeypatch.setenv("PLAIN_SETTING", canaries["PLAIN_SETTING"])
    server.says(
        fail(500, message=leaks),
        call(
            ("check_job_health", {}),
            ("write_memory", {"text": f"The key is {leaks}"}),
            ("modify_config", {"key": leaks, "value": leaks, "reason": leaks}),
            ("modify_config", {"key": "optimizer.lr", "value": leaks, "reason": leaks}),
        ),
        call(("modify_config", {"key": "optimizer.lr", "value": 0.05, "reason": f"because {leaks}"})),
    )
    project = make(tmp_path, server)
    trainer = project.folder.attempt(1).logs / "99.out"
    trainer.write_text(f"starting with {leaks}\n")
    report = tick_until_trouble(project)
    assert report.done.startswith("resubmitted")
    project.wait_for_exit(2)
    trainer.unlink()

    everything = [path for path in project.folder.path.rglob("*") if path.is_file()]
    texts = {str(path): path.read_bytes() for path in everything}
    texts["git"] = project.git("log", "--all", "--patch", "--format=%B").encode()
    texts["prompts"] = "".join(asked.text for asked in server.asked).encode()
    texts["report"] = repr(report).encode()
    texts["traceback"] = traceback_of(leaks, tmp_path)
    found = [(name, value) for name, text in texts.items() for value in canaries.values() if value.encode() in text]
    assert found == []
    assert any(asked.headers["authorization"] == f"Bearer {KEY}" for asked in server.asked)


def traceback_of(words: str, folder: Path) -> bytes:
    """What the program keeps of a fault of its own, here one that says these words."""
    code = (
        "import sys\n"
        "from ade_hpc.cli import entry\n"
        "def fails(words): raise RuntimeError(words[0])\n"
        "entry.start = fails\n"
        "entry.run()\n"
    )
    argv = [sys.executable, "-c", code, words]
    env = {**environment(), "TMPDIR": str(folder)}
    done = subprocess.run(argv, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "internal error (RuntimeError)" in done.stderr
    kept = Path(done.stderr.split()[-1]).read_bytes()
    assert b"Traceback" in kept
    return kept + done.stderr.encode()


def test_langchain_is_loaded_only_when_a_question_is_asked(tmp_path: Path, server: ChatServer) -> None:
    project = make(tmp_path, server)
    tick_until_trouble(project, llm=False)
    code = (
        "import sys, json\n"
        "from ade_hpc.cli.main import app\n"
        "for argv in (['tick', '--no-llm'], ['status']):\n"
        "    try: app(argv)\n"
        "    except SystemExit: pass\n"
        "print(json.dumps([m for m in sys.modules if m.partition('.')[0].startswith(('lang', 'openai'))]))\n"
    )
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ADE_REGISTRY": str(project.registry)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
