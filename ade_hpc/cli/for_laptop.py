# SPDX-License-Identifier: Apache-2.0
"""What an ade-hpc on a laptop calls here, on the login node: hidden from people, JSON in, JSON out.

The laptop is its user's own, but what comes from it is checked like any other input.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import typer

app = typer.Typer(hidden=True, no_args_is_help=True, help="What an ade-hpc on a laptop calls on the login node.")
MAX_INPUT_BYTES = 8_000_000


@app.command()
def stock() -> None:
    """Of an order on stdin: what is here already."""
    from ade_hpc.cli import orders

    _print(orders.stock(_input()))


@app.command()
def submit() -> None:
    """Carry out an order on stdin."""
    from ade_hpc.cli import orders

    _print(orders.submit(_input()))


@app.command()
def tick() -> None:
    """One pass, as told on stdin; what nobody is asked here comes back as questions."""
    from ade_hpc.cli import questions

    _print(questions.tick(_input()))


@app.command()
def answer() -> None:
    """A model's answer to a question, on stdin: one pass over its experiment, which takes it in."""
    from ade_hpc.cli import questions

    _print(questions.answer(_input()))


def _input() -> bytes:
    return sys.stdin.buffer.read(MAX_INPUT_BYTES)


def _print(value: dict[str, Any]) -> None:
    print(json.dumps(value))
