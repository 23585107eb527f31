# SPDX-License-Identifier: Apache-2.0
"""Text from untrusted files, made fit for a terminal, a page, a plot or a prompt.

Tags, notes and paths come from whoever wrote the event file: an escape sequence could repaint a terminal, a
bidirectional override could turn a sentence round, a newline could forge a line of a report.
"""

from __future__ import annotations

import re
import unicodedata

# CSI, OSC and the other escape sequences of ECMA-48, with either the 7-bit or the 8-bit introducer.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)


def printable(text: str, limit: int = 120) -> str:
    """``text`` on one line of ``limit`` characters at the most, without control and bidirectional characters."""
    clean = _ESCAPES.sub("", text[: 20 * limit])
    clean = "".join(_shown(character) for character in clean)
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _shown(character: str) -> str:
    """The character itself, a space for white space, nothing for what would act instead of show."""
    category = unicodedata.category(character)
    if category[0] == "Z" or character in "\t\n\r\v\f":
        return " "
    return "" if category[0] == "C" else character
