# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc submit`: the first attempt of an experiment, or a new one of an experiment that has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ade_hpc.errors import SchedulerSilent, StoreError, SubmitUnclear, UsageError
from ade_hpc.launch.launcher import Launcher
from ade_hpc.launch.lineage import current_attempt, job_of, next_attempt, submitted_experiment
from ade_hpc.launch.plan import Plan, fact, new_token, open_plans
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.scheduler.states import conclude
from ade_hpc.spec.experiment import Experiment
from ade_hpc.spec.site import Site, site_path
from ade_hpc.store.files import write_json
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.lease import lease
from ade_hpc.store.ledger import read_ledger
from ade_hpc.store.records import SCHEMA, superseded_by
from ade_hpc.store.registry import register

UNCLEAR_PATIENCE_S = 90.0
LEASE_PATIENCE_S = 120.0
LOOK_EVERY_S = 3.0


def experiment_dir(experiment: Experiment) -> ExperimentDir:
    return ExperimentDir(experiment.runs_dir / experiment.name)


def submit(
    experiment: Experiment,
    site: Site,
    scheduler: Scheduler,
    registry: Path,
    *,
    allow_dirty: bool,
    announce: Callable[[str], None],
    request: str = "",
) -> tuple[int, str]:
    """Submit; returns (attempt number, job id). Raises UsageError while the experiment lives.

    request: a caller's own word for this one wish. Whoever repeats it, because no answer reached them, gets the attempt
    that it made: an open one is finished first.
    """
    folder = experiment_dir(experiment)
    folder.make_folders()
    with _alone(folder):
        if begun := begun_for(folder, request):
            return begun.attempt, _finish(folder, begun, site, scheduler, announce)
        refuse_while_alive(folder, scheduler)
        register(registry, folder)
        _record(folder, experiment, scheduler, registry)
        number = next_attempt(folder)
        plan = Plan(
            attempt=number,
            token=new_token(experiment.name, number),
            scheduler=scheduler.kind,
            author="person",
            reason="submitted by hand",
            allow_dirty=allow_dirty,
            request=request,
        )
        launcher = Launcher(folder, experiment, site, scheduler, announce)
        launcher.begin(plan)
        return number, _with_patience(launcher, plan)


def _record(folder: ExperimentDir, experiment: Experiment, scheduler: Scheduler, registry: Path) -> None:
    """What later ticks need to know, also those that a job asks for, in an environment of its own."""
    site_file, _ = site_path(os.environ)
    record = {
        "schema": SCHEMA,
        "name": experiment.name,
        "scheduler": scheduler.kind,
        "spec": experiment.to_json(),
        "registry": str(registry.absolute()),
        "site": str(site_file) if site_file.exists() else "",
    }
    write_json(folder.record, record)


def finish(
    folder: ExperimentDir,
    request: str,
    site: Site,
    open_scheduler: Callable[[str], Scheduler],
    announce: Callable[[str], None],
) -> tuple[int, str] | None:
    """What `submit` would return for a request that has begun already, once it is done; None where it has not."""
    if not folder.path.is_dir():
        return None
    with _alone(folder):
        begun = begun_for(folder, request)
        return (
            (begun.attempt, _finish(folder, begun, site, open_scheduler(begun.scheduler), announce)) if begun else None
        )


def begun_for(folder: ExperimentDir, request: str) -> Plan | None:
    """The plan that this request has made already, unless it was refused: what was refused may be tried again."""
    ledger = read_ledger(folder.ledger)
    plans = [Plan.from_json(entry.data) for entry in ledger.of_kind("intent") if request]
    mine = [plan for plan in plans if plan.request == request and fact(ledger, "refused", plan.attempt) is None]
    return mine[-1] if mine else None


def preview(experiment: Experiment, site: Site, scheduler: Scheduler) -> str:
    """The exact script that `submit` would hand over now, for --dry-run. Creates and asks nothing."""
    folder = experiment_dir(experiment)
    number = next_attempt(folder)
    plan = Plan(number, new_token(experiment.name, number), scheduler.kind, "person", "dry run")
    return scheduler.script(Launcher(folder, experiment, site, scheduler).submission(plan))


def refuse_while_alive(folder: ExperimentDir, scheduler: Scheduler) -> None:
    """One experiment, one life: a second submit waits until the first has ended for certain.

    Raises UsageError with what to do instead, SchedulerSilent where nobody can tell.
    """
    ledger = read_ledger(folder.ledger)
    if ledger.two_writers:
        raise UsageError(f"{folder.ledger} was written by two at once; look at it, then move {folder.path} away")
    open_now = open_plans(ledger)
    if open_now:
        raise UsageError(
            f"attempt {open_now[0].plan.attempt} of {folder.name} is being submitted; "
            f"run `ade-hpc tick {folder.name}` to finish that"
        )
    attempt = current_attempt(folder, ledger)
    job = job_of(folder, ledger, attempt.number) if attempt else None
    if attempt is None or job is None:
        return
    seen = scheduler.observe([job])
    truth = conclude(seen.jobs[job.job_id], seen.queue, seen.accounting)
    if truth.phase == "unknown" and superseded_by(attempt) is None:
        advice = f"is it gone? then `ade-hpc cancel {folder.name}` first" if truth.unlisted else "try again"
        raise SchedulerSilent(f"job {job.job_id} of {folder.name} may still be alive: {truth.reason}; {advice}")
    if truth.phase in ("pending", "running"):
        raise UsageError(
            f"{folder.name} is alive (job {job.job_id}, {truth.state}); "
            f"wait for it, or run `ade-hpc cancel {folder.name}` first"
        )


def _finish(
    folder: ExperimentDir, plan: Plan, site: Site, scheduler: Scheduler, announce: Callable[[str], None]
) -> str:
    """Carry out a plan that somebody else began, with the experiment as it was then."""
    experiment, _ = submitted_experiment(folder)
    return _with_patience(Launcher(folder, experiment, site, scheduler, announce), plan)


@contextmanager
def _alone(folder: ExperimentDir) -> Iterator[None]:
    """Hold the lease, so that no tick carries out the same plan meanwhile; wait for it, but not for ever."""
    until = time.monotonic() + LEASE_PATIENCE_S
    while True:
        with lease(folder, now=time.time()) as held:
            if held:
                yield
                return
        if time.monotonic() > until:
            raise StoreError(
                f"another ade-hpc has been at work on {folder.name} for long; see {folder.lease}; try again"
            )
        time.sleep(LOOK_EVERY_S)


def _with_patience(launcher: Launcher, plan: Plan) -> str:
    """A person waits at this command: after an unclear ``sbatch`` look until it is clear, within reason."""
    until = time.monotonic() + UNCLEAR_PATIENCE_S
    while True:
        try:
            return launcher.carry_out(plan)
        except (SubmitUnclear, SchedulerSilent):
            if time.monotonic() > until:
                raise
            launcher.announce("unclear:before")
            time.sleep(LOOK_EVERY_S)
