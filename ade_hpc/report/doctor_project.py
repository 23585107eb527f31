# SPDX-License-Identifier: Apache-2.0
"""The doctor on what the experiments themselves ask for: a git remote to push to, a model that looks at pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ade_hpc.errors import AdeError
from ade_hpc.launch.lineage import submitted_experiment
from ade_hpc.report.checkup import Check, Patient, tried
from ade_hpc.spec.experiment import Experiment, load_experiment
from ade_hpc.spec.preferences import load_preferences
from ade_hpc.store.registry import experiments


def project_checks(patient: Patient, git: Check, model: Check) -> Iterator[Check]:
    """git, model: the lines on which these stand."""
    yield tried(_push, patient, "git push", git)
    yield tried(_vision, patient, "vision model", model)


def _push(patient: Patient) -> Check:
    """Ask each remote, without sending anything, whether it would take the branch."""
    from ade_hpc.repo.project import open_project
    from ade_hpc.repo.push import try_push

    tries = {(one.root, one.name, one.push) for one in _known(patient) if one.push != "never"}
    for root, name, remote in sorted(tries):
        try:
            try_push(open_project(root), name, remote)
        except AdeError as error:
            advice = "mend it until `git push` there asks for nothing, or write `push: never` into experiment.yaml"
            return Check("git push", "red", str(error), advice)
    remotes = ", ".join(sorted({remote for _, _, remote in tries}))
    return Check("git push", "green", f"{remotes} would take it" if tries else "no experiment asks for it")


def _vision(patient: Patient) -> Check:
    from ade_hpc.agent.sight import mistaken

    names = sorted(set(_vision_models(patient)))
    advice = "name a `vision_model` that takes pictures, or none: curves are then judged by their numbers"
    for name in names:
        try:
            wrong = mistaken(name, patient.site.llm, patient.environ)
        except AdeError as error:
            return Check("vision model", "red", f"{name}: {error}", advice)
        if wrong:
            return Check("vision model", "red", f"{name} said {wrong}", advice)
    return Check("vision model", "green", f"{', '.join(names)} can see" if names else "no experiment names one")


def _vision_models(patient: Patient) -> Iterator[str]:
    """Of those that are asked from here; what a laptop asks is the laptop's."""
    for path in {one.preferences for one in _known(patient) if one.preferences is not None}:
        try:
            agent = load_preferences(path).agent
        except AdeError:
            continue  # `check` and the tick say so
        if agent is not None and agent.ask != "never" and agent.where == "tick" and agent.vision_model:
            yield agent.vision_model


def _known(patient: Patient) -> Iterator[Experiment]:
    """Those that were submitted, and the one of this folder, which may be about to be.

    What can't be read has a line of its own, or is said by `ade-hpc check`.
    """
    with suppress(AdeError):
        for folder in experiments(patient.service.registry):
            yield submitted_experiment(folder)[0]
    with suppress(AdeError):
        yield load_experiment(Path.cwd() / "experiment.yaml", patient.site)
