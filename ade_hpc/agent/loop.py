# SPDX-License-Identifier: Apache-2.0
"""What LangChain's agent loop must not do by itself: run on, end silently, or take a failure for an answer.

Measured on LangChain 1.4: a tool call with malformed JSON ends the agent without a word; a retry that gives up
becomes an ordinary message; limits end in a message that looks like a judgement. So this one middleware holds the
budget, sorts the answers, and raises where there is none.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import BaseModel

from ade_hpc.agent.model import Caller, NoJudgement
from ade_hpc.agent.redact import Redactor
from ade_hpc.agent.tools import Desk
from ade_hpc.metrics.text import printable

MAX_TOOL_CALLS = 8  # in one message; there are only seven tools
TOOL_ANSWER_LIMIT = 8_000
BYTES_A_TOKEN = 3  # English has about four; the estimate must not be too low
MESSAGE_TOKENS = 8
TOOL_FRAME = 100  # bytes of JSON around a tool's name, description and schema


class Bounds(AgentMiddleware[AgentState[Any], None, Any]):
    """Budget and deadline around each call of the model, and an end for everything that is no answer."""

    def __init__(self, caller: Caller, desk: Desk, name: str, redact: Redactor) -> None:
        super().__init__()
        self._caller, self._desk, self._model, self._redact = caller, desk, name, redact

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: AgentState[Any], runtime: Runtime[None]) -> dict[str, Any] | None:
        """A proposal that was let through is the judgement: nothing more needs to be paid for."""
        return {"jump_to": "end"} if self._desk.decided else None

    def wrap_model_call(
        self, request: ModelRequest[None], handler: Callable[[ModelRequest[None]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        response = self._caller.call(self._model, estimate(request), lambda: handler(request), _message_of)
        message = _message_of(response)
        return response if message is None else ModelResponse([_clean(message, self._redact)])

    @hook_config(can_jump_to=["model"])
    def after_model(self, state: AgentState[Any], runtime: Runtime[None]) -> dict[str, Any] | None:
        message = state["messages"][-1]
        if not isinstance(message, AIMessage):
            return None
        asked = len(message.tool_calls) + len(message.invalid_tool_calls)
        if asked > MAX_TOOL_CALLS:
            raise NoJudgement(f"the model called {asked} tools at once")
        if not asked:
            self._check_words(message)
        if not message.invalid_tool_calls:
            return None
        update: dict[str, Any] = {"messages": [_unreadable(call) for call in message.invalid_tool_calls]}
        return update if message.tool_calls else {**update, "jump_to": "model"}

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """What a tool raises is for the model to read; it must not end the run. Answers have a length."""
        try:
            answer = handler(request)
        except Exception as error:  # noqa: BLE001 - a fault in one tool is not the end of the judgement
            failed = f"this tool failed ({type(error).__name__})"
            return ToolMessage(failed, tool_call_id=str(request.tool_call["id"]), status="error")
        if isinstance(answer, ToolMessage):
            text = self._redact(str(answer.content))
            text = text if len(text) <= TOOL_ANSWER_LIMIT else f"{text[:TOOL_ANSWER_LIMIT]}…"
            # what LangChain says of a call that it can't make repeats the call, which may repeat a file
            answer.content = self._desk.fence(text) if answer.status == "error" else text
        return answer

    def _check_words(self, message: AIMessage) -> None:
        """A message without a tool is the model's last word: there must be one."""
        refusal = message.additional_kwargs.get("refusal")
        if refusal or message.response_metadata.get("finish_reason") == "content_filter":
            said = f": {printable(self._redact(str(refusal)), 160)}" if refusal else ""
            raise NoJudgement(f"the model declined to answer{said}")
        if not message.text.strip():
            raise NoJudgement("the model's answer was empty")


def estimate(request: ModelRequest[None]) -> int:
    """How many tokens this request may have, rather too many. The provider's own tokenizer would be a download."""
    messages: list[BaseMessage] = [*request.messages]
    if request.system_message is not None:
        messages.append(request.system_message)
    size = sum(len(_text(message).encode(errors="replace")) for message in messages)
    size += sum(_size(tool) for tool in request.tools)
    return size // BYTES_A_TOKEN + MESSAGE_TOKENS * len(messages)


def _text(message: BaseMessage) -> str:
    calls = [*message.tool_calls, *message.invalid_tool_calls] if isinstance(message, AIMessage) else []
    return f"{message.content}{calls or ''}"


def _size(tool: BaseTool | dict[str, Any]) -> int:
    """Of a tool as it is sent with every call: its name, its description, and the schema of its arguments."""
    if isinstance(tool, dict):
        return len(json.dumps(tool))
    return len(tool.name) + len(tool.description) + TOOL_FRAME + _size_of_schema(tool.args_schema)  # type: ignore[arg-type]  # ours are models


@functools.cache
def _size_of_schema(arguments: type[BaseModel]) -> int:
    """The same for every call of a process, and it takes milliseconds to find out."""
    return len(json.dumps(arguments.model_json_schema()))


def _clean(message: AIMessage, redact: Redactor) -> AIMessage:
    """What the model said without any key of ours: it goes into files, and into the next prompt."""

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return redact(value)
        if isinstance(value, dict):
            return {redact(str(key)): clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return AIMessage(
        content=clean(message.content),
        tool_calls=clean(message.tool_calls),
        invalid_tool_calls=clean(message.invalid_tool_calls),
        additional_kwargs={key: clean(value) for key, value in message.additional_kwargs.items() if key == "refusal"},
        response_metadata={"finish_reason": message.response_metadata.get("finish_reason")},
    )


def _message_of(response: ModelResponse[Any]) -> AIMessage | None:
    return next((message for message in response.result if isinstance(message, AIMessage)), None)


def _unreadable(call: Any) -> ToolMessage:
    text = "the arguments are not valid JSON; nothing was done"
    return ToolMessage(text, tool_call_id=str(call.get("id") or ""), status="error")
