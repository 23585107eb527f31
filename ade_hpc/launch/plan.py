# SPDX-License-Identifier: Apache-2.0
"""The plan of one attempt: everything that was decided, as it stands in the ledger *before* anything is done.

A plan can be carried out by anybody who reads it: by the process that made it, or by a later tick after a crash.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ade_hpc.errors import StoreError
from ade_hpc.model import Change, Resume
from ade_hpc.store.ledger import Entry, Ledger
from ade_hpc.store.records import ParentRecord


@dataclass(frozen=True)
class Plan:
    """One attempt to make.

    token: the unique job name. base: the tip of the branch, on which a change goes; None for a first submission (which
    freezes the checkout). source: the commit whose config is changed: that of the attempt which is replaced. The two
    differ where a change was committed and its job then refused. replaces: the attempt that this one takes over from,
    None where nothing of it can be alive.
    directives: what differs from the experiment's own, long options without dashes (more ``mem`` after an OOM).
    request: who asked for it, in a word of their own (a laptop's), so that asking twice makes one attempt.
    """

    attempt: int
    token: str
    scheduler: str
    author: str
    reason: str
    base: str | None = None
    source: str | None = None
    changes: tuple[Change, ...] = ()
    resume: Resume = "none"
    parent: ParentRecord | None = None
    replaces: int | None = None
    allow_dirty: bool = False
    directives: Mapping[str, str | int | bool] = field(default_factory=dict)
    trailers: Mapping[str, str] = field(default_factory=dict)
    request: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Plan:
        try:
            return TypeAdapter(Plan).validate_json(json.dumps(value), strict=True)
        except (ValidationError, ValueError) as error:
            raise StoreError("an intent in the ledger can't be read; it was written by another version") from error


def new_token(experiment: str, attempt: int) -> str:
    """Unique, and safe in a path, a git ref, a job name and an ssh argument."""
    return f"ade-{experiment}-{attempt:04d}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class OpenPlan:
    """An intent without its end: a submission that was cut off, or is going on elsewhere."""

    plan: Plan
    since: float


def open_plans(ledger: Ledger) -> list[OpenPlan]:
    """Intents that nothing closed yet, oldest first: not refused, not submitted, or the old job not yet seen off."""
    intents = [OpenPlan(Plan.from_json(entry.data), entry.time) for entry in ledger.of_kind("intent")]
    return [one for one in intents if not _is_closed(ledger, one.plan)]


def _is_closed(ledger: Ledger, plan: Plan) -> bool:
    last = "submitted" if plan.replaces is None else "replaced"
    return fact(ledger, "refused", plan.attempt) is not None or fact(ledger, last, plan.attempt) is not None


def fact(ledger: Ledger, kind: str, attempt: int) -> Entry | None:
    """The latest entry of this kind about this attempt."""
    return next((entry for entry in reversed(ledger.of_kind(kind)) if entry.data.get("attempt") == attempt), None)
