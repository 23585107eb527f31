# SPDX-License-Identifier: Apache-2.0
"""experiment.yaml: what to run and on which resources; read, validated, merged with the site's defaults.

``ExperimentFile`` (experiment_fields.py) is the file's own form; ``Experiment`` adds where it came from and what the
site says. It is stored with each attempt as JSON and read back without loss.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ade_hpc.errors import Problem, SpecError
from ade_hpc.spec.command import near_misses
from ade_hpc.spec.document import Document, Plain, parse
from ade_hpc.spec.experiment_fields import ExperimentFile
from ade_hpc.spec.fields import Resolved
from ade_hpc.spec.files import read_text
from ade_hpc.spec.request import Request
from ade_hpc.spec.resources import EITHER_OR_MEMORY, RESOURCE_FIELDS, Options, merge_sbatch, resource_directives
from ade_hpc.spec.schema import as_tuples, validate
from ade_hpc.spec.site import Site

# `--epochs, 10` and `OMP_NUM_THREADS: 8` are text
_AS_WRITTEN = (("env",), ("command",), ("checkpoint", "resume"), ("checkpoint", "weights"))
NO_EXPERIMENT = (
    "this is no experiment.yaml, for it has neither `name` nor `command`: give the file that says what to run, "
    "or write one with `ade-hpc init`"
)
_STAND_IN: dict[str, Plain] = {"name": "unnamed", "command": ("true",)}


class Experiment(ExperimentFile):
    """A validated experiment: paths absolute, site defaults merged below the file's own values.

    source: the experiment.yaml it came from. ``config`` and ``code`` stay relative to ``root``, as git has them.
    """

    source: Resolved

    @property
    def root(self) -> Path:
        """The folder of experiment.yaml: where relative paths start, and the trainer's working directory in git."""
        return self.source.parent

    def request(self, directives: Options) -> Request:
        """What an attempt asks of Slurm. directives: where it differs from the experiment, as its plan has them."""
        return Request({**self.directives(), **directives}, self.skip)

    def directives(self) -> dict[str, str | int | bool]:
        """Long sbatch options without dashes, in a stable order: the fields first, then ``sbatch:`` as written."""
        return {**resource_directives(self), **self.sbatch}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only; ``from_json`` restores an equal object."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Experiment:
        """Raises SpecError where the stored form is damaged or from another version."""
        try:
            return cls.model_validate(as_tuples(value))
        except ValidationError:
            message = "the stored experiment can't be read by this version: submit experiment.yaml again"
            raise SpecError([Problem("experiment.json", 1, message)]) from None

    def moved(self, old: Path, new: Path) -> Experiment:
        """The same experiment, as it would be if the folder ``old``, which no other word of it names, were ``new``."""
        before, after = (json.dumps(str(folder))[1:-1] for folder in (old, new))
        return self.from_json(json.loads(json.dumps(self.to_json()).replace(before, after)))


@dataclass(frozen=True)
class ExperimentReading:
    """What was found in the file. ``experiment`` is the part that is right, also where ``problems`` has errors."""

    document: Document
    experiment: Experiment | None
    problems: tuple[Problem, ...]


def load_experiment(path: Path, site: Site) -> Experiment:
    """The experiment that ``path`` describes. Raises SpecError with every problem of the file."""
    reading = read_experiment(path, site)
    errors = [problem for problem in reading.problems if not problem.warning]
    if errors or reading.experiment is None:
        raise SpecError(errors)
    return reading.experiment


def read_experiment(path: Path, site: Site) -> ExperimentReading:
    """As ``load_experiment``, with warnings, and going on after errors. Raises SpecError where it isn't YAML."""
    document = parse(read_text(path), str(path))
    if isinstance(document.data, dict) and document.data and not {"name", "command"} & document.data.keys():
        raise SpecError([Problem(str(path), 1, NO_EXPERIMENT)])
    source = Path(os.path.normpath(path.absolute()))
    found = validate(
        ExperimentFile, document.verbatim(*_AS_WRITTEN), document, context=source.parent, stand_in=_STAND_IN
    )
    problems = [*document.problems, *found.problems]
    experiment = None
    if found.value is not None:
        experiment = _with_site(found.value, site, source)
        problems += _across(experiment, document, found.bad)
    return ExperimentReading(document, experiment, tuple(sorted(problems, key=lambda problem: problem.line)))


def _with_site(file: ExperimentFile, site: Site, source: Path) -> Experiment:
    """The file's own values win, also where they are null: `partition: null` asks for no partition."""
    own = file.model_fields_set
    defaults = {name: getattr(site.defaults, name) for name in RESOURCE_FIELDS if name not in own}
    if any(option in {**site.sbatch, **file.sbatch} for option in EITHER_OR_MEMORY):
        defaults.pop("mem", None)
    beside = source.parent / "preferences.md"
    merged = {
        **{name: getattr(file, name) for name in type(file).model_fields},
        **defaults,
        "source": source,
        "sbatch": merge_sbatch(file.sbatch, site.sbatch, file.mem),
        "skip": tuple(dict.fromkeys((*site.skip, *file.skip))),
        "setup": (*site.setup, *file.setup),
        "runs_dir": site.runs_dir if site.runs_dir and "runs_dir" not in own else file.runs_dir,
        "preferences": beside if "preferences" not in own and beside.exists() else file.preferences,
    }
    return Experiment.model_construct(**merged)  # each value has been validated, by the file's model or the site's


def _across(experiment: Experiment, document: Document, bad: frozenset[str]) -> Iterator[Problem]:
    """What no field can know alone. Files are looked for here, not in the types: a stored experiment has none."""
    yield from _files(experiment, document)
    targets = [bind.target for bind in experiment.binds]
    for index, bind in enumerate(experiment.binds):
        if bind.target in targets[:index]:
            yield document.problem(("binds", index), f"`binds[{index}]`: {bind.target} is bound twice: remove one")
    if experiment.mem and any(name in experiment.sbatch for name in EITHER_OR_MEMORY):
        yield document.problem(("mem",), "`mem`: `sbatch:` asks for memory in another way: keep one of them")
    if experiment.image is None and "image" not in bad:
        if experiment.tensorboard:
            message = "`tensorboard` needs an `image`, because it is bound there: write {tensorboard} in the command"
            yield document.problem(("tensorboard",), message)
        if experiment.binds:
            yield document.problem(("binds",), "`binds` has no effect without an `image`", warning=True)
    for sentence in near_misses(experiment.command):
        yield document.problem(("command",), f"`command`: {sentence}", warning=True)
    if experiment.time and experiment.time.count(":") == 1 and "-" not in experiment.time:
        message = f"`time`: {experiment.time} is minutes and seconds to Slurm; write {experiment.time}:00 for hours"
        yield document.problem(("time",), message, warning=True)


def _files(experiment: Experiment, document: Document) -> Iterator[Problem]:
    if experiment.config is not None:
        path = experiment.root / experiment.config
        if not path.is_file():
            yield document.problem(("config",), f"`config`: there is no file {path}")
        elif not path.resolve().is_relative_to(experiment.root.resolve()):
            yield document.problem(("config",), "`config`: a link that leads out of this folder: git can't freeze it")
    if experiment.preferences is not None and not experiment.preferences.is_file():
        yield document.problem(("preferences",), f"`preferences`: there is no file {experiment.preferences}")
    if experiment.image is not None and not experiment.image.exists():
        yield document.problem(("image",), f"`image`: {experiment.image} is not on this machine", warning=True)
    for index, bind in enumerate(experiment.binds if experiment.image else ()):
        if not bind.source.exists():
            message = f"`binds[{index}]`: {bind.source} is not on this machine"
            yield document.problem(("binds", index), message, warning=True)
    for index, name in enumerate(experiment.code):
        if not (experiment.root / name).exists():
            yield document.problem(("code", index), f"`code[{index}]`: there is no {experiment.root / name}")
