# SPDX-License-Identifier: Apache-2.0
"""preferences.md: what the researcher wants. The prose is what the agent reads; the YAML is what the guard enforces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ade_hpc.errors import Problem, SpecError
from ade_hpc.spec.document import Document, Place, Plain, parse
from ade_hpc.spec.files import check_ownership, decode, read_bytes
from ade_hpc.spec.markdown import Block, split_markdown
from ade_hpc.spec.preference_checks import across
from ade_hpc.spec.preference_fields import PreferencesFile
from ade_hpc.spec.schema import as_tuples, validate

__all__ = ["Preferences", "check_ownership", "load_preferences", "parse_preferences", "read_preferences"]


class Preferences(PreferencesFile):
    """The blocks of all of preferences.md, with the prose around them. ``Preferences()`` watches and changes nothing.

    sha256: of the file's bytes, for the ledger: which wishes held when something was decided.
    """

    prose: str = ""
    sha256: str = ""
    file: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only; ``from_json`` restores an equal object."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preferences:
        """Raises pydantic's ValidationError where ``value`` is damaged or from another version."""
        return cls.model_validate(as_tuples(value))


@dataclass(frozen=True)
class PreferencesReading:
    """What was found in the file. ``preferences`` is the part that is right, also where ``problems`` has errors."""

    document: Document
    preferences: Preferences | None
    problems: tuple[Problem, ...]


def load_preferences(path: Path) -> Preferences:
    """Read preferences.md. Raises SpecError with every problem found. See also ``check_ownership``."""
    content = read_bytes(path)
    preferences = parse_preferences(decode(content, path), str(path))
    return preferences.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})


def parse_preferences(text: str, file: str) -> Preferences:
    """As ``load_preferences``, for a text that is at hand. Raises SpecError."""
    reading = read_preferences(text, file)
    errors = [problem for problem in reading.problems if not problem.warning]
    if errors or reading.preferences is None:
        raise SpecError(errors)
    return reading.preferences


def read_preferences(text: str, file: str) -> PreferencesReading:
    """As ``parse_preferences``, with warnings, and going on after errors."""
    prose, blocks = split_markdown(text)
    document = _join(blocks, file)
    found = validate(PreferencesFile, document.data, document)
    problems = [*document.problems, *found.problems]
    preferences = None
    if found.value is not None:
        problems += across(found.value, document, found.bad)
        values = {name: getattr(found.value, name) for name in PreferencesFile.model_fields}
        sha256 = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
        preferences = Preferences.model_construct(**values, prose=prose, sha256=sha256, file=file)
    return PreferencesReading(document, preferences, tuple(sorted(problems, key=lambda problem: problem.line)))


def _join(blocks: Sequence[Block], file: str) -> Document:
    """All YAML blocks as one document, as if their keys stood in one mapping."""
    data: dict[str, Plain] = {}
    lines: dict[Place, int] = {(): 1}
    texts: dict[Place, str] = {}
    problems: list[Problem] = []
    broken: frozenset[Place] = frozenset()
    for block in blocks:
        if block.language != "yaml":
            problems += _forgotten(block, file)
            continue
        if not block.closed:
            problems.append(Problem(file, block.first_line - 1, "this yaml block is never closed: end it with ```"))
            continue
        try:
            part = parse(block.text, file, first_line=block.first_line)
        except SpecError as error:
            problems += error.problems
            continue
        problems += part.problems
        if isinstance(part.data, dict):
            problems += _given_twice(part, lines)
            new = part.data.keys() - data.keys()  # where a key is given twice, the first counts
            data |= {key: part.data[key] for key in new}
            lines |= {place: line for place, line in part.lines.items() if place and place[0] in new}
            texts |= {place: text for place, text in part.texts.items() if place[0] in new}
            broken |= part.broken
        elif part.data is not None:
            problems.append(part.problem((), "a yaml block must hold `key: value` lines"))
    return Document(file, data, lines, texts, tuple(problems), broken)


def _given_twice(part: Document, lines: Mapping[Place, int]) -> Iterator[Problem]:
    """A problem for each key of this block that an earlier one has given, at ``lines``, already."""
    for place, line in part.lines.items():
        if len(place) == 1 and place in lines:
            both = f"in lines {lines[place]} and {line}"
            yield part.problem(place, f"the key `{place[0]}` is given twice, {both}: keep one")


def _forgotten(block: Block, file: str) -> list[Problem]:
    """A block without a language that begins with one of our keys would silently not count."""
    word = block.text.lstrip().partition(":")[0]
    if block.language or word not in PreferencesFile.model_fields:
        return []
    message = f"this block holds `{word}:` but isn't marked as yaml, so it doesn't count: begin it with ```yaml"
    return [Problem(file, block.first_line - 1, message, warning=True)]
