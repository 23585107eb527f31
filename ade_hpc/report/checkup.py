# SPDX-License-Identifier: Apache-2.0
"""What a probe of the doctor gives and gets: one line, and the place that is looked at."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ade_hpc.errors import SchedulerError, StoreError
from ade_hpc.scheduler.environment import clean_env
from ade_hpc.scheduler.run import Completed, run
from ade_hpc.spec.site import Site
from ade_hpc.store.registry import experiments
from ade_hpc.store.service import Service

TIMEOUT_S = 20.0  # slurmctld's clients give up by themselves after 10 s
OPENAI = "https://api.openai.com/v1"
NOT_TESTED = "not tested"

Level = Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class Check:
    """One line of the doctor. advice: what to do, empty where nothing is to be done."""

    name: str
    level: Level
    said: str
    advice: str = ""


@dataclass(frozen=True)
class Patient:
    """Where the doctor looks: the environment, the site file (the defaults where it is broken), the registry."""

    environ: Mapping[str, str]
    site: Site
    service: Service

    def run(self, *argv: str) -> Completed:
        return run(argv, timeout=TIMEOUT_S, env=clean_env(self.environ))

    @property
    def runs_dir(self) -> Path:
        """Where the next run folder would go: the site's place, else beside a known experiment, else here."""
        if self.site.runs_dir is not None:
            return self.site.runs_dir
        try:
            known = [one for one in experiments(self.service.registry) if one.path.is_dir()]
        except StoreError:
            known = []
        return known[-1].path.parent if known else Path.cwd() / ".ade"

    @property
    def model_address(self) -> str:
        """Of the model's server, where one is configured; else empty."""
        environ, llm = self.environ, self.site.llm
        named = llm.base_url or environ.get("OPENAI_BASE_URL") or environ.get("OPENAI_API_BASE")
        return named or (OPENAI if llm.key_file or environ.get("OPENAI_API_KEY") else "")


def tried(probe: Callable[[Patient], Check], patient: Patient, name: str, ground: Check | None = None) -> Check:
    """The probe's answer, unless that on which it stands is broken already. No answer in time is red too."""
    if ground is not None and (ground.level == "red" or ground.said.startswith(NOT_TESTED)):
        return Check(name, "yellow", f"{NOT_TESTED}: it needs {ground.name}")
    try:
        return probe(patient)
    except SchedulerError as error:
        return Check(name, "red", str(error), "ask your site's support, or try again later")


def version(said: str) -> tuple[int, int]:
    """Major and minor from what a program says of itself; what can't be read counts as new."""
    match = re.search(r"(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (sys.maxsize, 0)
