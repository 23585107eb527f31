# SPDX-License-Identifier: Apache-2.0
"""Arguments that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Experiments; all of them if none is named.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The experiment's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
Objective = Annotated[str | None, typer.Option(metavar="TAG:max|min", help="What counts; guessed if absent.")]
