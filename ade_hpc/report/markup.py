# SPDX-License-Identifier: Apache-2.0
"""Text from outside as it may stand in the page: control characters out, HTML escaped, bounded."""

from __future__ import annotations

import html
import time

from ade_hpc.metrics.text import printable


def safe(text: object, limit: int = 120) -> str:
    return html.escape(printable(str(text), limit))


def verbatim(line: str) -> str:
    """A line of a diff: its white space stays, what would act instead of show goes."""
    return html.escape("".join(one if one.isprintable() else " " if one == "\t" else "\ufffd" for one in line[:300]))


def coded(text: str, limit: int = 900) -> str:
    """What stands in back-ticks is a command."""
    parts = safe(text, limit).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def clock(seconds: float, *, zone: bool = False) -> str:
    form = "%Y-%m-%d %H:%M %Z" if zone else "%m-%d %H:%M:%S"
    return html.escape(time.strftime(form, time.localtime(seconds)))
