# SPDX-License-Identifier: Apache-2.0
"""approve, reject, revert: a person's word goes into the inbox; only a tick acts on it."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Mapping
from typing import Literal

from ade_hpc.errors import UsageError
from ade_hpc.metrics.text import printable
from ade_hpc.model import Scalar
from ade_hpc.store.inbox import drop, messages
from ade_hpc.store.records import load_attempt
from ade_hpc.store.registry import experiments, registry_path
from ade_hpc.supervisor.experiment import Supervised, load_supervised
from ade_hpc.supervisor.record import describe
from ade_hpc.supervisor.wishes import last_change, load_proposal, overwritten, rejected_by, waiting


def answer(name: str, word: Literal["approve", "reject"]) -> None:
    one, attempt = _load(name)
    entry = waiting(one.ledger, attempt)
    proposal = load_proposal(entry.data.get("proposal") or {}) if entry else None
    if entry is None or proposal is None:
        raise UsageError(f"nothing of {name} waits for a person; see: ade-hpc history {name} -v")
    if by := rejected_by(entry.data["id"], messages(one.folder)):
        raise UsageError(f"{by} has rejected what waited, and that is not taken back; see: ade-hpc history {name} -v")
    drop(one.folder, word, {"id": entry.data["id"], "by": getpass.getuser()}, now=time.time())
    print(f"{name}: {word}: {proposal.author} wants {describe(proposal)}, because {proposal.reason}")
    print(f"the next tick acts on it: ade-hpc tick {name}")


def revert(name: str) -> None:
    one, attempt = _load(name)
    plan = last_change(one.ledger)
    if plan is None:
        raise UsageError(f"no change of the config of {name} was made, so there is nothing to take back")
    config = _config(one)
    if (other := overwritten(plan, config)) is not None:
        now = printable(str(config.get(other.key)), 60)
        raise UsageError(
            f"{other.key} of {name} is {now} now, and no longer {other.new} as attempt {plan.attempt} made it, so "
            "there is nothing to take back: commit the value that you want and submit it"
        )
    drop(one.folder, "revert", {"attempt": attempt, "by": getpass.getuser()}, now=time.time())
    changes = ", ".join(f"{change.key}: {change.new} -> {change.old}" for change in plan.changes)
    print(f"{name}: takes back {changes} of attempt {plan.attempt}")
    print(f"the next tick acts on it: ade-hpc tick {name}")


def _config(one: Supervised) -> Mapping[str, Scalar]:
    """What the attempt in charge was committed with."""
    record = load_attempt(one.attempt) if one.attempt is not None else None
    return record.config if record is not None else {}


def _load(name: str) -> tuple[Supervised, int]:
    one = load_supervised(experiments(registry_path(os.environ), (name,))[0])
    if one.attempt is None:
        raise UsageError(f"{name} has not been submitted yet")
    return one, one.attempt.number
