# SPDX-License-Identifier: Apache-2.0
"""What experiment.yaml may hold: every field with its type, its meaning and what is refused."""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from ade_hpc.spec.command import Command
from ade_hpc.spec.fields import Duration, EnvName, Inside, OneLine, Resolved, inside, one_line
from ade_hpc.spec.resources import OptionName, Resources, SbatchOptions, SetupLine
from ade_hpc.spec.schema import Spec
from ade_hpc.spec.secrets import secret_name, secret_value

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}")
_REMOTE = re.compile(r"[A-Za-z0-9][\w.-]*")


def experiment_name(name: str) -> str:
    """A name that is safe as a path, a git ref, a job name and an ssh argument. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError("must be 1 to 41 of A-Z a-z 0-9 . _ - and begin with a letter or a digit")
    if ".." in name or name.endswith((".lock", ".")):
        raise ValueError("must hold no `..` and not end in `.` or `.lock`: git could not name a branch after it")
    return name


def _signal(name: str) -> str:
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    if full not in signals.Signals.__members__:
        raise ValueError("must be the name of a signal, such as SIGUSR1 or USR1")
    if full in ("SIGKILL", "SIGSTOP"):
        raise ValueError("must be a signal that a program can answer: SIGKILL and SIGSTOP can't be caught")
    return full


def _pattern(text: str) -> str:
    if "{step}" in text and text.count("{step}") > 1:
        raise ValueError("must hold {step} once")
    if set("{}*?[") & set(text.replace("{step}", "")):
        raise ValueError("takes only {step}, once: no other braces, no wildcards")
    return inside(text)


def _resume(words: tuple[str, ...]) -> tuple[str, ...]:
    if not any("{path}" in word for word in words):
        raise ValueError("must hold {path}, where the checkpoint's path goes, such as `--resume {path}`")
    return words


class Checkpoint(Spec):
    """How the trainer saves and resumes.

    pattern: name below the checkpoints folder, ``step-{step}.pt`` or a plain name that is replaced each time.
    resume: the arguments that ``{resume}`` becomes; weights: those that it becomes where only the weights are to be
    taken, into a fresh optimizer, None: the trainer can't; signal: sent before the job must end, None: none is sent;
    complete: for checkpoints that are folders, the file whose presence says that the folder is whole.
    """

    pattern: Annotated[str, AfterValidator(_pattern)]
    resume: Annotated[Command, AfterValidator(_resume)] = ("--resume", "{path}")
    weights: Annotated[Command, AfterValidator(_resume)] | None = None
    signal: Annotated[str, AfterValidator(_signal)] | None = None
    complete: Inside | None = None


def _bind(value: Any) -> Any:
    """``SRC:DST``, ``SRC:DST:rw``, ``SRC:DST:ro`` or a mapping."""
    if not isinstance(value, str):
        return value
    parts = value.split(":")
    if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
        raise ValueError("must be SOURCE:TARGET, with :rw at its end where the trainer may write")
    return {"source": parts[0], "target": parts[1], "writable": parts[2:] == ["rw"]}


def _target(text: str) -> str:
    path = PurePosixPath(one_line(text))
    if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
        raise ValueError("must be an absolute path in the container, and not / itself")
    return str(path)


class Bind(Spec):
    """A folder or file of the host that the container sees; read-only unless said."""

    source: Resolved
    target: Annotated[str, AfterValidator(_target)]
    writable: bool = False


def _public_name(name: str) -> str:
    if secret_name(name):
        raise ValueError("looks like a secret: remove it here and list its name under `pass_env`")
    if name.startswith("ADE_"):
        raise ValueError("belongs to ade-hpc, which sets ADE_... for the trainer at each start")
    return name


def _public_value(value: Any) -> Any:
    if value is None:
        raise ValueError('has no value: write "" for an empty one')
    if isinstance(value, str) and secret_value(value):
        raise ValueError("holds what looks like a key: remove it here, and list the variable's name under `pass_env`")
    return value


def _delay(seconds: float) -> float:
    """sbatch(1), ``--signal``: whole seconds, at most 65535."""
    if not 1 <= seconds <= 65_535 or seconds % 1:
        raise ValueError("must be whole seconds between 1s and 18h")
    return seconds


def _floor(seconds: float) -> float:
    if not 1 <= seconds <= 86_400:
        raise ValueError("must be between 1s and 24h")
    return seconds


def _push(value: str) -> str:
    if not _REMOTE.fullmatch(value):
        raise ValueError("must be `never` or the name of a git remote, such as origin")
    return value


class ExperimentFile(Resources):
    """What experiment.yaml may hold, on top of the resources.

    skip: directives never to emit; setup: lines of shell before the trainer; pass_env: names whose values are read on
    the node; config: the YAML of hyper-parameters, relative to this file; tensorboard: where the trainer itself writes
    its events, as the container sees it (None: it uses ``{tensorboard}``); code: what to freeze (empty: all that git
    tracks); signal_delay_s: how long before the time limit the job is told; push: a git remote, or ``never``;
    stall_floor_s: no shorter silence is a stall, whatever the run's history says (event writers hold back up to 120 s).
    """

    HINTS: ClassVar[Mapping[str, str]] = {
        "resources": "write its fields (partition, time, mem, ...) at the top level, beside `name:`",
        "slurm": "write its fields (partition, time, mem, ...) at the top level, beside `name:`",
        "gpus": "write `gpus_per_node:`, or `sbatch: {gpus: N}` for a number over all nodes",
        "memory": "write `mem:`",
        "cpus": "write `cpus_per_task:`",
        "ntasks": "write `ntasks_per_node:`, or `sbatch: {ntasks: N}` for a number over all nodes",
        "tunables": "it belongs into preferences.md",
        "limits": "it belongs into preferences.md",
        "rules": "it belongs into preferences.md",
        "objective": "it belongs into preferences.md",
    }

    name: Annotated[str, AfterValidator(experiment_name)]
    command: Command
    sbatch: SbatchOptions = Field(default_factory=dict)
    skip: tuple[OptionName, ...] = ()
    setup: tuple[SetupLine, ...] = ()
    image: Resolved | None = None
    binds: tuple[Annotated[Bind, BeforeValidator(_bind)], ...] = ()
    env: dict[Annotated[EnvName, AfterValidator(_public_name)], Annotated[str, BeforeValidator(_public_value)]] = Field(
        default_factory=dict
    )
    pass_env: tuple[EnvName, ...] = ()
    config: Inside | None = None
    preferences: Resolved | None = None
    tensorboard: OneLine | None = None
    checkpoint: Checkpoint | None = None
    code: tuple[Inside, ...] = ()
    runs_dir: Annotated[Resolved, Field(validate_default=True)] = Path(".ade")
    push: Annotated[str, AfterValidator(_push)] = "never"
    signal_delay_s: Annotated[Duration, AfterValidator(_delay)] = Field(default=90.0, alias="signal_delay")
    stall_floor_s: Annotated[Duration, AfterValidator(_floor)] = Field(default=240.0, alias="stall_floor")
