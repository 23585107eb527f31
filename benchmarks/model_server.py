# SPDX-License-Identifier: Apache-2.0
"""A small language model behind a chat API on loopback: ``python model_server.py MODEL.gguf SEED``.

Runs in an environment of its own, which has llama-cpp-python and nothing of ours. A model of this size never calls a
tool by itself, it talks; so each answer is forced to be the call of one tool, drawn by lot, with the arguments that
the model makes up within the tool's JSON schema. Left alone it also makes up every key, so that nothing but one bound
would ever be tried: half of the changes are of a key that the prompt names, to a number. The first line on stdout is
the address.
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

CONTEXT_TOKENS = 8192
ANSWER_TOKENS = 160  # longer arguments are cut off, and then are no JSON: that happens to real models too
OFTEN = {"modify_config": 6, "restart_job": 2, "write_memory": 2}


class Handler(BaseHTTPRequestHandler):
    """Answers chat completions, one at a time."""

    wbufsize = -1
    protocol_version = "HTTP/1.1"
    llama: llama_cpp.Llama
    dice: np.random.Generator

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps(self.answer(body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def answer(self, body: dict[str, Any]) -> Any:
        messages = [_plain(message) for message in body["messages"]]
        return self.llama.create_chat_completion(
            messages,
            max_tokens=ANSWER_TOKENS,
            temperature=1.0,
            seed=int(self.dice.integers(2**31)),
            **self.forced(body.get("tools") or [], messages[0]["content"]),
        )

    def forced(self, tools: list[dict[str, Any]], prompt: str) -> dict[str, Any]:
        """The one tool that this answer has to call; nothing where there are no tools."""
        if not tools:
            return {}
        lots = np.array([OFTEN.get(tool["function"]["name"], 1) for tool in tools])
        tool = tools[self.dice.choice(len(tools), p=lots / lots.sum())]
        named = re.findall(r"^tunable: ([^,]+),", prompt, re.MULTILINE)
        if tool["function"]["name"] == "modify_config" and named and self.dice.random() < 0.5:
            tool["function"]["parameters"]["properties"] |= {"key": {"enum": named}, "value": {"type": "number"}}
        return {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": tool["function"]["name"]}}}

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
    Handler.llama = llama_cpp.Llama(
        model_path=str(Path(model)), n_ctx=CONTEXT_TOKENS, n_threads=1, n_threads_batch=1, verbose=False
    )
    Handler.dice = np.random.default_rng(int(seed))
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
