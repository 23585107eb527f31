# SPDX-License-Identifier: Apache-2.0
"""The commands that look and change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ade_hpc.cli.arguments import Json, Name, Names, Objective
from ade_hpc.errors import UsageError

app = typer.Typer()


@app.command()
def status(
    names: Names = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Renew it until Ctrl-C; the scheduler is asked once a minute.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show each experiment: its health, why it waits, when it may start, where its output is.

    Examples: ade-hpc status   |   ade-hpc status --watch   |   ade-hpc status digits --json
    """
    from ade_hpc.cli import tables

    if watch and as_json:
        raise UsageError("--watch is for people and --json for programs: give one of them")
    if watch:
        from ade_hpc.cli import live

        live.watch(tuple(names or ()))
    tables.status(tuple(names or ()), as_json=as_json)


@app.command()
def history(
    name: Name,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Also what each tick saw and thought.")] = False,
    as_json: Json = False,
) -> None:
    """Tell the story of one experiment: attempts, where they came from, what was done and why.

    Example: ade-hpc history digits -v
    """
    from ade_hpc.cli import tables

    tables.history(name, verbose=verbose, as_json=as_json)


@app.command()
def logs(
    name: Name,
    attempt: Annotated[int | None, typer.Option(help="Number of the attempt; default: the one in charge.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on printing until the attempt has ended.")] = False,
    as_json: Json = False,
) -> None:
    """Print the trainer's output, of each file the last 64 KiB.

    JSON: {"schema", "name", "attempt", "files": [{"path", "whole", "lines"}]}; whole: nothing was left out.
    Examples: ade-hpc logs digits --follow   |   ade-hpc logs digits --json
    """
    from ade_hpc.cli import jobs

    jobs.logs(name, attempt, follow=follow, as_json=as_json)


@app.command()
def watch(
    job_id: Annotated[str, typer.Argument(metavar="JOBID", help="A Slurm job of yours, whoever submitted it.")],
    logdir: Annotated[Path, typer.Option(metavar="DIR", help="Where its TensorBoard events go.")],
    objective: Objective = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Look every minute until the job has ended.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a job that ade-hpc did not submit: its health, its curves, and what would be done. Changes nothing.

    Exit codes: 0 all well, 3 a source did not answer, 4 a person should look.
    Examples: ade-hpc watch 1234 --logdir runs/exp1   |   ade-hpc watch 1234 --logdir runs/exp1 --follow
    """
    from ade_hpc.cli import watch as command

    command.watch(job_id, logdir, objective, follow=follow, json_wanted=as_json)


@app.command()
def diagnose(
    logdir: Annotated[Path, typer.Argument(metavar="LOGDIR", help="A folder with TensorBoard event files.")],
    objective: Objective = None,
    until_step: Annotated[int | None, typer.Option(help="Judge only the steps up to this one.")] = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with the learning curves of any TensorBoard folder.

    Example: ade-hpc diagnose runs/exp1 --objective accuracy/val:max
    """
    from ade_hpc.cli import curves

    curves.diagnose(logdir, objective, until_step, as_json=as_json)


@app.command()
def plot(
    logdir: Annotated[Path, typer.Argument(metavar="LOGDIR", help="A folder with TensorBoard event files.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.png")],
    objective: Objective = None,
) -> None:
    """Draw the learning curves of any TensorBoard folder, with what was found marked.

    Example: ade-hpc plot runs/exp1 -o curves.png
    """
    from ade_hpc.cli import curves

    curves.plot(logdir, output, objective)


@app.command()
def report(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.html")],
    names: Names = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page: what happened to whom and why, curves, changes, GPU-hours, what needs a person.

    It opens from disk without a network. JSON: {"schema", "path", "experiments": [{"name", "needs": [sentences]}]}.
    Examples: ade-hpc report -o night.html   |   ade-hpc report digits -o d.html
    """
    from ade_hpc.cli import report as command

    command.report(tuple(names or ()), output, as_json=as_json)


@app.command()
def backtest(
    what: Annotated[str, typer.Argument(metavar="NAME|LOGDIR", help="An experiment, or any TensorBoard folder.")],
    preferences: Annotated[Path, typer.Option(metavar="FILE.md", help="The preferences to try on it.")],
    against: Annotated[Path | None, typer.Option(metavar="FILE.md", help="Others, side by side.")] = None,
    every: Annotated[
        str | None, typer.Option(metavar="1h", help="Of a folder: a tick each so often; default 1h, 20 at least.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what would have been done in the past under these preferences. Changes nothing.

    Exact up to the first action that differs from what happened; what follows is marked as counterfactual.
    Examples: ade-hpc backtest digits --preferences new.md   |   ade-hpc backtest runs/exp1 --preferences new.md
    """
    from ade_hpc.cli import backtest as command

    command.backtest(what, preferences, against, every, json_wanted=as_json)
