# SPDX-License-Identifier: Apache-2.0
"""Split a Markdown text into its prose and its fenced YAML blocks, with the line at which each block begins.

Fences as CommonMark has them (section 4.5), but taken at any indentation: a block inside a list item that silently
did not count would be a limit that silently does not hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>.*)")
_LANGUAGE = re.compile(r"[{.\s]*(\w*)")
_BREAK = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Block:
    """One fenced block. ``first_line`` (from 1) is that of its first line of text; ``closed`` is its fence."""

    language: str
    text: str
    first_line: int
    closed: bool = True


def split_markdown(text: str) -> tuple[str, tuple[Block, ...]]:
    """The prose without its YAML blocks, and all fenced blocks in order, YAML or not."""
    prose: list[str] = []
    blocks: list[Block] = []
    lines = _BREAK.split(text)
    at = 0
    while at < len(lines):
        opening = _opening(lines[at])
        if opening is None:
            prose.append(lines[at])
            at += 1
            continue
        block, end = _read_block(lines, at, opening)
        blocks.append(block)
        if block.language != "yaml":
            prose += lines[at:end]
        at = end
    return "\n".join(prose).strip(), tuple(blocks)


def _opening(line: str) -> re.Match[str] | None:
    match = _FENCE.fullmatch(line)
    if match and match["mark"].startswith("`") and "`" in match["info"]:
        return None  # ```code``` on one line is not a fence
    return match


def _read_block(lines: list[str], at: int, opening: re.Match[str]) -> tuple[Block, int]:
    """The block that opens at ``lines[at]``, and the index of the line after it."""
    closing = re.compile(rf"[ \t]*{re.escape(opening['mark'][0])}{{{len(opening['mark'])},}}[ \t]*")
    end = next((n for n in range(at + 1, len(lines)) if closing.fullmatch(lines[n])), len(lines))
    indent = opening["indent"]
    text = "\n".join(line.removeprefix(indent) for line in lines[at + 1 : end])
    return Block(_language(opening["info"]), text, at + 2, end < len(lines)), end + 1


def _language(info: str) -> str:
    """``yaml``, ``YAML``, ``yml``, ``{.yaml}`` and ``yaml title="limits"`` are all YAML."""
    match = _LANGUAGE.match(info)
    word = match[1].lower() if match else ""
    return "yaml" if word == "yml" else word
