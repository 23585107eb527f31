# SPDX-License-Identifier: Apache-2.0
"""What is asked of Slurm, in Slurm's own names, and the escape hatch for every option that has no field here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ade_hpc.model import Scalar
from ade_hpc.spec.fields import Memory, OneLine, SlurmTime, one_line
from ade_hpc.spec.schema import Spec
from ade_hpc.spec.secrets import no_secret
from ade_hpc.spec.units import memory_mb, slurm_seconds

Options = Mapping[str, str | int | bool]
_GPUS = re.compile(r"([A-Za-z][\w.-]*:)?\d+(,([A-Za-z][\w.-]*:)?\d+)*")
_LONG_OPTION = re.compile(r"[a-z][a-z0-9]+(-[a-z0-9]+)*")
EITHER_OR_MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")  # sbatch(1): mutually exclusive
# Options that would undo a promise of ade-hpc, and what to do instead.
OWNED = {
    "job-name": "every attempt has a name of its own; set `name:`",
    "dependency": "it keeps two attempts from running at once",
    "array": "an experiment is one job; write one experiment.yaml for each member",
    "signal": "set `checkpoint: {signal: ...}` and `signal_delay:`",
    "output": "logs lie in the attempt's folder; see `ade-hpc logs`",
    "error": "logs lie in the attempt's folder; see `ade-hpc logs`",
    "open-mode": "logs of a restart are appended",
    "export": "the environment is an allow-list; use `env:` and `pass_env:`",
    "export-file": "the environment is an allow-list; use `env:` and `pass_env:`",
    "get-user-env": "the environment is an allow-list; use `env:` and `pass_env:`",
    "chdir": "the job runs in its frozen snapshot",
    "wrap": "set `command:`",
    "input": "a trainer has no standard input",
    "parsable": "the answer of sbatch is read by ade-hpc",
    "wait": "submitting never waits; use `ade-hpc submit --follow`",
    "test-only": "use `ade-hpc submit --dry-run`",
}


def _gpus(value: Any) -> Any:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _GPUS.fullmatch(text):
        raise ValueError("must be a number of GPUs, or TYPE:NUMBER such as a100:2")
    return text


def _exclude(value: Any) -> Any:
    """A list of nodes, or Slurm's own ``n[1-4],n7``."""
    if isinstance(value, tuple) and value and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return value


class Resources(Spec):
    """The fields of a request that most jobs need. None: sbatch isn't told, the partition's default counts.

    time is Slurm's text (``90`` is minutes); mem is per node; gpus_per_node is ``2`` or ``a100:2``.
    """

    partition: OneLine | None = None
    account: OneLine | None = None
    qos: OneLine | None = None
    time: SlurmTime | None = None
    nodes: Annotated[int, Field(ge=1)] | None = None
    ntasks_per_node: Annotated[int, Field(ge=1)] | None = None
    gpus_per_node: Annotated[str, BeforeValidator(_gpus)] | None = None
    gres: OneLine | None = None
    cpus_per_task: Annotated[int, Field(ge=1)] | None = None
    mem: Memory | None = None
    constraint: OneLine | None = None
    exclude: Annotated[OneLine, BeforeValidator(_exclude)] | None = None
    reservation: OneLine | None = None


RESOURCE_FIELDS = tuple(Resources.model_fields)


def resource_directives(resources: Resources) -> dict[str, str | int | bool]:
    """Long sbatch options without dashes, in the order of the fields."""
    values = {name: getattr(resources, name) for name in RESOURCE_FIELDS}
    return {name.replace("_", "-"): value for name, value in values.items() if value is not None}


def option_name(name: str) -> str:
    """``mail_type``, ``mail-type`` and ``--mail-type`` are the same long option."""
    option = name.removeprefix("--").replace("_", "-")
    if not _LONG_OPTION.fullmatch(option):
        raise ValueError(f"{name!r} is no long option of sbatch: write it as in `sbatch --help`, say mail-type")
    return option


def _owner(name: str) -> str:
    option = option_name(name)
    if option in OWNED:
        raise ValueError(f"belongs to ade-hpc: {OWNED[option]}")
    if option.replace("-", "_") in RESOURCE_FIELDS:
        raise ValueError(f"is a field of its own: write `{option.replace('-', '_')}:` beside `sbatch:`")
    return option


def _once(value: Any) -> Any:
    spellings = [name.replace("_", "-") for name in value] if isinstance(value, Mapping) else []
    twice = [name for name in spellings if spellings.count(name) > 1]
    if twice:
        raise ValueError(f"gives `{twice[0]}` twice, with dashes and with underscores: remove one")
    return value


def _option_value(value: Any) -> Any:
    if value is True or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if value is False or value is None:
        raise ValueError("has no value: leave it out, or list it under `skip:` to keep it out")
    if not isinstance(value, str):
        raise ValueError("must be text, a whole number, or true for an option without a value")
    return no_secret(one_line(value))


OptionName = Annotated[str, AfterValidator(option_name)]
SbatchOptions = Annotated[
    dict[Annotated[str, AfterValidator(_owner)], Annotated[str | int | bool, BeforeValidator(_option_value)]],
    BeforeValidator(_once),
]


def _setup_line(line: str) -> str:
    if line.lstrip().startswith("#SBATCH"):
        raise ValueError("sbatch doesn't read #SBATCH lines here: use `sbatch:`")
    return no_secret(one_line(line))


SetupLine = Annotated[str, AfterValidator(_setup_line)]


def merge_sbatch(own: Options, site: Options, mem: str | None) -> dict[str, str | int | bool]:
    """The site's options below the experiment's own; one way to ask for memory drops the site's other ways."""
    chosen = mem is not None or any(option in own for option in EITHER_OR_MEMORY)
    kept = {name: value for name, value in site.items() if not (chosen and name in EITHER_OR_MEMORY)}
    return {**kept, **own}


def sum_counts(text: str) -> int:
    """``a100:2,v100:1`` -> 3; a type without a number is one."""
    last = [part.rsplit(":", 1)[-1] for part in text.split(",") if part]
    return sum(int(word) if word.isdecimal() else 1 for word in last)


def resource_amount(name: str, value: Scalar) -> float:
    """A resource as a number that can be compared: MB of ``mem``, seconds of ``time``, else a count.

    0 of memory (all of the node) and a time without limit are infinite. Raises ValueError where it can't be counted.
    """
    text = str(value)
    if name == "mem":
        return memory_mb(text) or math.inf
    if name == "time":
        seconds = slurm_seconds(text)
        return math.inf if seconds is None else seconds
    if name == "gpus_per_node" and _GPUS.fullmatch(text):
        return sum_counts(text)
    if name in ("nodes", "ntasks_per_node", "cpus_per_task") and text.isdecimal():
        return int(text)
    raise ValueError(f"{text} can't be counted: bound it with `choices`")
