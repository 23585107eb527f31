# SPDX-License-Identifier: Apache-2.0
"""A real HTTP server on loopback that speaks the chat API: scripted replies, and every way to fail."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-canary-0123456789abcdef"


@dataclass(frozen=True)
class Reply:
    """One answer. seconds: before it begins; drip: then one byte of it at a time, so slowly; drop: none at all."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    kind: str = "application/json"
    seconds: float = 0.0
    drip: float = 0.0
    drop: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.body["messages"]

    @property
    def images(self) -> list[bytes]:
        parts = [
            part for message in self.messages if isinstance(message["content"], list) for part in message["content"]
        ]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        return [base64.b64decode(url.partition("base64,")[2]) for url in urls]

    @property
    def text(self) -> str:
        return json.dumps(self.body)


Script = Callable[[Asked, int], Reply]


def say(text: str | None, *, tokens: tuple[int, int] = (1000, 50), **more: Any) -> Reply:
    """A message without tools."""
    return _message({"role": "assistant", "content": text, **more}, tokens, "stop")


def call(*calls: tuple[str, dict[str, Any] | str], tokens: tuple[int, int] = (1000, 50)) -> Reply:
    """A message that calls tools; arguments as a dict, or as the raw text that the model wrote."""
    made = [
        {
            "id": f"call_{number}_{time.monotonic_ns()}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for number, (name, given) in enumerate(calls)
    ]
    return _message({"role": "assistant", "content": None, "tool_calls": made}, tokens, "tool_calls")


def fail(status: int, *, message: str = "no", **headers: str) -> Reply:
    sent = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(json.dumps({"error": {"message": message, "type": "x", "code": "x"}}).encode(), status, sent)


def _message(message: dict[str, Any], tokens: tuple[int, int], why: str) -> Reply:
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": why}],
        "usage": usage,
    }
    return Reply(json.dumps(answer).encode())


def wait(seconds: float) -> Reply:
    return Reply(b"{}", seconds=seconds)


@dataclass(repr=False)
class ChatServer:
    """``asked`` holds every request. ``script`` may be replaced at any time."""

    script: Script
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)

    def says(self, *replies: Reply) -> None:
        """From now on: these, in this order; the last one again and again."""
        first = len(self.asked)
        self.script = lambda asked, number: replies[min(number - first, len(replies) - 1)]


class _Handler(BaseHTTPRequestHandler):
    wbufsize = -1  # else each reply takes 40 ms
    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        chat: ChatServer = self.server.chat
        length = int(self.headers.get("Content-Length", 0))
        asked = Asked(
            self.path,
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(self.rfile.read(length)),
        )
        chat.asked.append(asked)
        reply = chat.script(asked, len(chat.asked) - 1)
        chat.stopping.wait(reply.seconds)
        if reply.drop:
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        self._send(reply, chat)

    def _send(self, reply: Reply, chat: ChatServer) -> None:
        try:
            if not reply.drip:
                self.wfile.write(reply.body)
                return
            for byte in reply.body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if chat.stopping.wait(reply.drip):
                    return
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Tests are quiet."""


@contextmanager
def chat_server(*replies: Reply) -> Iterator[ChatServer]:
    """A server that gives these replies in their order, the last one again and again."""
    chat = ChatServer(lambda asked, number: fail(500))
    chat.says(*(replies or (say("Leave it."),)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.chat = chat  # type: ignore[attr-defined]  # how a handler finds its script
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        chat.stopping.set()
        server.shutdown()
        server.server_close()


def tool_answers(asked: Sequence[Asked]) -> list[str]:
    """What the tools answered, as the model read it, in the last request."""
    return [str(message["content"]) for message in asked[-1].messages if message["role"] == "tool"]
