# SPDX-License-Identifier: Apache-2.0
"""From pydantic's errors to problems a person can act on: file, line, which field, what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ade_hpc.errors import Problem
from ade_hpc.spec.document import Document, Place, Plain, dotted
from ade_hpc.spec.secrets import secret_value

MAX_PROBLEMS = 50
_LOOSE_FLOAT = re.compile(r"([-+]?)(\d*)(?:\.(\d*))?[eE]([-+]?)(\d+)")


class Spec(BaseModel):
    """Base of everything read from a file: immutable, no unknown keys, no silent conversions.

    HINTS: for top-level keys that people try, and whose nearest known key would mislead.
    """

    HINTS: ClassVar[Mapping[str, str]] = {}
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Validated(Generic[S]):
    """``value`` holds what is right of the file, also where ``problems`` says that some of it is not.

    bad: the top-level keys that were left out of ``value`` because they are wrong. None where nothing is left.
    """

    value: S | None
    bad: frozenset[str]
    problems: tuple[Problem, ...]


def validate(
    model: type[S],
    data: Plain,
    document: Document,
    *,
    context: object = None,
    stand_in: Mapping[str, Plain] | None = None,
) -> Validated[S]:
    """Validate and go on: checks across fields can still look at the fields that are right.

    context: what the fields resolve against: the folder of relative paths, or the environment.
    stand_in: values for required keys that are missing or wrong, so that the others can still be looked at.
    """
    if not isinstance(data, dict):
        message = f"must hold `key: value` lines, not {_kind(data)}"
        return Validated(None, frozenset(), (document.problem((), message),))
    try:
        return Validated(model.model_validate(data, context=context), frozenset(), ())
    except ValidationError as error:
        problems = tuple(problems_of(error, document, model))
        bad = frozenset(str(detail["loc"][0]) for detail in error.errors() if detail["loc"])
    rest = {**(stand_in or {}), **{key: value for key, value in data.items() if key not in bad}}
    try:
        return Validated(model.model_validate(rest, context=context), bad, problems)
    except ValidationError:
        return Validated(None, bad, problems)


def problems_of(error: ValidationError, document: Document, model: type[Spec]) -> Iterable[Problem]:
    details = [detail for detail in error.errors(include_url=False) if detail["loc"] not in document.broken]
    for detail in details[:MAX_PROBLEMS]:
        place = document.place(detail["loc"])
        yield document.problem(place, _message(detail, place, document, model))
    if len(details) > MAX_PROBLEMS:
        yield document.problem((), f"and {len(details) - MAX_PROBLEMS} more problems")


def _message(detail: ErrorDetails, place: Place, document: Document, model: type[Spec]) -> str:
    kind, location = detail["type"], detail["loc"]
    key = str(location[-1]) if location else ""
    if kind == "extra_forbidden":
        hint = model.HINTS.get(key) if len(location) == 1 else None
        return f"unknown key `{dotted(place)}`; {hint or nearest(key, known_keys(model, location[:-1]))}"
    if kind == "missing":
        return f"`{dotted((*place, key))}` is missing"
    written = document.texts.get(place)
    if written and ("env" in place or "notify" in place or secret_value(written)):
        written = None  # what may be a secret is not repeated
    said = _describe(detail, written)
    return f"`{dotted(place)}`: {said}" if place else said


def _describe(detail: ErrorDetails, written: str | None) -> str:
    """What would be right, in the words of YAML rather than of Python."""
    kind, value, limits = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "value_error":
        return str(limits["error"])
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", str(limits["expected"]))
        found = (
            f"unknown value {value[:60]!r}" if isinstance(value, str) else f"must be text, not {_kind(value, written)}"
        )
        return f"{found}; {nearest(str(value), options)}"
    if kind == "string_type":
        quoted = f': put it in quotes, "{written}"' if written and isinstance(value, bool | int | float) else ""
        return f"must be text, not {_kind(value, written)}{quoted}"
    if kind in _TYPES:
        loose = as_yaml_float(value) if kind == "float_type" and isinstance(value, str) else None
        if loose:
            return f"YAML reads {value} as text: write {loose}"
        return f"must be {_TYPES[kind]}, not {_kind(value, written)}"
    if kind in _BOUNDS:
        word, name = _BOUNDS[kind]
        return f"must be {word} {limits[name]}, not {written}"
    return str(detail["msg"])


_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "is_instance_of": "a path",
    "tuple_type": "a list",
    "dict_type": "a mapping (`key: value` lines)",
    "model_type": "a mapping (`key: value` lines)",
    "model_attributes_type": "a mapping (`key: value` lines)",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _kind(value: Any, written: str | None = None) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, tuple | dict):
        return "a list" if isinstance(value, tuple) else "a mapping"
    names = {bool: "true/false", int: "a number", float: "a number", str: "text"}
    name = names.get(type(value), "something else")
    return f"{name} ({written})" if written and len(written) <= 60 else name


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean `nodes`?``, or all that is known where nothing is near."""
    options = list(known)
    close = difflib.get_close_matches(word[:100].lower(), options, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else f"known are {', '.join(options)}"


def as_yaml_float(text: str) -> str | None:
    """``1e-3`` as YAML 1.1 wants it: ``1.0e-3``; None where it isn't such a number.

    PyYAML takes an exponent only after a decimal point and with its sign, so ``1e-3`` reaches a trainer as text.
    """
    match = _LOOSE_FLOAT.fullmatch(text)
    if not match or not (match[2] or match[3]):
        return None
    sign, whole, fraction, exponent_sign, exponent = match.groups()
    return f"{sign}{whole or 0}.{fraction or 0}e{exponent_sign or '+'}{exponent}"


def known_keys(model: type[Spec], location: Place) -> list[str]:
    """The keys that a mapping at ``location`` may hold."""
    models: list[type[Spec]] = [model]
    for step in location:
        fields = [info for one in models for name, info in _fields(one) if name == step]
        models = [spec for info in fields for spec in _specs_in(info.annotation)] or models
    return sorted({name for one in models for name, _ in _fields(one)})


def _fields(model: type[Spec]) -> Iterable[tuple[str, Any]]:
    return ((info.alias or name, info) for name, info in model.model_fields.items())


def _specs_in(annotation: Any) -> list[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return [spec for part in get_args(annotation) for spec in _specs_in(part)]


def as_tuples(value: Any) -> Any:
    """JSON has only lists where the fields are tuples, and strict fields don't take one for the other."""
    if isinstance(value, dict):
        return {key: as_tuples(item) for key, item in value.items()}
    return tuple(as_tuples(item) for item in value) if isinstance(value, list | tuple) else value
