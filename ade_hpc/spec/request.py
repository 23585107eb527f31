# SPDX-License-Identifier: Apache-2.0
"""What an attempt asks of Slurm: the one reckoning for all who count GPU-hours (guard, job, report, backtest). Pure.

It is read as the most that it can mean: what can't be read here bounds nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ade_hpc.model import Scalar
from ade_hpc.spec.resources import Options, resource_amount, sum_counts

HOUR_S = 3600.0


@dataclass(frozen=True)
class Request:
    """Long sbatch options without dashes, as a script would hold them but for those that it must ``skip``.

    An option that is skipped sets no time limit; GPUs are counted all the same, for the job may get them otherwise.
    """

    options: Options = field(default_factory=dict)
    skip: tuple[str, ...] = ()

    def plus(self, resources: Mapping[str, Scalar]) -> Request:
        """The same with other resources, by their names in experiment.yaml."""
        return replace(self, options={**self.options, **as_options(resources)})

    @property
    def time_limit_s(self) -> float | None:
        """The time limit in seconds; None where none is asked for, and the partition's own holds."""
        try:
            limit = resource_amount("time", self.options["time"])
        except (KeyError, ValueError):
            return None
        return limit if math.isfinite(limit) and "time" not in self.skip else None

    @property
    def gpus(self) -> int:
        """GPUs of the whole job, over all nodes: the most that any of the ways to ask for them can mean."""
        nodes = max(1, self._whole("nodes"))
        tasks = max(nodes * max(1, self._whole("ntasks-per-node")), self._whole("ntasks"))
        gres = (part for part in self._text("gres").split(",") if part.split(":")[0] in ("gpu", "gres/gpu"))
        return max(
            nodes * sum_counts(self._text("gpus-per-node")),
            nodes * sum_counts(",".join(gres)),
            sum_counts(self._text("gpus")),
            tasks * sum_counts(self._text("gpus-per-task")),
        )

    @property
    def gpu_hours(self) -> float:
        """The most that one start may use: infinite without a time limit, 0 without a GPU."""
        limit = math.inf if self.time_limit_s is None else self.time_limit_s
        return self.gpus * limit / HOUR_S if self.gpus else 0.0

    @property
    def fingerprint(self) -> str:
        """The same for the same resources, however they are written (``2:00:00`` and ``120``), on whatever nodes."""
        told = {name: value for name, value in self.options.items() if name not in ("exclude", *self.skip)}
        return " ".join(f"{name}={_amount(name, value)}" for name, value in sorted(told.items()))

    def _text(self, option: str) -> str:
        return str(self.options.get(option, ""))

    def _whole(self, option: str) -> int:
        """``2``, or the most of ``2-4``."""
        return max(map(int, re.findall(r"\d+", self._text(option))), default=0)


def as_options(resources: Mapping[str, Scalar]) -> dict[str, str | int | bool]:
    """Resources as sbatch calls them."""
    return {name.replace("_", "-"): value for name, value in resources.items() if isinstance(value, str | int | bool)}


def _amount(option: str, value: Scalar) -> Scalar:
    try:
        return resource_amount(option, value) if option in ("time", "mem") else value
    except ValueError:
        return value
