# SPDX-License-Identifier: Apache-2.0
"""init and check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer


def init(folder: Path) -> None:
    from ade_hpc.spec.templates import init as write

    written = write(folder)
    for path in written:
        print(f"wrote {path}")
    if not written:
        print("all files are there already; nothing was written")
    print("next: edit them, run `ade-hpc check`, commit them, and run `ade-hpc submit experiment.yaml`")


def check(paths: Sequence[Path], *, as_json: bool) -> None:
    from ade_hpc.report.past_tags import tags_of
    from ade_hpc.spec.check import check as find

    problems = find(paths, tags_of=tags_of)
    errors = [problem for problem in problems if not problem.warning]
    if as_json:
        rows = [{"file": p.file, "line": p.line, "message": p.message, "warning": p.warning} for p in problems]
        print(json.dumps({"schema": 1, "problems": rows}))
    else:
        for problem in problems:
            print(problem)
        if not errors:
            print(f"{', '.join(str(path) for path in paths)}: no errors")
    raise typer.Exit(1 if errors else 0)
