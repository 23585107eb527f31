# SPDX-License-Identifier: Apache-2.0
"""site.yaml: what holds for every experiment of a user on a cluster. Without one, defaults hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from ade_hpc.errors import SpecError
from ade_hpc.spec.document import parse
from ade_hpc.spec.fields import Duration, SlurmTime, one_line, resolve_path
from ade_hpc.spec.files import read_text
from ade_hpc.spec.resources import OptionName, Resources, SbatchOptions, SetupLine
from ade_hpc.spec.schema import Spec, validate

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def _container(text: str) -> str:
    """A program to look up on PATH, or an absolute path."""
    one_line(text)
    if "/" in text and not text.startswith("/"):
        raise ValueError("must be an absolute path, or a name such as apptainer that is looked up on PATH")
    return text


def _seconds(value: float) -> float:
    if not 1 <= value <= 3600:
        raise ValueError("must be between 1s and 1h")
    return value


def _expanded(value: object, info: ValidationInfo) -> object:
    """One site file serves many users, so here ``$USER`` and ``$SCRATCH`` may stand in a path."""
    env: Mapping[str, str] = info.context or {}

    def lookup(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not env.get(name):
            raise ValueError(f"${name} is not set where this command runs")
        return env[name]

    return resolve_path(_VARIABLE.sub(lookup, value), None) if isinstance(value, str) else value


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s@]+", text):
        raise ValueError("must be an http(s) address without a password, such as https://llm.example.org/v1")
    return text


class Price(Spec):
    """What a model costs, in any currency, per million tokens that it reads (``input``) and writes (``output``)."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


class Llm(Spec):
    """How language models are reached from this site; which one is asked stands in preferences.md.

    base_url: of an OpenAI-compatible server; None: ``OPENAI_BASE_URL``, else the provider's own.
    key_file: a file of mode 0600 that holds the key and nothing else; None: the key is in the environment.
    timeout_s: for one request. prices: by the model's name, as preferences.md has it.
    """

    base_url: Annotated[str, AfterValidator(_url)] | None = None
    key_file: Annotated[Path, BeforeValidator(_expanded)] | None = None
    timeout_s: Annotated[Duration, AfterValidator(_seconds)] = Field(default=60.0, alias="timeout")
    prices: dict[str, Price] = Field(default_factory=dict)


class Schedule(Resources):
    """What a scheduled tick asks of Slurm where it runs by scrontab: a small job on a compute node.

    Sites may want a partition or QOS of its own for it (NERSC: ``qos: workflow``, ``constraint: cron``).
    """

    time: SlurmTime | None = "00:10:00"


class Site(Spec):
    """The site file.

    defaults, sbatch, setup, skip: below, and before, what each experiment says itself.
    runs_dir: where run folders go, say a scratch filesystem; None: ``.ade`` beside each experiment.yaml.
    max_live_attempts, max_submissions_per_hour: caps over all experiments of the user (invariant 3).
    heartbeat_interval_s: how often a node's heartbeat file is replaced. slurm_timeout_s: for each Slurm command.
    pyslurm: ask queue and accounting through it where it is installed; Slurm's programs answer what it can't.
    container: apptainer or singularity, a name or an absolute path; None: whichever is on PATH.
    llm: how language models are reached. schedule: what a scheduled tick asks of Slurm.
    """

    defaults: Resources = Resources()
    sbatch: SbatchOptions = Field(default_factory=dict)
    skip: tuple[OptionName, ...] = ()
    setup: tuple[SetupLine, ...] = ()
    runs_dir: Annotated[Path, BeforeValidator(_expanded)] | None = None
    max_live_attempts: Annotated[int, Field(ge=1)] = 8
    max_submissions_per_hour: Annotated[int, Field(ge=1)] = 12
    heartbeat_interval_s: Annotated[Duration, AfterValidator(_seconds)] = Field(
        default=30.0, alias="heartbeat_interval"
    )
    slurm_timeout_s: Annotated[Duration, AfterValidator(_seconds)] = Field(default=45.0, alias="slurm_timeout")
    scheduler: Literal["slurm", "local"] = "slurm"
    pyslurm: bool = False
    container: Annotated[str, AfterValidator(_container)] | None = None
    llm: Llm = Llm()
    schedule: Schedule = Schedule()


def site_path(env: Mapping[str, str]) -> tuple[Path, bool]:
    """Where the site file is looked for, and whether it must exist (because ``ADE_SITE`` names it)."""
    if env.get("ADE_SITE"):
        return Path(env["ADE_SITE"]).absolute(), True
    home = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME") or Path.home()) / ".config")
    return Path(home) / "ade-hpc" / "site.yaml", False


def load_site(env: Mapping[str, str]) -> Site:
    """The site file named by ``ADE_SITE``, else ``$XDG_CONFIG_HOME/ade-hpc/site.yaml``, else the defaults.

    Raises SpecError with every problem found.
    """
    path, required = site_path(env)
    if not required and not path.exists():
        return Site()
    document = parse(read_text(path), str(path))
    found = validate(Site, {} if document.data is None else document.data, document, context=env)
    problems = [*document.problems, *found.problems]
    if found.value is None or problems:
        raise SpecError(sorted(problems, key=lambda problem: problem.line))
    return found.value
