# SPDX-License-Identifier: Apache-2.0
"""submit, logs, cancel, tick."""

from __future__ import annotations

import getpass
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from ade_hpc.cli.hangup import end_with_reader
from ade_hpc.cli.tables import sentence
from ade_hpc.errors import AdeError, UsageError
from ade_hpc.launch.schedulers import open_scheduler
from ade_hpc.spec.site import Site, load_site
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.lease import lease
from ade_hpc.store.registry import experiments, registry_path
from ade_hpc.store.service import Service

if TYPE_CHECKING:  # they bring NumPy, which only a tick needs
    from ade_hpc.supervisor.consult import Pending
    from ade_hpc.supervisor.reports import Report

TURN_PATIENCE_S = 20.0
STEPS = {
    "mkdir": "claim the attempt",
    "commit": "commit what is to run",
    "snapshot": "freeze the tree",
    "sbatch": "submit",
    "unclear": "the scheduler's answer was lost: looking for the job before trying again",
    "tombstone": "retire the old attempt",
    "scancel": "cancel the old job",
}


def submit(path: Path, *, local: bool, dry_run: bool, follow: bool, allow_dirty: bool, as_json: bool) -> None:
    from ade_hpc.launch import submit as launch
    from ade_hpc.spec.experiment import load_experiment
    from ade_hpc.supervisor.caps import refuse_over_caps

    site = load_site(os.environ)
    experiment = load_experiment(path, site)
    scheduler = open_scheduler("local" if local else site.scheduler, site)
    if dry_run:
        print(launch.preview(experiment, site, scheduler), end="")
        return
    registry = registry_path(os.environ)
    refuse_over_caps(registry, site, opener(site))
    number, job_id = launch.submit(experiment, site, scheduler, registry, allow_dirty=allow_dirty, announce=progress)
    row = {"name": experiment.name, "attempt": number, "job_id": job_id}
    show_submitted({**row, "run_dir": str(launch.experiment_dir(experiment).path)}, scheduler.kind, as_json=as_json)
    if follow:
        logs(experiment.name, None, follow=True)


def show_submitted(row: Mapping[str, Any], kind: str, *, as_json: bool, program: str = "ade-hpc") -> None:
    """row: what `submit --json` prints. program: the words before a command, for what to do next."""
    if as_json:
        print(json.dumps(row))
        return
    print(f"{row['name']}: attempt {row['attempt']} is job {row['job_id']} ({kind})")
    print(f"next: {program} status {row['name']}   |   {program} logs {row['name']} --follow")


def progress(step: str) -> None:
    """One dim line a step, on a terminal only."""
    name, _, place = step.partition(":")
    if place == "before" and name in STEPS and sys.stderr.isatty():
        print(f"  {STEPS[name]}...", file=sys.stderr)


def logs(name: str, attempt: int | None, *, follow: bool, as_json: bool = False) -> None:
    from ade_hpc.report import logs as report

    if follow and as_json:
        raise UsageError("--follow is for people and --json for programs: give one of them")
    folder = experiments(registry_path(os.environ), (name,))[0]
    if as_json:
        print(json.dumps(report.as_json(folder, attempt)))
        return
    if not follow:
        for path in report.log_files(folder, attempt):
            sys.stdout.write(report.tail(path)[0])
        return
    end_with_reader()
    for text in report.wait_and_follow(folder, attempt):
        sys.stdout.write(text)
        sys.stdout.flush()


def cancel(name: str) -> None:
    from ade_hpc.launch.cancel import cancel as end
    from ade_hpc.supervisor.experiment import load_supervised

    site = load_site(os.environ)
    one = load_supervised(experiments(registry_path(os.environ), (name,))[0])
    ended = end(one.folder, open_scheduler(one.scheduler, site), who=getpass.getuser())
    print(f"{name}: cancelled {f'job {ended[-1]}' if ended else '(it had no job)'}; `ade-hpc submit` starts it anew")


def pause(name: str, word: Literal["pause", "resume"]) -> None:
    """Into the inbox: it counts at once, and the next tick puts it into the ledger."""
    from ade_hpc.store.inbox import drop
    from ade_hpc.supervisor.experiment import load_supervised

    registry = registry_path(os.environ)
    folder = experiments(registry, (name,))[0]
    drop(folder, word, {"by": getpass.getuser()}, now=time.time())
    still = load_supervised(folder, (Service(registry).hold,)).paused_by()
    if word == "pause":
        print(f"{name}: paused; its job runs on and is watched. Next: ade-hpc resume {name}")
    else:
        print(f"{name}: {f'still paused by {still}: remove it' if still else 'ticks act on it again'}")


def tick(names: Sequence[str], *, dry_run: bool, llm: bool, as_json: bool) -> None:
    from ade_hpc.supervisor.reports import exit_code

    reports = run_tick(names, dry_run=dry_run, llm=llm)
    if as_json:
        print_json([plain(asdict(report)) for report in reports])
    else:
        for report in reports:
            print(sentence(report))
    raise typer.Exit(exit_code(reports))


def run_tick(
    names: Sequence[str], *, dry_run: bool, llm: bool, leave_open: Callable[[Pending], None] | None = None
) -> list[Report]:
    """A whole tick renews the dead-man file, also where it failed; one for some experiments alone does not, nor does
    one that found another at work."""
    from ade_hpc.supervisor.reports import exit_code

    service, code, mine = Service(registry_path(os.environ)), AdeError.exit_code, True
    service.trim_log()
    try:
        site = load_site(os.environ)
        folders = experiments(service.registry, tuple(names))
        with _turn(service) as mine:
            reports = _tick(service, site, folders, dry_run, llm, leave_open) if mine else list(map(_busy, folders))
        code = exit_code(reports)
    except AdeError as error:
        code = error.exit_code
        raise
    finally:
        if mine and not names and not dry_run:
            service.record_tick(code)
    return reports


def _tick(
    service: Service,
    site: Site,
    folders: Sequence[ExperimentDir],
    dry_run: bool,
    llm: bool,
    leave_open: Callable[[Pending], None] | None,
) -> list[Report]:
    from ade_hpc.supervisor.tick import Ticker

    others = tuple(one for one in experiments(service.registry) if one not in folders)
    ticker = Ticker(site, opener(site), progress, dry_run, llm, (service.hold,), others=others)
    return (replace(ticker, leave_open=leave_open) if leave_open else ticker).tick(folders)


@contextmanager
def _turn(service: Service) -> Iterator[bool]:
    """One tick of a user at a time: two that count at once would both find room for one more submission."""
    until = time.monotonic() + TURN_PATIENCE_S
    while True:
        with lease(service, now=time.time()) as mine:
            if mine or time.monotonic() > until:
                yield mine
                return
        time.sleep(0.5)


def _busy(folder: ExperimentDir) -> Report:
    from ade_hpc.supervisor.reports import Report

    return Report(folder.name, problems=("another tick is at work on it",))


def print_json(rows: Sequence[Any]) -> None:
    """What `tick --json` prints."""
    print(json.dumps({"schema": 1, "experiments": rows}))


def opener(site: Site) -> Callable[[str], Any]:
    return lambda kind: open_scheduler(kind, site)


def plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become words."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
