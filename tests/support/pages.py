# SPDX-License-Identifier: Apache-2.0
"""What the pages for people hold: blocks of commands, blocks of YAML, and commands within the text."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").glob("*.md"))]
SHELL = ("bash", "sh", "console")
# What a page says of the next block, to the tests and not to its readers: <!-- tested: as written -->
_BLOCK = re.compile(
    r"(?:^<!-- tested: (?P<how>[^\n]*?) -->\n\n?)?^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?:(?: {4}[^\n]*|[ \t]*)\n)+")


@dataclass(frozen=True)
class Block:
    """One block of code. language: of its fence; empty where it is indented. how: what a comment before it says."""

    page: Path
    line: int
    language: str
    text: str
    how: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(TOP)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a page, as words of a shell. in_text: it may be only the command's name."""

    where: str
    words: tuple[str, ...]
    in_text: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {shlex.join(self.words)}"


def blocks(page: Path) -> list[Block]:
    """All blocks of code of a page, fenced or indented, in their order."""
    text = page.read_text()

    def block(match: re.Match[str]) -> Block:
        groups = match.groupdict()
        line = text.count("\n", 0, match.start()) + 1
        if groups:
            return Block(page, line, groups["language"], groups["text"], groups["how"] or "")
        return Block(page, line, "", "\n".join(one.removeprefix("    ") for one in match[0].splitlines()))

    fenced = list(_BLOCK.finditer(text))
    spaced = _BLOCK.sub(lambda match: "\n" * match[0].count("\n") + " " * (len(match[0]) - match[0].count("\n")), text)
    indented = [one for one in _INDENTED.finditer(spaced) if one[0].strip() and one[0].lstrip("\n").startswith("    ")]
    return [block(match) for match in sorted([*fenced, *indented], key=lambda match: match.start())]


def commands() -> list[Command]:
    """Every command of every page: the lines of its blocks, and `ade-hpc ...` in the text (in bold: a message)."""
    return list(itertools.chain.from_iterable(map(_commands, PAGES)))


def _commands(page: Path) -> Iterator[Command]:
    for block in blocks(page):
        if block.language in SHELL or (not block.language and _looks_like_shell(block.text)):
            yield from _lines(str(block), block.text)
    prose = _BLOCK.sub("", page.read_text())
    for code in re.findall(r"(?<!\*\*)`(ade-hpc [^`]+)`", prose):
        yield from _lines(str(page.relative_to(TOP)), code.replace("\n", " "), in_text=True)


def _looks_like_shell(text: str) -> bool:
    return bool(re.match(r"(ade-hpc|scripts/|sudo |touch |ADE_)", text.strip()))


def _lines(where: str, text: str, *, in_text: bool = False) -> Iterator[Command]:
    """One command for each that a line holds: `a && b`, `a | b`."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        for separator, group in itertools.groupby(words, lambda word: word in ("&&", "||", "|", ";")):
            if not separator:
                yield Command(where, tuple(group), in_text)
