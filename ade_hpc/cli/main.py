# SPDX-License-Identifier: Apache-2.0
"""The command line. Commands are thin, and what a command needs is imported inside it: `--help` stays light."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ade_hpc import __version__
from ade_hpc.cli import for_laptop, looking, preparing, schedule, steering
from ade_hpc.cli.entry import LAPTOP
from ade_hpc.errors import RemoteError, UsageError

app = typer.Typer(
    name="ade-hpc",
    help="Runs deep-learning experiments on Slurm overnight: watches, diagnoses, repairs and resubmits them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for theme in (preparing, steering, looking):
    app.add_typer(theme.app)  # without a name: they are commands of the program itself
app.add_typer(schedule.app, name="schedule")
app.add_typer(for_laptop.app, name="for-laptop")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ade-hpc {__version__}")
        raise typer.Exit


def _client(caller: tuple[str, str] | None) -> None:
    """A laptop calls: versions that do not fit say so before anything is done."""
    if caller is not None:
        from ade_hpc.remote.installed import mismatch

        if said := mismatch(__version__, *caller):
            raise RemoteError(said)


@app.callback()
def main(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(metavar="LOGIN", help="Run the command there, over SSH; see docs/laptop.md.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    client: Annotated[tuple[str, str] | None, typer.Option(hidden=True, callback=_client, is_eager=True)] = None,
) -> None:
    """Runs deep-learning experiments on Slurm overnight: watches, diagnoses, repairs and resubmits them."""
    if host is not None and context.invoked_subcommand not in LAPTOP:
        raise UsageError("--host comes first: ade-hpc --host LOGIN COMMAND")
    context.obj = host


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Seed of the trainer.")] = 0,
    observe: Annotated[bool, typer.Option("--observe", help="The twin: mode observe, nothing is repaired.")] = False,
    keep: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the scratch project goes.")] = None,
    agent: Annotated[
        bool, typer.Option("--agent", help="A language model judges, instead of the rule; see --model.")
    ] = False,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Which one; OPENAI_API_KEY and OPENAI_BASE_URL say where it is.")
    ] = "gpt-5-mini",
) -> None:
    """The whole story on this machine: a diverging run is found, repaired in git, resubmitted and proved.

    No cluster, no key; under two minutes. The last line is JSON. With --agent a model does what the rule does.
    Examples: ade-hpc demo   |   ade-hpc demo --observe   |   ade-hpc demo --agent --model gpt-5-mini
    """
    from ade_hpc.cli import demo as story

    story.tell(seed=seed, observe=observe, folder=keep, model=model if agent else None)
