# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc check`: every error and warning of the researcher's files at once, also between the files."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ade_hpc.errors import Problem, SpecError
from ade_hpc.model import Resume, Scalar
from ade_hpc.spec.checkout import live_links
from ade_hpc.spec.document import Document, Place, Plain, dotted, parse
from ade_hpc.spec.experiment import Experiment, read_experiment
from ade_hpc.spec.files import check_ownership, decode, read_bytes, read_text
from ade_hpc.spec.never_fires import never_fires
from ade_hpc.spec.preference_fields import Tunable
from ade_hpc.spec.preferences import PreferencesReading, read_preferences
from ade_hpc.spec.schema import as_yaml_float, nearest
from ade_hpc.spec.site import Site, load_site

Tags = Callable[[Experiment], Collection[str]]


def _no_runs(experiment: Experiment) -> Collection[str]:
    return ()


def check(paths: Sequence[Path], env: Mapping[str, str] | None = None, tags_of: Tags = _no_runs) -> list[Problem]:
    """Every problem of these files and of the site file; an experiment file pulls in its preferences and its config.

    A ``.md`` file is read as preferences, one named ``site.yaml`` as a site file, any other as an experiment. Never
    raises SpecError: what it would say is in the list, each problem once, in the order of files and lines.

    env: where the site file is looked for; the process's own environment by default.
    tags_of: what the past runs of an experiment have logged; nothing where there were none.
    """
    env = os.environ if env is None else env
    problems, site = _site(env)
    for path in paths:
        if path.suffix.lower() in (".md", ".markdown"):
            reading, found = _preferences(path)
            problems += [*found, *_never(reading)]
        elif path.name == "site.yaml":
            problems += _site({**env, "ADE_SITE": str(path)})[0]
        else:
            problems += _experiment(path, site, tags_of)
    return list(dict.fromkeys(problems))


def warnings_of(path: Path, *, tags: Collection[str], keys: Collection[str] | None) -> list[Problem]:
    """What of this preferences.md can't take effect on runs with these tags and these keys of the config."""
    reading, found = _preferences(path)
    return [problem for problem in (*found, *_never(reading, tags=tags, keys=keys)) if problem.warning]


def _site(env: Mapping[str, str]) -> tuple[list[Problem], Site]:
    try:
        return [], load_site(env)
    except SpecError as error:
        return list(error.problems), Site()


def _preferences(path: Path) -> tuple[PreferencesReading | None, list[Problem]]:
    try:
        reading = read_preferences(decode(read_bytes(path), path), str(path))
    except SpecError as error:
        return None, list(error.problems)
    problems = list(reading.problems)
    try:
        check_ownership(path)
    except SpecError as error:
        problems = [*error.problems, *problems]
    return reading, problems


def _experiment(path: Path, site: Site, tags_of: Tags) -> list[Problem]:
    try:
        reading = read_experiment(path, site)
    except SpecError as error:
        return list(error.problems)
    problems = list(reading.problems)
    experiment = reading.experiment
    if experiment is None:
        return problems
    for place, sentence in live_links(experiment):
        problems.append(reading.document.problem(place, f"`{dotted(place)}`: {sentence}", warning=True))
    preferences = None
    if experiment.preferences is not None and experiment.preferences.is_file():
        preferences, found = _preferences(experiment.preferences)
        tags = tags_of(experiment)
        problems += [*found, *_never(preferences, tags=tags, resumes=_resumes(experiment))]
    return problems + _config(experiment, preferences)


def _resumes(experiment: Experiment) -> frozenset[str]:
    """From what a new attempt of this experiment can resume."""
    if experiment.checkpoint is None:
        return frozenset({"none"})
    return frozenset(get_args(Resume)) - ({"weights"} if experiment.checkpoint.weights is None else set())


def _never(reading: PreferencesReading | None, **known: Any) -> list[Problem]:
    """What can't take effect, where the file as such is right: else the errors are enough to begin with."""
    if reading is None or reading.preferences is None or any(not problem.warning for problem in reading.problems):
        return []
    return sorted(never_fires(reading.preferences, reading.document, **known), key=lambda problem: problem.line)


def _config(experiment: Experiment, preferences: PreferencesReading | None) -> list[Problem]:
    """The config as such, and whether each tunable is there with a value that may be changed."""
    tunables = preferences.preferences.tunables if preferences and preferences.preferences else {}
    wishes = preferences.document if preferences else None
    if experiment.config is None:
        message = f"`tunables`: {experiment.source.name} names no `config:`, so there is nothing that could be changed"
        return [wishes.problem(("tunables",), message)] if wishes and tunables else []
    path = experiment.root / experiment.config
    if not path.is_file():
        return []  # said already
    try:
        config = parse(read_text(path), str(path), foreign_tags=True)
    except SpecError as error:
        return list(error.problems)
    if not isinstance(config.data, dict):
        return [config.problem((), "a config must hold `key: value` lines")]
    values = flatten(config.data)
    found = (_tunable(key, tunable, values, config, wishes) for key, tunable in tunables.items() if wishes)
    return [*config.problems, *(problem for problem in found if problem)]


def flatten(value: Plain) -> dict[str, tuple[Place, Scalar]]:
    """Each scalar of a config with its place, by its dotted key; list items are numbered (``layers.0.size``)."""
    flat: dict[str, tuple[Place, Scalar]] = {}

    def walk(item: Plain, place: Place) -> None:
        if isinstance(item, dict | tuple):
            for step, child in item.items() if isinstance(item, dict) else enumerate(item):
                walk(child, (*place, step))
        else:
            flat[".".join(map(str, place))] = (place, item)

    walk(value, ())
    return flat


def _tunable(
    key: str, tunable: Tunable, values: Mapping[str, tuple[Place, Scalar]], config: Document, wishes: Document
) -> Problem | None:
    if key not in values:
        message = f"`tunables.{key}`: not in {config.file}; {nearest(key, values)}"
        return wishes.problem(("tunables", key), message)
    place, value = values[key]
    loose = as_yaml_float(value) if isinstance(value, str) else None
    if loose:
        return config.problem(place, f"`{key}`: PyYAML reads {value} as text, and the trainer gets text: write {loose}")
    refusal = tunable.refusal(value)
    return config.problem(place, f"`{key}`: {refusal} (its bounds in {wishes.file})", warning=True) if refusal else None
