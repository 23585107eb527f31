# SPDX-License-Identifier: Apache-2.0
"""schedule install, status, remove: the tick comes by itself, through scrontab or, where that is off, cron."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ade_hpc.errors import SchedulerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ade_hpc.scheduler.scrontab import Entry, Kind
    from ade_hpc.scheduler.tables import Table
    from ade_hpc.spec.site import Site
    from ade_hpc.store.service import Service

app = typer.Typer(
    help="Let the tick come by itself: install, look at, or remove its entry.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
CALLED = "git sbatch squeue sacct scancel scontrol apptainer singularity".split()


class With(StrEnum):
    """Which table the entry goes to."""

    scrontab = "scrontab"
    cron = "cron"


Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


@app.command()
def install(
    every: Annotated[str, typer.Option(metavar="DURATION", help="Such as 10m, 1h or 1d.")] = "1h",
    by: Annotated[
        With | None, typer.Option("--with", help="Default: scrontab where the cluster has it, else cron.")
    ] = None,
) -> None:
    """Put one entry into your scrontab (or crontab); the rest of it stays as it is. Doing it twice changes nothing.

    Examples: ade-hpc schedule install   |   ade-hpc schedule install --every 30m --with cron
    """
    from ade_hpc.scheduler.scrontab import block, cron_times, with_block
    from ade_hpc.spec.site import load_site
    from ade_hpc.spec.units import parse_duration
    from ade_hpc.store.files import private_dir
    from ade_hpc.store.service import Installed

    try:
        every_s = parse_duration(every)
    except ValueError as error:
        raise UsageError(f"--every {error}") from error
    site, service, table = load_site(os.environ), _service(), _choose(by)
    new = block(table.kind, _entry(os.environ, site, service, cron_times(every_s, os.getuid())))
    _remove_elsewhere(service, table.kind)
    private_dir(service.registry)
    service.log.touch(mode=0o600)
    text = table.read()
    if with_block(text, new) != text:
        table.write(with_block(text, new))
    service.record_install(Installed(table.kind, every_s, new, time.time()))
    print(f"{table.program}: a tick every {every}; its output goes to {service.log}")
    print("next: ade-hpc schedule status")


@app.command()
def status(as_json: Json = False) -> None:
    """Say whether the entry stands, and when the tick last came and how it ended.

    Exit code 3: a tick that was scheduled does not come. Example: ade-hpc schedule status
    """
    from ade_hpc.cli.tables import tick_sentence
    from ade_hpc.report import schedule as report

    seen = report.gather(_service())
    if as_json:
        print(json.dumps(report.as_json(seen)))
    else:
        print(f"schedule: {seen.state}{f' ({seen.kind})' if seen.kind else ''}")
        print(tick_sentence(seen.heart))
        for line in (f"log: {seen.log}", f"problem: {seen.problem}" if seen.problem else "", seen.entry.rstrip()):
            print(line, end="\n" if line else "")
        if seen.changed:
            print("note: the entry is not as it was installed: somebody edited it")
        if seen.state == "absent":
            print("next: ade-hpc schedule install")
    raise typer.Exit(report.exit_code(seen))


@app.command()
def remove() -> None:
    """Take the entry out again; the rest of your scrontab or crontab stays as it is.

    Example: ade-hpc schedule remove
    """
    from ade_hpc.scheduler.tables import Table

    service = _service()
    installed = service.installed()
    kinds: list[Kind] = ["scrontab", "cron"]
    removed = [kind for kind in kinds if _remove_from(Table(kind), must=bool(installed and installed.kind == kind))]
    service.forget_install()
    print(f"removed from {' and '.join(removed)}" if removed else "there was no entry of ade-hpc")


def _service() -> Service:
    from ade_hpc.store.registry import registry_path
    from ade_hpc.store.service import Service

    return Service(registry_path(os.environ).absolute())


def _choose(by: With | None) -> Table:
    from ade_hpc.scheduler.tables import Table

    wanted: list[Kind] = [by.value] if by else ["scrontab", "cron"]
    said = []
    for kind in wanted:
        source = Table(kind).available()
        if source.answered:
            return Table(kind)
        said.append(source.detail)
        if source.answer == "failed":
            break  # no answer is no reason to settle for less
    raise SchedulerError(f"no tick can be scheduled here: {'; '.join(said)}")


def _entry(environ: Mapping[str, str], site: Site, service: Service, times: str) -> Entry:
    from ade_hpc.scheduler.scrontab import Entry
    from ade_hpc.spec.request import Request
    from ade_hpc.spec.resources import resource_directives

    options = {"job-name": "ade-hpc-tick", **resource_directives(site.schedule)}
    argv = (sys.executable, "-P", "-m", "ade_hpc.cli", "tick")  # -P: no module in the home folder shadows ours
    return Entry(argv, _environment(environ, service), str(service.log), times, options, Request(options).time_limit_s)


def _environment(environ: Mapping[str, str], service: Service) -> dict[str, str]:
    """All that a tick needs, since neither cron nor scrontab loads anything: absolute paths, and never a key."""
    from ade_hpc.scheduler.environment import DEFAULT_PATH
    from ade_hpc.spec.site import site_path

    site, named = site_path(environ)
    found = [os.path.dirname(path) for program in CALLED if (path := shutil.which(program))]
    wanted = {
        "PATH": ":".join(dict.fromkeys([*found, *DEFAULT_PATH.split(":")])),
        "ADE_REGISTRY": str(service.registry),
    }
    if named or site.exists():
        wanted["ADE_SITE"] = str(site.absolute())
    if environ.get("SLURM_CONF"):
        wanted["SLURM_CONF"] = os.path.abspath(environ["SLURM_CONF"])
    return wanted


def _remove_elsewhere(service: Service, kind: Kind) -> None:
    """Two entries would tick twice: one that was installed in the other table goes."""
    from ade_hpc.scheduler.tables import Table

    installed = service.installed()
    if installed is not None and installed.kind != kind:
        _remove_from(Table(installed.kind), must=True)


def _remove_from(table: Table, *, must: bool) -> bool:
    """True where our block was there. must: a table that can't be read is an error, not "nothing there"."""
    from ade_hpc.scheduler.scrontab import without_block

    source = table.available()
    if not source.answered:
        if must:
            raise SchedulerError(f"the entry could not be removed: {source.detail}")
        return False
    text = table.read()
    if without_block(text) == text:
        return False
    table.write(without_block(text))
    return True
