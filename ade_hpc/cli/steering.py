# SPDX-License-Identifier: Apache-2.0
"""The commands that change what runs: submit, tick, and what people want of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ade_hpc.cli.arguments import Json, Name, Names

app = typer.Typer()


@app.command()
def submit(
    context: typer.Context,
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml")],
    local: Annotated[bool, typer.Option("--local", help="Run on this machine instead of on Slurm.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the exact batch script and do nothing.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Stay and print the output; Ctrl-C leaves the job.")] = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="Run uncommitted changes: they are committed on the ade/ branch.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Freeze the committed tree and submit it as a new attempt.

    Examples: ade-hpc submit experiment.yaml   |   ade-hpc submit experiment.yaml --local --follow
    """
    if context.obj is not None:
        from ade_hpc.cli.laptop import Laptop

        Laptop(context.obj).submit(
            experiment, local=local, dry_run=dry_run, follow=follow, allow_dirty=allow_dirty, as_json=as_json
        )
        return
    from ade_hpc.cli import jobs

    jobs.submit(experiment, local=local, dry_run=dry_run, follow=follow, allow_dirty=allow_dirty, as_json=as_json)


@app.command()
def tick(
    context: typer.Context,
    names: Names = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and think, but change and record nothing.")] = False,
    no_llm: Annotated[
        bool, typer.Option("--no-llm", help="Ask no language model: questions stay open for a later tick.")
    ] = False,
    as_json: Json = False,
) -> None:
    """One pass over the experiments: observe, diagnose, propose, guard, act, record. What scrontab calls.

    Exit codes: 0 clean, 1 failed, 3 a source did not answer, 4 a person is needed.
    Examples: ade-hpc tick   |   ade-hpc tick digits --dry-run
    """
    if context.obj is not None:
        from ade_hpc.cli.laptop import Laptop

        Laptop(context.obj).tick(tuple(names or ()), dry_run=dry_run, llm=not no_llm, as_json=as_json)
        return
    from ade_hpc.cli import jobs

    jobs.tick(tuple(names or ()), dry_run=dry_run, llm=not no_llm, as_json=as_json)


@app.command()
def cancel(name: Name) -> None:
    """End an experiment. Nothing brings it back but a new `submit`.

    Example: ade-hpc cancel digits
    """
    from ade_hpc.cli import jobs

    jobs.cancel(name)


@app.command()
def pause(name: Name) -> None:
    """Go on watching an experiment, but change and resubmit nothing. Its job runs on.

    A file called HOLD in its run folder, or beside the registry for all experiments, does the same.
    Example: ade-hpc pause digits
    """
    from ade_hpc.cli import jobs

    jobs.pause(name, "pause")


@app.command()
def resume(name: Name) -> None:
    """Let ticks act on an experiment again.

    Example: ade-hpc resume digits
    """
    from ade_hpc.cli import jobs

    jobs.pause(name, "resume")


@app.command()
def approve(name: Name) -> None:
    """Say yes to the proposal that waits (mode: propose). The next tick judges it again and carries it out.

    Example: ade-hpc approve digits
    """
    from ade_hpc.cli import wishes

    wishes.answer(name, "approve")


@app.command()
def reject(name: Name) -> None:
    """Say no to the proposal that waits: it is not made again for this attempt.

    Example: ade-hpc reject digits
    """
    from ade_hpc.cli import wishes

    wishes.answer(name, "reject")


@app.command()
def revert(name: Name) -> None:
    """Take back the last change of the config, in a new attempt that the next tick makes.

    Example: ade-hpc revert digits
    """
    from ade_hpc.cli import wishes

    wishes.revert(name)
