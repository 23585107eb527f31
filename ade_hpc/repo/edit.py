# SPDX-License-Identifier: Apache-2.0
"""Read and change one scalar of a YAML text; everything else stays as its author wrote it.

Pure: text in, text out. Dumping a document again would lose its comments and re-indent it, so the new value is spliced
in between the marks that PyYAML's ``compose`` reports for the old one. The result is then read with ``yaml.safe_load``,
as the trainer will read it, and both documents are compared: exactly this value may differ.

Values follow YAML 1.1, which PyYAML speaks: ``5e-05`` and ``1e3`` are *text* there, ``5.0e-05`` is a number, ``yes``
is true and ``12:30`` is 750. Keys are dotted (``optimizer.lr``), list items are numbered from 0 (``layers.0.size``).
Read files with ``newline=""`` (or decode their bytes): otherwise Python has changed the line endings beforehand.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import yaml
from yaml.constructor import SafeConstructor

from ade_hpc.errors import RepoError
from ade_hpc.model import Scalar
from ade_hpc.repo.spelling import is_number, spellings

MAX_CHARS = 1_000_000
MAX_VALUES = 20_000

_TYPES = {bool: "a boolean", int: "an integer", float: "a float", str: "text", type(None): "null"}
# All but the first escape from inside PyYAML: 2001-99-99, `!!bool x`, `!!timestamp x`, nesting without end.
_UNREADABLE = (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, RecursionError)


class _Entry(NamedTuple):
    """A node under its key, and the line of that key (a block mapping itself begins a line later)."""

    key: str
    line: int
    node: yaml.Node


def get_scalar(text: str, key: str) -> Scalar:
    """Return the value at ``key`` as ``yaml.safe_load`` gives it; a date comes as the text that was written.

    Raises RepoError where the text is no YAML mapping, the key is missing or ambiguous, or holds no single value.
    """
    _, node = _find(_compose(text), key, merge=True)
    return _value(node)


def flatten(text: str) -> dict[str, Scalar]:
    """Return every scalar of the document by its dotted key, in order, with aliases and merges (``<<``) resolved."""
    values: dict[str, Scalar] = {}
    for key, line, node in _walk(_compose(text), merge=True):
        if not isinstance(node, yaml.ScalarNode):
            continue
        if key in values:
            raise RepoError(f"`{key}` (line {line}) can be read in two ways: use no dots within keys.")
        values[key] = _value(node)
    return values


def set_scalar(text: str, key: str, value: Scalar) -> str:
    """Return ``text`` with ``value`` at ``key``: at most one line differs, and in it exactly this scalar.

    The type is kept: a float stays a float (1 is written ``1.0``), an integer stays one where the new number is whole,
    a boolean stays a boolean, text stays text in its quotes. ``null`` may become any value and any value ``null``.

    Raises RepoError for another type, a number that is not finite, and wherever a splice might do more than it shows:
    anchors, aliases, merges, tags and values of several lines at the place, and keys given twice anywhere.
    """
    line, node = _find_own(text, key)
    place = f"`{key}` (line {line})"
    _check_place(node, _raw(text, node), place)
    old = _value(node)
    new = _with_type_of(old, value, place)
    if _same(old, new):
        return text
    before = _load(text)
    for spelling in spellings(new, _raw(text, node)):
        edited = text[: node.start_mark.index] + spelling + text[node.end_mark.index :]
        if _is_only_change(before, edited, new):
            return edited
    raise RepoError(f"{place} can't be changed alone (is it part of a block that an alias repeats?): edit it by hand.")


# --- reading ----------------------------------------------------------------------------------------------------


@contextmanager
def _reading() -> Iterator[None]:
    """Turn whatever PyYAML raises on a bad document into one sentence with its line."""
    try:
        yield
    except _UNREADABLE as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1} of the config" if mark else "the config"
        why = getattr(error, "problem", None) or str(error).partition("\n")[0] or type(error).__name__
        why = "it is nested too deeply" if isinstance(error, RecursionError) else why
        raise RepoError(f"{where} is not valid YAML: {why}") from None


def _compose(text: str) -> yaml.MappingNode:
    """Parse into nodes, which know their places; refuse documents that no config needs."""
    if len(text) > MAX_CHARS:
        raise RepoError(f"the config is longer than {MAX_CHARS:,} characters: keep data out of it.")
    with _reading():
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return yaml.MappingNode("tag:yaml.org,2002:map", [])
        _weigh(root, "", {})
    if not isinstance(root, yaml.MappingNode):
        raise RepoError(f"line {_line(root)} of the config: a config is a mapping, `key: value`.")
    return root


def _load(text: str) -> Any:
    _compose(text)  # an alias bomb must be refused before anything walks through its expansion
    with _reading():
        return yaml.safe_load(text)


def _weigh(node: yaml.Node, path: str, weights: dict[int, int]) -> int:
    """Return how many values ``node`` stands for once aliases are expanded, without expanding them.

    A few lines of aliases can stand for billions of values. ``weights`` maps ``id(node)`` to its weight, 0 while it
    is being weighed: meeting such a node again is a document that contains itself.
    """
    if id(node) in weights:
        if not weights[id(node)]:
            raise RepoError(f"`{path}` (line {_line(node)}) contains itself.")
        return weights[id(node)]
    weights[id(node)] = 0
    lines: dict[str, int] = {}
    total = 1
    for name, line, child in _children(node):
        at = _join(path, name)
        if name in lines:
            raise RepoError(f"`{at}` is given twice, in lines {lines[name]} and {line}: delete one.")
        lines[name] = line
        total += _weigh(child, at, weights)
    if total > MAX_VALUES:
        raise RepoError(f"the config stands for more than {MAX_VALUES:,} values: keep data out of it.")
    weights[id(node)] = total
    return total


def _walk(node: yaml.Node, path: str = "", *, merge: bool) -> Iterator[_Entry]:
    """Yield every node below ``node`` with its dotted key; ``merge`` applies ``<<`` as the trainer's loader does."""
    if merge and isinstance(node, yaml.MappingNode):
        with _reading():
            SafeConstructor().flatten_mapping(node)
    # A mapping's own keys come after those it merges, and win.
    for name, line, child in {entry.key: entry for entry in _children(node)}.values():
        at = _join(path, name)
        yield _Entry(at, line, child)
        yield from _walk(child, at, merge=merge)


def _children(node: yaml.Node) -> Iterator[_Entry]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise RepoError(f"line {_line(key)} of the config: a key must be one word or number.")
            yield _Entry(key.value, _line(key), value)
    elif isinstance(node, yaml.SequenceNode):
        yield from (_Entry(str(index), _line(item), item) for index, item in enumerate(node.value))


def _find(root: yaml.Node, key: str, *, merge: bool) -> tuple[int, yaml.ScalarNode]:
    entries = list(_walk(root, merge=merge))
    found = [entry for entry in entries if entry.key == key]
    if not found:
        raise RepoError(_missing(key, {entry.key: entry.line for entry in entries}))
    if len(found) > 1:
        raise RepoError(f"`{key}` (line {found[-1].line}) can be read in two ways: use no dots within keys.")
    node = found[0].node
    if not isinstance(node, yaml.ScalarNode):
        kind = "mapping" if isinstance(node, yaml.MappingNode) else "list"
        raise RepoError(f"`{key}` (line {found[0].line}) is a {kind}: name one of the values in it.")
    return found[0].line, node


def _missing(key: str, lines: dict[str, int]) -> str:
    near = difflib.get_close_matches(key, lines, n=1)
    return f"the config has no `{key}`" + (f"; the nearest is `{near[0]}` (line {lines[near[0]]})." if near else ".")


def _find_own(text: str, key: str) -> tuple[int, yaml.ScalarNode]:
    """Find a value that stands where its key says, not one that a merge brings in from elsewhere."""
    if all(entry.key != key for entry in _walk(_compose(text), merge=False)):
        line, _ = _find(_compose(text), key, merge=True)
        raise RepoError(f"`{key}` comes from a merge (`<<`) of line {line}: write it at its own place first.")
    return _find(_compose(text), key, merge=False)


def _construct(node: yaml.ScalarNode) -> Any:
    with _reading():
        return SafeConstructor().construct_object(node)


def _value(node: yaml.ScalarNode) -> Scalar:
    value = _construct(node)
    return value if type(value) in _TYPES else str(node.value)


# --- writing ----------------------------------------------------------------------------------------------------


def _check_place(node: yaml.ScalarNode, raw: str, place: str) -> None:
    if raw.startswith(("&", "!")):
        raise RepoError(f"{place} has an anchor, alias or tag: write it as a plain value of its own first.")
    if node.style in ("|", ">") or node.start_mark.line != node.end_mark.line:
        raise RepoError(f"{place} runs over several lines: write it on one line first.")
    if type(_construct(node)) not in _TYPES:
        raise RepoError(f"{place} is neither number, text, boolean nor null: it can't be changed.")


def _with_type_of(old: Scalar, value: Scalar, place: str) -> Scalar:
    """Return ``value`` as the type that keeps the config's: a trainer told 1 for 1.0 may count in integers."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RepoError(f"{place} can't become {value}: it must be a finite number.")
    if old is None or value is None or type(old) is type(value):
        return value
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise RepoError(f"{place} can't become an integer that no float can hold.") from None
    if isinstance(old, int) and isinstance(value, float) and not isinstance(old, bool):
        return int(value) if value.is_integer() else value
    hint = " (YAML 1.1 reads `1e-3` as text: write `1.0e-3`)" if isinstance(old, str) and is_number(old) else ""
    raise RepoError(f"{place} is {_TYPES[type(old)]}{hint} and can't become {_TYPES[type(value)]}.")


def _is_only_change(before: Any, edited: str, new: Scalar) -> bool:
    try:
        changes = list(_differences(before, _load(edited)))
    except RepoError:
        return False  # this spelling breaks the document here (say, a comma within `[...]`): the next may not
    return len(changes) == 1 and _same(changes[0], new)


def _differences(old: Any, new: Any) -> Iterator[Any]:
    """Yield what stands in ``new`` wherever it differs from ``old`` in value, type, length or order of keys."""
    if isinstance(old, dict) and isinstance(new, dict) and _same(list(old), list(new)):
        old, new = list(old.values()), list(new.values())
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for one, other in zip(old, new, strict=True):
            yield from _differences(one, other)
    elif not _same(old, new):
        yield new


def _same(one: Any, other: Any) -> bool:
    """Equal in type too, and NaN equals NaN: what ``==`` denies, ``repr`` tells."""
    return type(one) is type(other) and repr(one) == repr(other)


def _raw(text: str, node: yaml.Node) -> str:
    return text[node.start_mark.index : node.end_mark.index]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
