# SPDX-License-Identifier: Apache-2.0
"""The inbox: what people and sidecars tell the next tick. Only a tick (or ``submit``) writes the ledger."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ade_hpc.store.files import read_json, write_json
from ade_hpc.store.layout import ExperimentDir


@dataclass(frozen=True)
class Message:
    """One file of the inbox; ``kind`` is what is asked for (``cancel``)."""

    path: Path
    kind: str
    time: float
    data: Mapping[str, Any]


def drop(experiment: ExperimentDir, kind: str, data: Mapping[str, Any], *, now: float) -> None:
    name = f"{int(now * 1000):015d}-{secrets.token_hex(4)}.json"
    write_json(experiment.inbox / name, {"kind": kind, "time": now, "data": dict(data)})


def messages(experiment: ExperimentDir) -> list[Message]:
    """The messages that wait, oldest first; files of another shape are left alone."""
    found = []
    for path in sorted(experiment.inbox.glob("*.json")):
        value = read_json(path) or {}
        kind, time, data = value.get("kind"), value.get("time"), value.get("data")
        if isinstance(kind, str) and isinstance(time, int | float) and isinstance(data, dict):
            found.append(Message(path, kind, float(time), data))
    return found
