# SPDX-License-Identifier: Apache-2.0
"""Whatever a model or its server does ends in a judgement or in "no judgement this time", in time and with a reason.

Every case is one that LangChain by itself turns into something else: silence, a normal-looking message, 90 s of sleep.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from ade_hpc.agent.budget import Allowance
from ade_hpc.agent.model import MAX_OUTPUT_TOKENS, NoJudgement, chat_model, key_from
from ade_hpc.agent.run import ask
from ade_hpc.spec.site import Llm
from tests.agent.situations import TEXT, consult, guard, situation
from tests.support.chat_server import KEY, ChatServer, Reply, call, chat_server, fail, say, tool_answers, wait

DOWN = call(("modify_config", {"key": "optimizer.lr", "value": 0.05, "reason": "flat"}))


@pytest.mark.parametrize(
    ("reply", "reason", "requests", "charged"),
    [
        (fail(500), "HTTP status 500", 2, 0),
        (fail(503), "HTTP status 503", 2, 0),
        (fail(429), "HTTP status 429", 2, 0),
        (fail(400, message="no such model"), "no such model", 1, 0),
        (fail(401), "HTTP status 401", 1, 0),
        (fail(404), "HTTP status 404", 1, 0),
        (Reply(b"<html>a proxy</html>", kind="text/html"), "can't be used", 1, 1),
        (Reply(b"<html>a proxy</html>"), "not JSON", 2, 2),
        (Reply(b"{"), "not JSON", 2, 2),
        (Reply(b"[]"), "can't be used", 1, 1),
        (Reply(b"{}"), "can't be used", 1, 1),
        (Reply(b'{"choices": []}'), "can't be used", 1, 1),
        (Reply(b'{"choices": [{"message": {"role": "assistant", "content": 7}}]}'), "can't be used", 1, 1),
        (Reply(b"", drop=True), "broke the connection off", 2, 2),
        (say(""), "empty", 1, 1),
        (say(None), "empty", 1, 1),
        (say(None, refusal="I would rather not"), "declined", 1, 1),
        (call(("restart_job", "[1]")), "can't be used", 1, 1),
    ],
)
def test_a_failure_is_no_judgement_with_its_reason(
    tmp_path: Path, reply: Reply, reason: str, requests: int, charged: int
) -> None:
    """charged: how many of the calls may be on the bill; a status of failure is on nobody's."""
    with chat_server(reply) as server:
        judgement = consult(situation(tmp_path / "x.png"), server)
    assert judgement.outcome == "failed"
    assert reason in judgement.text
    assert judgement.decision is None
    assert len(server.asked) == requests
    assert sum(usage.calls for usage in judgement.usage.values()) == charged


def test_a_passing_failure_is_overcome(tmp_path: Path) -> None:
    with chat_server(fail(429, retry_after="0"), say("Wait for more data.")) as server:
        judgement = consult(situation(tmp_path / "x.png"), server)
    assert (judgement.outcome, judgement.text) == ("answered", "Wait for more data.")


def test_a_long_retry_after_is_not_obeyed(tmp_path: Path) -> None:
    """The client would sleep for 90 s, whatever timeout it was given."""
    started = time.monotonic()
    with chat_server(fail(429, retry_after="90")) as server:
        judgement = consult(situation(tmp_path / "x.png"), server)
    assert judgement.outcome == "failed"
    assert "wait 90 s" in judgement.text
    assert len(server.asked) == 1
    assert time.monotonic() - started < 45


@pytest.mark.parametrize("reply", [wait(30), Reply(say("x").body, drip=0.2)], ids=["hangs", "drips"])
def test_a_server_that_takes_for_ever_is_left_in_time(tmp_path: Path, reply: Reply) -> None:
    """One byte every 0.2 s never trips the timeout of a client: each read succeeds."""
    started = time.monotonic()
    with chat_server(reply) as server:
        judgement = consult(situation(tmp_path / "x.png"), server, seconds=1.5)
        assert time.monotonic() - started < 25
    assert judgement.outcome == "failed"
    assert "in time" in judgement.text


@pytest.mark.parametrize("timeout", ["1s", "60s"], ids=["by its client", "by the deadline"])
def test_a_call_that_is_left_without_an_answer_is_charged_as_estimated(tmp_path: Path, timeout: str) -> None:
    """Its provider bills it, whether anybody waits for the end or not."""
    with chat_server(wait(30)) as server:
        judgement = consult(situation(tmp_path / "x.png"), server, seconds=3, timeout=timeout)
        sent = len(json.dumps(server.asked[0].messages))
    assert "in time" in judgement.text
    used = judgement.usage["scripted"]
    assert (len(server.asked), used.calls, used.output) == (1, 1, MAX_OUTPUT_TOKENS)
    assert sent / 5 < used.input < sent


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_who_was_never_reached_bills_nothing(tmp_path: Path, scheme: str) -> None:
    """Nobody listens; or somebody does, and no connection comes about in time, as behind a firewall."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        if scheme == "https":
            port.listen()
        address = f"{scheme}://127.0.0.1:{port.getsockname()[1]}/v1"
        silent = ChatServer(lambda asked, number: fail(500), url=address)
        judgement = consult(situation(tmp_path / "x.png"), silent, seconds=5, timeout="2s")
    assert judgement.outcome == "failed"
    assert "can't be reached" in judgement.text
    assert judgement.usage == {}


def test_malformed_arguments_are_told_to_the_model(tmp_path: Path) -> None:
    """LangChain ends the loop here, silently."""
    with chat_server(call(("modify_config", '{"key": "optimizer.lr", "value": 0.05')), DOWN) as server:
        judgement = consult(situation(tmp_path / "x.png"), server)
    assert "not valid JSON" in tool_answers(server.asked)[0]
    assert judgement.decision is not None
    assert judgement.decision.outcome == "allow"


def test_a_malformed_call_beside_a_good_one_stops_neither(tmp_path: Path) -> None:
    with chat_server(call(("check_job_health", "{"), ("check_tensorboard", {})), say("Wait.")) as server:
        judgement = consult(situation(tmp_path / "x.png"), server)
    assert judgement.text == "Wait."
    answers = tool_answers(server.asked)
    assert sum("not valid JSON" in answer for answer in answers) == 1
    assert sum("accuracy/val" in answer for answer in answers) == 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("delete_everything", {}),
        ("modify_config", {"key": "optimizer.lr", "value": 0.05, "reason": "x", "force": True}),
        ("modify_config", {"key": "optimizer.lr", "reason": "x"}),
        ("modify_config", {"key": ["optimizer.lr"], "value": 0.05, "reason": "x"}),
        ("restart_job", {"reason": "x", "resume": "../../attempts/0001/start"}),
        ("check_tensorboard", {"tags": "all of them"}),
        ("restart_job", "null"),
    ],
)
def test_a_call_of_another_shape_is_told_to_the_model_and_does_nothing(
    tmp_path: Path, name: str, arguments: dict[str, object] | str
) -> None:
    """An argument that the tool does not know would be dropped, and the tool would run."""
    with chat_server(call((name, arguments)), say("Then wait.")) as server:
        judgement = consult(situation(tmp_path / "x.png"), server)
    assert judgement.text == "Then wait."
    assert judgement.decisions == ()
    assert len(tool_answers(server.asked)) == 1


def test_a_tool_that_fails_is_told_to_the_model(tmp_path: Path) -> None:
    """An exception in a tool would end the run: here no picture can be drawn, because a file stands in the way."""
    (tmp_path / "plots").write_text("")
    with chat_server(call(("check_tensorboard", {})), DOWN) as server:
        judgement = consult(situation(tmp_path / "plots" / "x.png"), server)
    assert "this tool failed" in tool_answers(server.asked)[0]
    assert judgement.decision is not None
    assert judgement.decision.outcome == "allow"


def test_a_model_that_never_stops_is_stopped_and_its_calls_are_counted(tmp_path: Path) -> None:
    with chat_server(call(("check_tensorboard", {}), tokens=(900, 20))) as server:
        judgement = consult(situation(tmp_path / "x.png"), server)
    assert judgement.outcome == "spent"
    assert len(server.asked) <= 6
    assert sum(usage.tokens for usage in judgement.usage.values()) <= 15_000


def test_ten_thousand_calls_in_one_message_are_no_judgement(tmp_path: Path) -> None:
    flood = call(*[("modify_config", {"key": "optimizer.lr", "value": 0.05, "reason": "x"})] * 10_000)
    with chat_server(flood) as server:
        judgement = consult(situation(tmp_path / "x.png"), server)
    assert judgement.outcome == "failed"
    assert judgement.decision is None
    assert len(server.asked) == 1


def test_without_a_key_it_says_what_to_set(tmp_path: Path) -> None:
    one = situation(tmp_path / "x.png")
    judgement = ask(one, guard(one), Allowance(), Llm(), {}, seconds=5)
    assert judgement.outcome == "failed"
    assert "OPENAI_API_KEY" in judgement.text


def test_another_provider_is_reached_by_its_own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's is a part of langchain-openai, so it is here: other addresses, another header, the same judgement."""
    text = TEXT.replace("model: scripted", "model: azure_openai:scripted").replace(
        ", vision_model: scripted-vision", ""
    )
    one = situation(tmp_path / "x.png", text=text)
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-01-01")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    with chat_server(DOWN) as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url)
        judgement = ask(one, guard(one), Allowance(), Llm(), {}, seconds=60)
    assert judgement.decision is not None
    assert judgement.decision.proposal.author == "model:azure_openai:scripted"
    assert server.asked[0].headers["api-key"] == KEY


def test_a_provider_without_its_package_says_which(tmp_path: Path) -> None:
    with pytest.raises(NoJudgement, match="pip install langchain-mistralai"):
        chat_model("mistralai:small", Llm(), {}, timeout_s=5)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-from-a-file-123\nmore\n")
    path.chmod(0o600)
    assert key_from(path) == "sk-from-a-file-123"
    path.chmod(0o640)
    with pytest.raises(NoJudgement, match="chmod 600"):
        key_from(path)
