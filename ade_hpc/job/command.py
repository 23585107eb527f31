# SPDX-License-Identifier: Apache-2.0
"""The trainer's command line and environment: placeholders expanded, values passed by allow-list. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ade_hpc.model import Scalar

PLACEHOLDER = re.compile(r"\{(config|tensorboard|checkpoints|attempt)\}")
# What a trainer needs of the job's environment; the rest stays out.
DEVICE_NAMES = frozenset(
    "CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES GPU_DEVICE_ORDINAL"
    " ZE_AFFINITY_MASK LANG TZ"
    " http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY".split()
)
# In the scratch folder; ADE_PROGRESS and ADE_STACKS name them to the trainer
PROGRESS_FILE = "progress"
STACKS_FILE = "stacks"
FABRIC_PREFIXES = ("NCCL_", "UCX_", "FI_", "OMP_")


@dataclass(frozen=True)
class Layout:
    """The folders of a start as the trainer sees them: host paths, or the container's own below ``/ade``."""

    workdir: str
    config: str
    tensorboard: str
    checkpoints: str
    start: str
    scratch: str


def expand(
    command: Sequence[str],
    layout: Layout,
    *,
    attempt: int,
    resume: Sequence[str],
    params: Mapping[str, Scalar],
) -> list[str]:
    """Replace the named placeholders, and no other braces.

    ``{resume}`` and ``{params}`` stand for zero or more arguments, so they count only as a whole argument.
    """
    values = {
        "config": layout.config,
        "tensorboard": layout.tensorboard,
        "checkpoints": layout.checkpoints,
        "attempt": str(attempt),
    }
    expanded: list[str] = []
    for word in command:
        if word == "{resume}":
            expanded += resume
        elif word == "{params}":
            expanded += as_flags(params)
        else:
            expanded.append(PLACEHOLDER.sub(lambda match: values[match[1]], word))
    return expanded


def as_flags(params: Mapping[str, Scalar]) -> list[str]:
    """``{"optimizer.lr": 0.1, "amp": True}`` -> ``["--optimizer.lr", "0.1", "--amp", "true"]``; nulls are left out."""
    flags: list[str] = []
    for key, value in params.items():
        if value is not None:
            flags += [f"--{key}", str(value).lower() if isinstance(value, bool) else str(value)]
    return flags


def trainer_environment(
    job: Mapping[str, str],
    *,
    layout: Layout,
    resume: Sequence[str],
    attempt: int,
    env: Mapping[str, str],
    pass_env: Sequence[str],
    tasks: int,
) -> dict[str, str]:
    """What is set for the trainer beyond the image (or the host's own environment).

    job: the environment of the job on the node. Secrets are named in ``pass_env`` and read here, on the node only.
    """
    wanted = {
        name: value
        for name, value in job.items()
        if name in DEVICE_NAMES
        or name in pass_env
        or name.startswith(FABRIC_PREFIXES)
        or (tasks > 1 and name.startswith("SLURM_"))
    }
    return {
        **wanted,
        "ADE_CONFIG": layout.config,
        "ADE_TENSORBOARD": layout.tensorboard,
        "ADE_CHECKPOINTS": layout.checkpoints,
        "ADE_RESUME": shlex.join(resume),
        "ADE_ATTEMPT": str(attempt),
        "ADE_PROGRESS": f"{layout.scratch}/{PROGRESS_FILE}",
        "ADE_STACKS": f"{layout.scratch}/{STACKS_FILE}",
        "PYTHONUNBUFFERED": "1",  # its output goes to a file that people follow
        "TMPDIR": layout.scratch,
        **env,
    }


def host_environment(job: Mapping[str, str], trainer: Mapping[str, str]) -> dict[str, str]:
    """Without an image the job's own environment counts (``setup:`` made it: modules, conda), less what is ours.

    SLURM_* stays out of a one-task trainer: libraries that find it start to look for other tasks.
    """
    ours = ("SUBMITIT_", "ADE_", "SBATCH_", "SRUN_", "PMI", "SLURM_")
    kept = {name: value for name, value in job.items() if not name.startswith(ours)}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **trainer}
