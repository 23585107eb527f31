# SPDX-License-Identifier: Apache-2.0
"""doctor: one line for each precondition."""

from __future__ import annotations

import json
import os

import typer
from rich.console import Console
from rich.text import Text

from ade_hpc.metrics.text import printable
from ade_hpc.report.checkup import Check
from ade_hpc.report.doctor import as_json, examine, exit_code
from ade_hpc.report.doctor_job import examine_job


def doctor(*, job: bool, json_wanted: bool, host: str | None) -> None:
    checks = _pair(host, job=job) if host else _here(job=job)
    if json_wanted:
        print(json.dumps(as_json(checks)))
        raise typer.Exit(exit_code(checks))
    console = Console(soft_wrap=True, highlight=False)
    for check in checks:
        console.print(Text.assemble((f"{check.level:<7}", check.level), f"{check.name}: {printable(check.said, 300)}"))
        if check.advice:
            console.print(Text(f"       -> {printable(check.advice, 300)}"))
    raise typer.Exit(exit_code(checks))


def _here(*, job: bool) -> list[Check]:
    patient, checks = examine(os.environ)
    return checks + (examine_job(patient) if job else [])


def _pair(host: str, *, job: bool) -> list[Check]:
    from ade_hpc.cli.host import examine_pair

    return examine_pair(host, job=job)
