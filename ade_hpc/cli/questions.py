# SPDX-License-Identifier: Apache-2.0
"""Questions for a laptop, and its answers, here on the login node: the pass stays here, and so does the guard."""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ade_hpc.agent.wire import to_json
from ade_hpc.cli.jobs import plain, run_tick
from ade_hpc.cli.tables import sentence
from ade_hpc.errors import UsageError
from ade_hpc.spec.site import load_site
from ade_hpc.store.registry import experiments, registry_path
from ade_hpc.supervisor.advice import Advice, put_down
from ade_hpc.supervisor.consult import Pending, allowance, situation
from ade_hpc.supervisor.reports import Report


def tick(text: bytes) -> dict[str, Any]:
    """One pass that asks no model. The reports, and every question that it leaves open."""
    wanted, left_open = _object(text), list[Pending]()
    reports = run_tick(
        [str(name) for name in wanted.get("names", ())],
        dry_run=wanted.get("dry_run") is True,
        llm=False,
        leave_open=left_open.append,
    )
    site = load_site(os.environ)
    asked = [to_json(situation(pending), allowance(pending, site), site) for pending in left_open]
    return {**_reported(reports), "questions": asked}


def answer(text: bytes) -> dict[str, Any]:
    """Put the answer into the inbox, where the next tick finds it, and be that tick."""
    told = _object(text)
    advice = Advice.from_json(json.dumps(told.get("advice")).encode())
    folder = experiments(registry_path(os.environ), (advice.experiment,))[0]
    put_down(folder, advice, _bytes(told.get("picture")), now=time.time())
    return _reported(run_tick([advice.experiment], dry_run=False, llm=False))


def _reported(reports: Sequence[Report]) -> dict[str, Any]:
    rows = [{"report": plain(asdict(report)), "sentence": sentence(report)} for report in reports]
    return {"schema": 1, "experiments": rows}


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError("a laptop's ade-hpc sends a JSON object here")
    return value


def _bytes(text: object) -> bytes:
    try:
        return base64.b64decode(str(text or ""), validate=True)
    except binascii.Error as error:
        raise UsageError("what the model saw came damaged") from error
