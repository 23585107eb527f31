# SPDX-License-Identifier: Apache-2.0
"""A small language model behind a chat API on loopback: ``python model_server.py MODEL.gguf SEED``.

Runs in an environment of its own, which has xllamacpp and nothing of ours. A model of this size never calls a tool by
itself, it talks; so each answer is forced to be the call of one tool, drawn by lot, with the arguments that the model
makes up within the tool's JSON schema. Left alone it also makes up every key, so that nothing but one bound would ever
be tried: half of the changes are of a key that the prompt names, to a number. The first line on stdout is the address.
"""

from __future__ import annotations

import json
import random
import re
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import xllamacpp

CONTEXT_TOKENS = 8192
ANSWER_TOKENS = 160  # longer arguments are cut off, and then are no JSON: that happens to real models too
OFTEN = {"modify_config": 6, "restart_job": 2, "write_memory": 2}


class Handler(BaseHTTPRequestHandler):
    """Answers chat completions, one at a time, each on a connection of its own: a second client would else wait."""

    wbufsize = -1
    llama: xllamacpp.Server
    dice: random.Random

    def do_POST(self) -> None:
        answer = self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        text = json.dumps(answer).encode()
        self.send_response(200 if "choices" in answer else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        request = {
            "messages": [_plain(message) for message in body["messages"]],
            "max_tokens": ANSWER_TOKENS,
            "temperature": 1.0,
            "seed": self.dice.randrange(2**31),
        }
        tool = self.drawn(body.get("tools") or [], request["messages"][0]["content"])
        if tool is None:
            return self.llama.handle_chat_completions(request)
        request["response_format"] = {"type": "json_schema", "json_schema": {"schema": tool["parameters"]}}
        answer = self.llama.handle_chat_completions(request)
        for choice in answer.get("choices", ()):
            made = {"name": tool["name"], "arguments": choice["message"].pop("content")}
            call = {"id": f"call_{self.dice.randrange(2**31)}", "type": "function", "function": made}
            choice["message"] |= {"content": None, "tool_calls": [call]}
            choice["finish_reason"] = "tool_calls"
        return answer

    def drawn(self, tools: list[dict[str, Any]], prompt: str) -> dict[str, Any] | None:
        """The one tool that this answer has to call; None where there are no tools."""
        if not tools:
            return None
        every = [one["function"] for one in tools]
        tool = self.dice.choices(every, [OFTEN.get(one["name"], 1) for one in every])[0]
        named = re.findall(r"^tunable: ([^,]+),", prompt, re.MULTILINE)
        if tool["name"] == "modify_config" and named and self.dice.random() < 0.5:
            tool["parameters"]["properties"] |= {"key": {"enum": named}, "value": {"type": "number"}}
        return tool

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """The one line on stdout is the address."""


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """The template of this model knows three roles and text: calls and their answers are told as text."""
    content = message.get("content") or ""
    if isinstance(content, list):
        content = " ".join(part.get("text", "") for part in content)
    for call in message.get("tool_calls") or ():
        content += f"\n{call['function']['name']} {call['function']['arguments']}"
    role = message["role"] if message["role"] in ("system", "assistant") else "user"
    return {"role": role, "content": content}


def main(model: str, seed: str) -> None:
    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.n_ctx, settings.n_parallel, settings.warmup = CONTEXT_TOKENS, 1, False
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    Handler.llama, Handler.dice = xllamacpp.Server(settings), random.Random(int(seed))  # noqa: S311 - lots, no secrets
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
