# SPDX-License-Identifier: Apache-2.0
"""Orders from a laptop, carried out here on the login node."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ade_hpc.cli.jobs import opener, progress
from ade_hpc.errors import UsageError
from ade_hpc.launch.depot import Depot, Order
from ade_hpc.launch.schedulers import open_scheduler
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.spec.site import Site, load_site
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.registry import experiments, registry_path

if TYPE_CHECKING:  # it takes time to load, and `stock` does without
    from ade_hpc.spec.experiment import Experiment


def stock(text: bytes) -> dict[str, Any]:
    """What is here already of what the order needs."""
    return asdict(_depot().stock(Order.from_json(text)))


def submit(text: bytes) -> dict[str, Any]:
    """Take the commit in and submit it as a new attempt, or find what this very order has begun."""
    os.umask(0o077)
    order, site = Order.from_json(text), load_site(os.environ)
    if order.dry_run:
        return _previewed(order, site)
    return _adopted(order, site) or _submitted(order, site)


def _adopted(order: Order, site: Site) -> dict[str, Any] | None:
    """What this very order has made already. A living experiment is refused before its files are touched."""
    from ade_hpc.launch.lineage import submitted_experiment
    from ade_hpc.launch.submit import finish, refuse_while_alive

    folder = _registered(order.experiment)
    if folder is None:
        return None
    if begun := finish(folder, order.request, site, opener(site), progress):
        return _receipt(folder, *begun, adopted=True)
    refuse_while_alive(folder, open_scheduler(submitted_experiment(folder)[1], site))
    return None


def _previewed(order: Order, site: Site) -> dict[str, Any]:
    """The script, as it would be: from files that nobody else sees, for ticks read those that were submitted."""
    from ade_hpc.launch.submit import preview

    with _depot().lend(order) as (lent, place):
        experiment = _experiment(lent / order.file, order, site).moved(lent, place)
    return {"script": preview(experiment, site, _scheduler(order, site))}


def _submitted(order: Order, site: Site) -> dict[str, Any]:
    from ade_hpc.launch import submit as launch
    from ade_hpc.supervisor.caps import refuse_over_caps

    registry = registry_path(os.environ)
    experiment = _experiment(_depot().check_out(order), order, site)
    scheduler = _scheduler(order, site)
    refuse_over_caps(registry, site, opener(site))
    begun = launch.submit(
        experiment, site, scheduler, registry, allow_dirty=False, announce=progress, request=order.request
    )
    return _receipt(launch.experiment_dir(experiment), *begun, adopted=False)


def _experiment(path: Path, order: Order, site: Site) -> Experiment:
    from ade_hpc.spec.experiment import load_experiment

    experiment = load_experiment(path, site)
    if experiment.name != order.experiment:
        raise UsageError(f"the committed {order.file} is of {experiment.name!r}, not {order.experiment!r}: commit it")
    if order.image:  # by its digest, wherever the laptop has it; the record of the attempt has this path
        experiment = experiment.model_copy(update={"image": _depot().image(order)})
    return experiment


def _scheduler(order: Order, site: Site) -> Scheduler:
    return open_scheduler("local" if order.local else site.scheduler, site)


def _receipt(folder: ExperimentDir, number: int, job_id: str, *, adopted: bool) -> dict[str, Any]:
    from ade_hpc.store.records import load_attempt

    record = load_attempt(folder.attempt(number))
    return {
        "name": folder.name,
        "attempt": number,
        "job_id": job_id,
        "run_dir": str(folder.path),
        "scheduler": record.scheduler if record else "",
        "commit": record.commit if record else "",
        "tree": record.tree if record else "",
        "adopted": adopted,
    }


def _registered(name: str) -> ExperimentDir | None:
    registry = registry_path(os.environ)
    if not (registry / f"{name}.json").exists():
        return None
    folder = experiments(registry, (name,))[0]
    return folder if folder.record.exists() else None


def _depot() -> Depot:
    return Depot(Path.home())
