# SPDX-License-Identifier: Apache-2.0
"""A real HTTP server on loopback that takes what apprise posts to ``json://``, or refuses it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Listener:
    """status: what it answers. heard: the messages, oldest first. go: cleared, it answers nobody until it is set."""

    status: int = 200
    heard: list[dict[str, Any]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def texts(self) -> list[str]:
        return [str(one["message"]) for one in self.heard]

    def address(self, token: str) -> str:
        """Of apprise, with more patience than its four seconds."""
        return f"json://localhost:{self.port}/{token}?cto=60&rto=60"


@contextmanager
def listening() -> Iterator[Listener]:
    listener = Listener()
    listener.go.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            listener.heard.append(json.loads(body))
            listener.go.wait(30)
            self.send_response(listener.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.go.set()
        server.shutdown()
        server.server_close()
