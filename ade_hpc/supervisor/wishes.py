# SPDX-License-Identifier: Apache-2.0
"""What a person has said to a proposal that waits, or wants by themselves: approve, reject, revert.

The words come through the inbox into the ledger; here they become proposals that the guard judges like any other.
Every wish is bound to the attempt that the person saw: once another one is in charge, it means nothing any more.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ade_hpc.launch.plan import Plan, fact
from ade_hpc.metrics.text import printable
from ade_hpc.model import Change, Decision, Proposal, Scalar
from ade_hpc.policy.guard import Consent
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.store.inbox import Message
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import Entry, Ledger, append


@dataclass(frozen=True)
class Wish:
    """A proposal with a person behind it."""

    id: str
    proposal: Proposal
    consent: Consent


def proposal_id(attempt: int, proposal: Proposal) -> str:
    """The same for what would have the same effect on the same attempt, whatever the reason given."""
    effect = {
        "attempt": attempt,
        "author": proposal.author,
        "action": proposal.action,
        "changes": [asdict(change) for change in proposal.changes],
        "resume": proposal.resume,
        "resources": dict(proposal.resources),
        "exclude_nodes": list(proposal.exclude_nodes),
    }
    return hashlib.sha256(json.dumps(effect, sort_keys=True).encode()).hexdigest()[:12]


def rejected_by(name: object, said: Iterable[Entry | Message]) -> str:
    """Who has said no to the proposal of this id, in the ledger or in the inbox; empty where nobody has."""
    words = (one.data for one in said if one.kind == "reject")
    return next((printable(str(data.get("by")), 40) for data in words if data.get("id") == name), "")


def unless_rejected(ledger: Ledger, attempt: int, decision: Decision) -> Decision:
    """What is to wait for a person, refused where one has rejected it already."""
    if decision.outcome != "propose":
        return decision
    by = rejected_by(proposal_id(attempt, decision.proposal), ledger.entries)
    return Decision("refuse", decision.proposal, (f"rejected by {by}",)) if by else decision


def put_up(folder: ExperimentDir, ledger: Ledger, attempt: int, proposal: Proposal) -> None:
    """Let a proposal of mode `propose` wait for a person, once."""
    name = proposal_id(attempt, proposal)
    newest = waiting(ledger, attempt)
    if newest is None or newest.data["id"] != name:
        kept = replace(proposal, finding=replace(proposal.finding, evidence={}) if proposal.finding else None)
        append(folder.ledger, "waiting", {"id": name, "attempt": attempt, "proposal": asdict(kept)}, now=time.time())


def waiting(ledger: Ledger, attempt: int) -> Entry | None:
    """The proposal about this attempt that waits for a person: the newest, unless it is settled."""
    newest = fact(ledger, "waiting", attempt)
    closed = {entry.data.get("id") for entry in ledger.of_kind("reject", "settled")}
    return newest if newest is not None and newest.data.get("id") not in closed else None


def standing_wish(ledger: Ledger, snapshot: Snapshot) -> Wish | None:
    """The newest wish about the attempt in charge that nothing has come of yet."""
    settled = {entry.data.get("id") for entry in ledger.of_kind("settled")}
    for entry in reversed(ledger.of_kind("approve", "revert")):
        wish = _approved(ledger, entry, snapshot) if entry.kind == "approve" else _reverted(ledger, entry, snapshot)
        if wish is not None and wish.id not in settled:
            return wish
    return None


def settle(folder: ExperimentDir, wish: Wish, decision: Decision, *, now: float) -> None:
    """Before it is carried out: a wish that is lost in a crash can be repeated, one done twice can't be undone."""
    data = {"id": wish.id, "outcome": decision.outcome, "refusals": list(decision.refusals)}
    append(folder.ledger, "settled", data, now=now)


def last_change(ledger: Ledger) -> Plan | None:
    """The newest attempt that changed the config and was not refused."""
    refused = {entry.data.get("attempt") for entry in ledger.of_kind("refused")}
    plans = [Plan.from_json(entry.data) for entry in ledger.of_kind("intent")]
    return next((plan for plan in reversed(plans) if plan.changes and plan.attempt not in refused), None)


def overwritten(plan: Plan, config: Mapping[str, Scalar]) -> Change | None:
    """The first change of a plan that a person has since replaced by a value of their own, or None."""
    return next((change for change in plan.changes if config.get(change.key) != change.new), None)


def load_proposal(value: Mapping[str, Any]) -> Proposal | None:
    """A proposal as the ledger has it, or None where it is damaged."""
    try:
        return TypeAdapter(Proposal).validate_json(json.dumps(value), strict=True)
    except (ValidationError, ValueError):
        return None


def _approved(ledger: Ledger, entry: Entry, snapshot: Snapshot) -> Wish | None:
    """Approval is of that very proposal: what waits now must still be what the person saw."""
    proposed = waiting(ledger, snapshot.attempt)
    if proposed is None or proposed.data.get("id") != entry.data.get("id"):
        return None
    proposal = load_proposal(proposed.data.get("proposal") or {})
    if proposal is None or proposal_id(snapshot.attempt, proposal) != proposed.data["id"]:
        return None
    return Wish(str(proposed.data["id"]), proposal, "approved")


def _reverted(ledger: Ledger, entry: Entry, snapshot: Snapshot) -> Wish | None:
    plan = last_change(ledger)
    if plan is None or entry.data.get("attempt") != snapshot.attempt or overwritten(plan, snapshot.config):
        return None
    by = printable(str(entry.data.get("by")), 40)
    changes = tuple(Change(change.key, change.new, change.old) for change in plan.changes)
    reason = f"{by} takes back what {printable(plan.author, 60)} changed for attempt {plan.attempt}"
    proposal = Proposal("change", f"person:{by}", reason, changes=changes, resume="last-healthy")
    return Wish(f"revert-{entry.seq}", proposal, "own")
