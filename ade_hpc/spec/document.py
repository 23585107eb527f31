# SPDX-License-Identifier: Apache-2.0
"""A YAML text as plain values that remember their lines.

PyYAML's constructors lose what a good error needs: they drop line numbers, let the last of two equal keys win, read
``1:00:00`` as 3600 and expand aliases without bound. So the text is only *composed* into nodes, which keep their
marks, and the few plain types are built here, with a budget. Nothing but null, bool, int, float, str, list and
mapping can come out. Lists come out as tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from ade_hpc.errors import Problem, SpecError

Plain: TypeAlias = "bool | int | float | str | tuple[Plain, ...] | dict[str, Plain] | None"
Place: TypeAlias = "tuple[str | int, ...]"

MAX_DEPTH = 50
MAX_NODES = 20_000
MAX_EXPANDED_CHARS = 4_000_000  # aliases may repeat a text: four times the biggest file
MAX_DIGITS = 40
_STANDARD = "tag:yaml.org,2002:"
_MERGE = _STANDARD + "merge"


@dataclass(frozen=True)
class Document:
    """A parsed file.

    lines: the line (from 1) of each value; for a value in a mapping, that of its key.
    texts: each scalar exactly as written (``0.10``, ``yes``), for fields in which only the text counts.
    problems: what is wrong already, before any schema: duplicate keys, tags, unreadable numbers.
    broken: the places of values that have such a problem, so that a schema need not complain again.
    """

    file: str
    data: Plain
    lines: Mapping[Place, int] = field(default_factory=dict)
    texts: Mapping[Place, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    broken: frozenset[Place] = frozenset()

    def place(self, location: Place) -> Place:
        """The part of ``location`` that the file really holds (a schema may name steps that it does not)."""
        known: Place = ()
        for step in location:
            if (*known, step) in self.lines:
                known = (*known, step)
        return known

    def problem(self, location: Place, message: str, *, warning: bool = False) -> Problem:
        """A problem at ``location``, or at the nearest thing around it that the file holds."""
        return Problem(self.file, self.lines.get(self.place(location), 1), printable(message), warning)

    def verbatim(self, *fields: Place) -> Plain:
        """The data, with numbers and booleans below these fields as the text that was written."""
        return _verbatim(self.data, (), self, fields)


def _verbatim(value: Plain, place: Place, document: Document, fields: tuple[Place, ...]) -> Plain:
    if isinstance(value, dict):
        return {key: _verbatim(item, (*place, key), document, fields) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_verbatim(item, (*place, index), document, fields) for index, item in enumerate(value))
    inside = any(place != name and place[: len(name)] == name for name in fields)
    return document.texts.get(place, value) if inside and isinstance(value, bool | int | float) else value


def parse(text: str, file: str, *, first_line: int = 1, foreign_tags: bool = False) -> Document:
    """Parse one YAML document of a text.

    first_line: the line of ``file`` at which ``text`` begins.
    foreign_tags: take a value with an unknown tag as what it looks like, instead of refusing it: for a trainer's
        config, whose own loader may know more than we do.

    Raises SpecError, with one problem, where the text is not YAML at all or would expand beyond reason.
    """
    try:
        root = _compose(text)
        builder = _Builder(file, first_line, foreign_tags)
        data = builder.build(root, (), root.start_mark.line) if root else None
    except yaml.YAMLError as error:
        line, message = _explain(error, text)
        raise SpecError([Problem(file, first_line + line, printable(message))]) from None
    except (ValueError, OverflowError, IndexError) as error:  # PyYAML on "\UFFFFFFFF" or %YAML 1.999...
        raise SpecError([Problem(file, first_line, f"not valid YAML: {error}")]) from None
    return Document(file, data, builder.lines, builder.texts, tuple(builder.problems), frozenset(builder.broken))


class _Limit(yaml.MarkedYAMLError):
    """The text is bigger or deeper than any file of a person."""


class _Loader(yaml.SafeLoader):
    """Composes nodes, and stops early where there are too many or they nest too deep."""

    depth = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        self.nodes += 1
        _check_limits(self.depth, self.nodes, self.get_mark())
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
        return node
    finally:
        loader.dispose()


def _check_limits(depth: int, nodes: int, mark: yaml.Mark) -> None:
    if depth > MAX_DEPTH:
        raise _Limit(problem=f"nested deeper than {MAX_DEPTH} levels, or an alias that holds itself", problem_mark=mark)
    if nodes > MAX_NODES:
        raise _Limit(problem=f"more than {MAX_NODES:,} values (are aliases expanded?)", problem_mark=mark)


def _explain(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """Line (from 0) and one sentence for what PyYAML says."""
    if isinstance(error, yaml.reader.ReaderError):
        return text.count("\n", 0, error.position), f"a control character (code {error.character}): remove it"
    if not isinstance(error, yaml.MarkedYAMLError):
        return 0, f"not valid YAML: {error}"
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    said = error.problem or error.context or "unreadable"
    if isinstance(error, _Limit):
        return line, said
    if "'\\t'" in said:
        return line, "a tab: YAML takes only spaces for indentation"
    if "another document" in said:
        return line, "a second document begins here (---): write one document only"
    for sign, advice in _ADVICE.items():
        if sign in said:
            return line, f"not valid YAML: {said}; {advice}"
    return line, f"not valid YAML: {said}"


_ADVICE = {
    "mapping values are not allowed": "put a text that holds ': ' in quotes, or mend the indentation",
    "cannot start any token": "put a text that begins with this character in quotes",
    "expected <block end>": "mend the indentation, or put the text in quotes",
    "expected ',' or": "close the bracket, or put a text that holds brackets or braces in quotes",
}


class _Builder:
    """Plain values from nodes, within a budget; gathers problems that do not stop it."""

    def __init__(self, file: str, first_line: int, foreign_tags: bool) -> None:
        self.file, self.first_line, self.foreign_tags = file, first_line, foreign_tags
        self.lines: dict[Place, int] = {}
        self.texts: dict[Place, str] = {}
        self.problems: list[Problem] = []
        self.broken: set[Place] = set()
        self.depth = self.nodes = self.chars = 0

    def build(self, node: yaml.Node, place: Place, line: int) -> Plain:
        """The value of ``node``; ``line`` (from 0) is where a person would look for it."""
        self.lines[place] = self.first_line + line
        with self._spend(node):
            return self._scalar(node, place) if isinstance(node, yaml.ScalarNode) else self._collection(node, place)

    @contextmanager
    def _spend(self, node: yaml.Node) -> Iterator[None]:
        self.depth += 1
        self.nodes += 1
        _check_limits(self.depth, self.nodes, node.start_mark)
        yield
        self.depth -= 1

    def _collection(self, node: yaml.Node, place: Place) -> Plain:
        if node.tag not in (_STANDARD + "map", _STANDARD + "seq") and not self.foreign_tags:
            self._complain(place, f"the tag `{_short(node.tag)}` is not allowed: write plain values")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        items = enumerate(node.value)
        return tuple(self.build(child, (*place, index), child.start_mark.line) for index, child in items)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Plain]:
        merged: dict[str, Plain] = {}
        own: dict[str, Plain] = {}
        first: dict[str, int] = {}
        for key, value in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):  # own lines win over merged ones
            line = key.start_mark.line
            if key.tag == _MERGE:
                merged.update(self._merge(value, place))
            elif not isinstance(key, yaml.ScalarNode):
                self._complain_at(line, "a key must be one word or text, not a list or a mapping")
            elif key.value in first:
                both = f"in lines {first[key.value]} and {self.first_line + line}"
                self._complain_at(line, f"the key `{_short(key.value)}` is given twice, {both}: remove one")
            else:
                first[key.value] = self.first_line + line
                own[key.value] = self.build(value, (*place, key.value), line)
        return {**merged, **own}

    def _merge(self, node: yaml.Node, place: Place) -> dict[str, Plain]:
        """The pairs of ``<<: *anchor`` or ``<<: [*first, *second]``, where the first wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Plain] = {}
        for source in sources:
            if isinstance(source, yaml.MappingNode):
                with self._spend(source):
                    merged = {**self._mapping(source, place), **merged}
            else:
                self._complain_at(node.start_mark.line, "`<<` can merge only mappings")
        return merged

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Plain:
        self.chars += len(node.value)
        if self.chars > MAX_EXPANDED_CHARS:
            raise _Limit(problem="the aliases expand to too much text", problem_mark=node.start_mark)
        self.texts[place] = node.value
        if "\0" in node.value or not _encodable(node.value):
            self._complain(place, "holds a NUL or half a character: no text can hold these")
            return None
        if node.tag == _STANDARD + "null":
            return None
        build = _SCALARS.get(node.tag.removeprefix(_STANDARD))
        if build is None and not self.foreign_tags:
            self._complain(place, f"the tag `{_short(node.tag)}` is not allowed: write plain values")
            return None
        try:
            return build(node) if build else str(node.value)
        except (ValueError, KeyError, OverflowError):
            self._complain(place, f"can't be read as a number: {_short(node.value)}")
            return None

    def _complain(self, place: Place, message: str) -> None:
        where = f"`{dotted(place)}`: " if place else ""
        self.problems.append(Problem(self.file, self.lines[place], printable(where + message)))
        self.broken.add(place)

    def _complain_at(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.file, self.first_line + line, printable(message)))


_construct = yaml.constructor.SafeConstructor()


def _number(construct: Callable[[yaml.ScalarNode], Any]) -> Callable[[yaml.ScalarNode], Plain]:
    """YAML 1.1 reads ``1:30:00`` as a number of base 60. Nobody who writes it means that: it stays text."""

    def build(node: yaml.ScalarNode) -> Plain:
        if ":" in node.value:
            return str(node.value)
        if len(node.value) > MAX_DIGITS:
            raise ValueError("too long")
        value: Plain = construct(node)
        return value

    return build


_SCALARS: Mapping[str, Callable[[yaml.ScalarNode], Plain]] = {
    "bool": lambda node: bool(_construct.construct_yaml_bool(node)),
    "int": _number(_construct.construct_yaml_int),
    "float": _number(_construct.construct_yaml_float),
    "str": lambda node: str(node.value),
    "timestamp": lambda node: str(node.value),  # nothing here is a date; `begin: 2026-01-01` is sbatch's text
    "value": lambda node: str(node.value),  # a lone `=`
    "merge": lambda node: str(node.value),  # a lone `<<` that is no key
}


def dotted(place: Place) -> str:
    """``("rules", 0, "when")`` as people write it: ``rules[0].when``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{_short(step)}" for step in place)
    return text.removeprefix(".")


def printable(message: str) -> str:
    """One line that can't move a terminal's cursor: what a file says is repeated in messages."""
    return "".join(character if character.isprintable() else "?" for character in message)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
