# SPDX-License-Identifier: Apache-2.0
"""The commands with which one makes ready: init, check, doctor, bootstrap."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ade_hpc.cli.arguments import Json

app = typer.Typer()


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write them.")] = Path()) -> None:
    """Write a commented experiment.yaml, config.yaml, preferences.md and apptainer/trainer.def.

    Files that are there already stay as they are. Example: ade-hpc init myproject
    """
    from ade_hpc.cli import files

    files.init(folder)


@app.command()
def check(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Default: experiment.yaml")] = None,
    as_json: Json = False,
) -> None:
    """Validate experiment.yaml, its preferences.md and config, or site.yaml: every error with file and line.

    Example: ade-hpc check experiment.yaml
    """
    from ade_hpc.cli import files

    files.check(paths or [Path("experiment.yaml")], as_json=as_json)


@app.command()
def doctor(
    context: typer.Context,
    job: Annotated[bool, typer.Option("--job", help="Also send a probe job of a minute to a compute node.")] = False,
    as_json: Json = False,
) -> None:
    """Can this site do it? Try each precondition and say what to do: green, yellow (works, with less) or red.

    Exit code 1 where anything is red. Example: ade-hpc doctor --job
    """
    from ade_hpc.cli import doctor as room

    room.doctor(job=job, json_wanted=as_json, host=context.obj)


@app.command()
def bootstrap(
    context: typer.Context,
    venv: Annotated[
        str, typer.Option(metavar="FOLDER", help="Where it goes there: on a filesystem that all nodes see.")
    ] = "~/.ade-hpc/venv",
    python: Annotated[
        str | None, typer.Option(metavar="PATH", help="The Python to use there; default: the first that will do.")
    ] = None,
) -> None:
    """Install this ade-hpc on a login node, or bring the one there up to date. Doing it twice changes nothing.

    Example: ade-hpc --host login bootstrap
    """
    from ade_hpc.cli import host

    host.bootstrap(context.obj, venv, python)
