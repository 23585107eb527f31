# SPDX-License-Identifier: Apache-2.0
"""Field types that the three files share. Each raises one ValueError that says what would be right."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sized
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo

from ade_hpc.model import Scalar
from ade_hpc.spec.schema import as_yaml_float
from ade_hpc.spec.units import format_duration, memory_mb, parse_duration, slurm_seconds

T = TypeVar("T", bound=Sized)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def one_line(text: str) -> str:
    """A text that can stand on one line of a script without changing what the line is."""
    if not text.strip():
        raise ValueError("must not be empty")
    if not text.isprintable():
        raise ValueError("must be one line without control characters")
    return text


def _env_name(name: str) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise ValueError("must be the name of an environment variable: letters, digits and underscores")
    return name


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value:
        raise ValueError(f"must be a duration with its unit, such as 90s, 30m or 2h, not {value!r}")
    return 0.0


def _slurm_time(value: Any) -> Any:
    """``time: 30`` is a number in YAML and minutes in Slurm; ``time: 1:00:00`` arrives as text (see document.py)."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise ValueError("must be a Slurm time such as 90 (minutes), 1:30:00 or 2-12")
    slurm_seconds(text)
    return text


def _memory(value: Any) -> Any:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise ValueError("must be a size such as 16G or 500M")
    memory_mb(text)
    return text


def resolve_path(value: str, root: Path | None) -> Path:
    """An absolute path: ``~`` expanded, the rest relative to ``root``; no environment variables. Raises ValueError."""
    one_line(value)
    if "://" in value:
        raise ValueError("must be a file: fetch it first, say with `apptainer pull NAME.sif URI`")
    if "$" in value:
        raise ValueError("variables are not expanded here: write the path itself, or begin it with ~")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"no home folder is known for {value.partition('/')[0]}") from None
    if not path.is_absolute() and root is None:
        raise ValueError("must be an absolute path")
    return Path(os.path.normpath(root / path if root else path))


def _resolved(value: Any, info: ValidationInfo) -> Any:
    """Without a folder to start from (a stored experiment) the path has been resolved before."""
    if not isinstance(value, str | Path):
        return value
    return Path(value) if info.context is None else resolve_path(str(value), info.context)


def inside(value: str) -> str:
    """A relative path that stays below the folder of experiment.yaml, in its shortest form."""
    one_line(value)
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or value.startswith("~"):
        raise ValueError("must be a relative path below the folder of experiment.yaml: what runs is what git has there")
    return str(path)


def not_empty(items: T) -> T:
    """Instead of pydantic's ``min_length``, which also counts what has been complained of already."""
    if not items:
        raise ValueError("must not be empty")
    return items


def config_scalar(value: Any) -> Any:
    """A value that can stand in the trainer's config: one scalar, and no number that YAML would read as text."""
    if isinstance(value, tuple | list | dict):
        raise ValueError("must be one value, not a list or a mapping")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    loose = as_yaml_float(value) if isinstance(value, str) else None
    if loose:
        raise ValueError(f"YAML reads {value} as text: write {loose}")
    return value


OneLine = Annotated[str, AfterValidator(one_line)]
EnvName = Annotated[str, AfterValidator(_env_name)]
Duration = Annotated[float, BeforeValidator(_duration), PlainSerializer(format_duration)]
SlurmTime = Annotated[str, BeforeValidator(_slurm_time)]
Memory = Annotated[str, BeforeValidator(_memory)]
Resolved = Annotated[Path, BeforeValidator(_resolved)]
Inside = Annotated[str, AfterValidator(inside)]
ConfigScalar = Annotated[Scalar, BeforeValidator(config_scalar)]
