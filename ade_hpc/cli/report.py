# SPDX-License-Identifier: Apache-2.0
"""report: one HTML page about all experiments, or about some."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ade_hpc.errors import AdeError
from ade_hpc.report.night import gather
from ade_hpc.report.page import render
from ade_hpc.spec.site import load_site
from ade_hpc.store.files import write_atomic
from ade_hpc.store.registry import experiments, registry_path

SCHEMA = 1


def report(names: tuple[str, ...], output: Path, *, as_json: bool) -> None:
    site, now = load_site(os.environ), time.time()
    nights = [gather(folder, site, now=now) for folder in experiments(registry_path(os.environ), names)]
    try:
        write_atomic(output, render(nights, now=now).encode())
    except OSError as error:
        raise AdeError(f"{output}: can't be written: {error.strerror}; give another file with -o") from error
    if as_json:
        told = [{"name": night.name, "needs": list(night.needs)} for night in nights]
        print(json.dumps({"schema": SCHEMA, "path": str(output), "experiments": told}))
        return
    needy = [night.name for night in nights if night.needs]
    print(f"{output}: {', '.join(night.name for night in nights) or 'no experiments'}")
    if needy:
        print(f"needs a person: {', '.join(needy)}")
