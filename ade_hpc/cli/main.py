# SPDX-License-Identifier: Apache-2.0
"""The command line. Commands are thin, and what a command needs is imported inside it: `--help` stays light."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ade_hpc import __version__
from ade_hpc.cli import for_laptop, schedule
from ade_hpc.cli.entry import LAPTOP, run
from ade_hpc.errors import RemoteError, UsageError

app = typer.Typer(
    name="ade-hpc",
    help="Runs deep-learning experiments on Slurm overnight: watches, diagnoses, repairs and resubmits them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(schedule.app, name="schedule")
app.add_typer(for_laptop.app, name="for-laptop")

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME...]", help="Experiments; all of them if none is named.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The experiment's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


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
        str | None, typer.Option(metavar="LOGIN", help="Run the command there, over SSH; see docs/remote.md.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    client: Annotated[tuple[str, str] | None, typer.Option(hidden=True, callback=_client, is_eager=True)] = None,
) -> None:
    """Runs deep-learning experiments on Slurm overnight: watches, diagnoses, repairs and resubmits them."""
    if host is not None and context.invoked_subcommand not in LAPTOP:
        raise UsageError("--host comes first: ade-hpc --host LOGIN COMMAND")
    context.obj = host


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write them.")] = Path()) -> None:
    """Write a commented experiment.yaml, config.yaml, preferences.md and apptainer/trainer.def.

    Files that are there already stay as they are. Example: ade-hpc init myproject
    """
    from ade_hpc.cli import files

    files.init(folder)


@app.command()
def check(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[FILE...]", help="Default: experiment.yaml")] = None,
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
def watch(
    job_id: Annotated[str, typer.Argument(metavar="JOBID", help="A Slurm job of yours, whoever submitted it.")],
    logdir: Annotated[Path, typer.Option(metavar="DIR", help="Where its TensorBoard events go.")],
    objective: Annotated[
        str | None, typer.Option(metavar="TAG:max|min", help="What counts; guessed if absent.")
    ] = None,
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
) -> None:
    """Print the trainer's output.

    Example: ade-hpc logs digits --follow
    """
    from ade_hpc.cli import jobs

    jobs.logs(name, attempt, follow=follow)


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
def diagnose(
    logdir: Annotated[Path, typer.Argument(help="A folder with TensorBoard event files.")],
    objective: Annotated[
        str | None, typer.Option(metavar="TAG:max|min", help="What counts; guessed if absent.")
    ] = None,
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
    logdir: Annotated[Path, typer.Argument(help="A folder with TensorBoard event files.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.png")],
    objective: Annotated[
        str | None, typer.Option(metavar="TAG:max|min", help="What counts; guessed if absent.")
    ] = None,
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
) -> None:
    """Write one HTML page: what happened to whom and why, curves, changes, GPU-hours, what needs a person.

    It opens from disk without a network. Examples: ade-hpc report -o night.html   |   ade-hpc report digits -o d.html
    """
    from ade_hpc.cli import report as command

    command.report(tuple(names or ()), output)


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
    """
    from ade_hpc.cli import demo as story

    story.tell(seed=seed, observe=observe, folder=keep, model=model if agent else None)


if __name__ == "__main__":
    run()
