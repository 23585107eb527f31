# SPDX-License-Identifier: Apache-2.0
"""How a scalar is written on one line so that a YAML 1.1 reader, and a stricter one, gives back just that value."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import yaml

from ade_hpc.model import Scalar

_LINE_BREAKS = frozenset("\n\r\x85\u2028\u2029")


def spellings(value: Scalar, raw: str) -> Iterator[str]:
    """Yield ways to write ``value`` on one line, the nearest to the old spelling ``raw`` first."""
    texts = _text_spellings(value, raw) if isinstance(value, str) else [_plain(value)]
    gap = "" if raw else " "  # `key:` without a value has no space of its own after the colon
    for text in texts:
        if _LINE_BREAKS.isdisjoint(text):
            yield gap + text


def _plain(value: bool | float | None) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    mantissa, exponent, power = repr(value).partition("e")
    # YAML 1.1 wants the dot (repr(5e-05) has none) and a signed exponent (repr always writes one).
    return (mantissa if "." in mantissa else mantissa + ".0") + exponent + power


def _text_spellings(value: str, raw: str) -> list[str]:
    plain = yaml.safe_dump(value, width=sys.maxsize, allow_unicode=True).removesuffix("\n").removesuffix("\n...")
    single = "'" + value.replace("'", "''") + "'"
    double = yaml.safe_dump(value, default_style='"', width=sys.maxsize, allow_unicode=True).removesuffix("\n")
    if raw.startswith('"'):
        return [double, single]
    # Other loaders than PyYAML read more as numbers: what looks like one is quoted.
    return [single, double] if raw.startswith("'") or is_number(value) else [plain, single, double]


def is_number(text: str) -> bool:
    """Would any reader take this text for a number?"""
    try:
        float(text)
    except ValueError:
        return False
    return True
