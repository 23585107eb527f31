# SPDX-License-Identifier: Apache-2.0
"""``python -m ade_hpc.supervisor.deliver``: one message through apprise. The only place that imports it.

A process of its own, because apprise's services wait as long as they like, and because what they log may hold the
address. Reads ``{"address", "title", "text"}`` as JSON from stdin; a failure is one sentence on stdout and exit code 1.
"""

from __future__ import annotations

import json
import logging
import re
import sys


class Status(logging.Handler):
    """Keeps the HTTP status of a failure and nothing else of what apprise logs."""

    seen = ""

    def emit(self, record: logging.LogRecord) -> None:
        match = re.search(r"error=([0-9]{3})\b", record.getMessage())
        self.seen = f" (HTTP status {match[1]})" if match else self.seen


def deliver(address: str, title: str, text: str) -> str:
    """Why it did not arrive; empty where the service took it."""
    try:
        from apprise import Apprise, NotifyFormat
    except ImportError:
        return "the package apprise is missing: install ade-hpc again"
    status = Status()
    logging.getLogger("apprise").addHandler(status)
    sender = Apprise()
    if not sender.add(address) or len(sender) != 1:
        return "that is not one address that apprise knows: see its list of services"
    if sender.notify(title=title, body=text, body_format=NotifyFormat.TEXT):
        return ""
    return f"the service did not take it{status.seen}"


def main() -> int:
    message = json.load(sys.stdin)
    try:
        problem = deliver(message["address"], message["title"], message["text"])
    except Exception as error:  # noqa: BLE001 - its words may hold the address
        problem = f"apprise failed ({type(error).__name__})"
    print(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
