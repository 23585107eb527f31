# SPDX-License-Identifier: Apache-2.0
"""Can this site do it? Each precondition is tried, not looked up: for `ade-hpc doctor`.

Each probe ends in time and gives one line: green, yellow (works, with less) or red, and what to do. A probe whose
ground is missing is yellow, "not tested": one broken thing is one red line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ade_hpc.errors import AdeError
from ade_hpc.report.checkup import Check, Patient, tried
from ade_hpc.report.doctor_here import HERE
from ade_hpc.report.doctor_project import project_checks
from ade_hpc.report.doctor_slurm import slurm_checks
from ade_hpc.spec.site import Site, load_site
from ade_hpc.store.registry import registry_path
from ade_hpc.store.service import Service

SCHEMA = 1


def examine(environ: Mapping[str, str]) -> tuple[Patient, list[Check]]:
    """All that can be tried from here. Never raises for what is broken: that is what it is to say."""
    service = Service(registry_path(environ).absolute())
    try:
        site, problem = load_site(environ), ""
    except AdeError as error:
        site, problem = Site(), " ".join(str(error).split())
    patient = Patient(environ, site, service)
    checks = [
        Check("site file", "red", problem, "mend it; until then defaults are assumed below")
        if problem
        else Check("site file", "green", "is right, or there is none and defaults hold")
    ]
    checks += slurm_checks(patient)
    here = {name: tried(probe, patient, name) for name, probe in HERE.items()}
    return patient, [*checks, *here.values(), *project_checks(patient, here["git"], here["model"])]


def as_json(checks: list[Check]) -> dict[str, Any]:
    return {"schema": SCHEMA, "healthy": exit_code(checks) == 0, "checks": [asdict(check) for check in checks]}


def exit_code(checks: list[Check]) -> int:
    return 1 if any(check.level == "red" for check in checks) else 0
