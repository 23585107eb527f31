# SPDX-License-Identifier: Apache-2.0
"""Secrets stay out of prompts, and out of what a model says: it may be run by somebody who echoes our own headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ade_hpc.spec.secrets import masked, secret_name

SHORTEST = 6  # a shorter value is no secret, and taking it out would tear words apart


@dataclass(frozen=True)
class Redactor:
    """Takes the values of secrets out of any text."""

    values: tuple[str, ...] = ()

    def __call__(self, text: str) -> str:
        for value in self.values:
            text = text.replace(value, "[a key]")
        return masked(text)


def redactor(environ: Mapping[str, str], *more: str) -> Redactor:
    """Knows the value of every variable whose name says that it is a secret, and ``more``."""
    values = {value for name, value in environ.items() if secret_name(name)} | set(more)
    return Redactor(tuple(sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True)))
