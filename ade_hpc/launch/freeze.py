# SPDX-License-Identifier: Apache-2.0
"""Freeze what is to run: a commit on the experiment's branch, its tree on disk, the parent checkpoint, the record."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path, PurePosixPath

from ade_hpc.errors import RepoError, SpecError, StoreError
from ade_hpc.launch.image import find_container, identify_image
from ade_hpc.launch.parent import pin
from ade_hpc.launch.plan import Plan
from ade_hpc.metrics.objective import role
from ade_hpc.model import Scalar
from ade_hpc.repo.branch import Project, commit_file, freeze, open_project, read_file, tree_of
from ade_hpc.repo.edit import flatten, set_scalar
from ade_hpc.repo.snapshot import materialise
from ade_hpc.spec.experiment import Experiment
from ade_hpc.spec.preferences import Preferences, load_preferences
from ade_hpc.spec.site import Site
from ade_hpc.store.files import read_json
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.records import SCHEMA, AttemptRecord, FastPath


def commit_plan(experiment_dir: ExperimentDir, experiment: Experiment, plan: Plan) -> str:
    """The commit that this plan runs, made where it does not stand yet. Only ``ade/<experiment>`` moves."""
    project = open_project(experiment.root)
    trailers = {
        "Ade-Experiment": experiment.name,
        "Ade-Attempt": str(plan.attempt),
        "Ade-Job-Name": plan.token,
        "Ade-Author": plan.author,
        **plan.trailers,
    }
    if plan.base is None or plan.source is None:
        return freeze(
            project,
            experiment.name,
            allow_dirty=plan.allow_dirty,
            trailers=trailers,
            exclude=[experiment_dir.path.parent],
        )
    if not plan.changes:
        return plan.source
    path = config_path(project, experiment)
    text = read_file(project, plan.source, path)
    for change in plan.changes:
        text = set_scalar(text, change.key, change.new)
    if text == read_file(project, plan.base, path):
        return plan.base  # an earlier try got as far as the commit, and was refused by the scheduler
    subject = ", ".join(f"{change.key}: {change.old} -> {change.new}" for change in plan.changes)
    return commit_file(
        project, experiment.name, path, text, parent=plan.base, subject=subject, body=plan.reason, trailers=trailers
    )


def freeze_attempt(
    experiment_dir: ExperimentDir, experiment: Experiment, site: Site, plan: Plan, commit: str
) -> AttemptRecord:
    """Put everything that the payload needs into the attempt's folder; returns the record, which is to come last.

    May be repeated until that is saved, also for another commit: nothing has run from it yet.
    """
    attempt = experiment_dir.attempt(plan.attempt)
    attempt.make_folders()
    project = open_project(experiment.root)
    tree = tree_of(project, commit)
    _link_code(project, commit, experiment_dir.trees / tree, attempt, experiment)
    if plan.parent is not None:
        pin(plan.parent, experiment_dir.attempt(plan.parent.attempt), attempt)
    preferences = _preferences(experiment)
    return AttemptRecord(
        schema=SCHEMA,
        experiment=experiment.name,
        number=plan.attempt,
        token=plan.token,
        scheduler=plan.scheduler,
        commit=commit,
        tree=tree,
        prefix=str(project.prefix),
        spec=experiment.to_json(),
        config=read_config(project, experiment, commit),
        created_at=time.time(),
        heartbeat_interval_s=site.heartbeat_interval_s,
        author=plan.author,
        reason=plan.reason,
        container=find_container(site.container) if experiment.image else "",
        image=identify_image(experiment.image, experiment_dir.path) if experiment.image else None,
        parent=plan.parent,
        changes=plan.changes,
        fast_path=_fast_path(experiment_dir, preferences),
        gpu_hours=preferences.limits.gpu_hours,
        directives=plan.directives,
    )


def _preferences(experiment: Experiment) -> Preferences:
    """What the node is told of them; nothing, where they can't be read. A tick says what is wrong."""
    try:
        return load_preferences(experiment.preferences) if experiment.preferences else Preferences()
    except SpecError:
        return Preferences()


def _fast_path(experiment_dir: ExperimentDir, preferences: Preferences) -> FastPath | None:
    """What the node may answer by itself."""
    submitted = read_json(experiment_dir.record) or {}
    if "registry" not in submitted:
        return None
    limits, objective = preferences.limits, preferences.objective
    if not limits.fast_path:
        return None
    return FastPath(
        registry=str(submitted["registry"]),
        site=str(submitted.get("site") or ""),
        ends=limits.mode == "auto",
        objective=objective.tag if objective else "",
        goal=objective.goal if objective else "",
        by_return=objective is not None and role(objective.tag).family == "return",
    )


def read_config(project: Project, experiment: Experiment, commit: str) -> dict[str, Scalar]:
    """The committed hyper-parameters, flattened (``optimizer.lr``); empty without a config file."""
    if not experiment.config:
        return {}
    return dict(flatten(read_file(project, commit, config_path(project, experiment))))


def config_path(project: Project, experiment: Experiment) -> PurePosixPath:
    if not experiment.config:
        raise RepoError("experiment.yaml names no `config:`, so there is nothing that could be changed")
    return project.prefix / str(experiment.config)


def _link_code(project: Project, commit: str, target: Path, attempt: AttemptDir, experiment: Experiment) -> None:
    """The tree is shared by all attempts that have it; the attempt only points at it.

    At this one: an earlier try, cut off before its record, may have come from another commit.
    """
    materialise(project, commit, target, code=experiment.code)
    link = os.path.relpath(target, attempt.path)
    try:
        if not attempt.code.is_symlink() or os.readlink(attempt.code) != link:
            fresh = attempt.path / f".code-{secrets.token_hex(4)}"
            fresh.symlink_to(link)
            os.replace(fresh, attempt.code)
    except OSError as error:
        raise StoreError(f"{attempt.code}: can't be made: {error.strerror}") from error
