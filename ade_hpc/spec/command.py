# SPDX-License-Identifier: Apache-2.0
"""The trainer's command line as written: split as a shell would, its placeholders checked. Expanded on the node."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from ade_hpc.spec.secrets import no_secret

PLACEHOLDERS = ("config", "tensorboard", "checkpoints", "resume", "attempt", "params")
ALONE = ("resume", "params")  # they stand for zero or more arguments, so they can't be a part of one
_BRACES = re.compile(r"\{(\w+)\}")


def split(value: Any) -> Any:
    """A list as it is; one string as a shell splits it."""
    if not isinstance(value, str):
        return _explain_braces(value)
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise ValueError(f"can't be split into arguments ({str(error).lower()}): mend the quotes") from None


def _explain_braces(value: Any) -> Any:
    """``[python, {config}]`` is a mapping to YAML; nobody means one here."""
    for item in value if isinstance(value, tuple) else ():
        if isinstance(item, dict) and len(item) == 1:
            name = next(iter(item))
            raise ValueError(f'YAML reads {{{name}}} as a mapping: put it in quotes, "{{{name}}}"')
    return value


def arguments(words: Sequence[str]) -> tuple[str, ...]:
    if not words or not words[0].strip():
        raise ValueError("must name a program")
    for word in words:
        no_secret(word)
        for name in _BRACES.findall(word):
            if name in ALONE and word != f"{{{name}}}":
                raise ValueError(f"{{{name}}} stands for zero or more arguments, so it must be an argument of its own")
    return tuple(words)


def near_misses(words: Iterable[str]) -> list[str]:
    """One sentence for each ``{checkpoint}`` that was probably meant to be a placeholder. Other braces stay."""
    found = {name for word in words for name in _BRACES.findall(word) if name not in PLACEHOLDERS}
    near = {name: difflib.get_close_matches(name.lower(), PLACEHOLDERS, n=1, cutoff=0.75) for name in found}
    return [f"{{{name}}} is no placeholder and stays as it is; did you mean {{{near[name][0]}}}?"
            for name in sorted(found) if near[name]]  # fmt: skip


Command = Annotated[tuple[str, ...], BeforeValidator(split), AfterValidator(arguments)]
