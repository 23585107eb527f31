# SPDX-License-Identifier: Apache-2.0
"""watch: one look, or one a minute, at a job that ade-hpc did not submit."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import typer

from ade_hpc.cli.curves import parse_objective
from ade_hpc.cli.tables import age
from ade_hpc.launch.schedulers import open_scheduler
from ade_hpc.metrics.text import printable
from ade_hpc.spec.site import load_site
from ade_hpc.supervisor.watch import EVERY_S, Sight, as_json
from ade_hpc.supervisor.watch import follow as follow_job
from ade_hpc.supervisor.watch import look as look_at


def watch(
    job_id: str, logdir: Path, objective: str | None, *, follow: bool, json_wanted: bool, every_s: float = EVERY_S
) -> None:
    scheduler, wanted = open_scheduler("slurm", load_site(os.environ)), parse_objective(objective)
    code = 0
    sights = (
        follow_job(job_id, logdir, scheduler, wanted, every_s=every_s)
        if follow
        else iter([look_at(job_id, logdir, scheduler, wanted)])
    )
    for sight in sights:
        answer, code = as_json(sight), sight.code
        print(json.dumps(answer) if json_wanted else _words(sight, answer, timed=follow), flush=True)
    raise typer.Exit(code)


def _words(sight: Sight, answer: dict[str, Any], *, timed: bool) -> str:
    cause = f" ({printable(answer['cause'])})" if answer["cause"] else ""
    clock = time.strftime("%H:%M:%S ") if timed else ""
    where = f" on {answer['nodes']}" if answer["nodes"] else ""
    lines = [f"{clock}job {sight.job_id}: {answer['health']}{cause}{where}; {printable(answer['detail'], 300)}"]
    if answer["reason"]:
        lines.append(f"  waits: {printable(answer['reason'], 300)}")
    for one in answer["sources"]:
        said_at = f" ({age(one['age_s'])} ago)" if one["age_s"] is not None else ""
        lines.append(f"  {one['source']}: {printable(one['said'], 300)}{said_at}")
    step = "" if answer["step"] is None else f", step {answer['step']}"
    lines.append(f"  curves: {answer['verdict']}{step}")
    lines += [
        f"  {one['severity']}: {one['kind']} in {printable(one['tag'])} from step {one['first_step']}"
        for one in answer["findings"]
    ]
    if answer["would"]:
        lines.append(f"  would {answer['would']['action']}: {printable(answer['would']['reason'], 400)}")
    return "\n".join([*lines, *(f"  could not see: {printable(problem, 500)}" for problem in answer["problems"])])
