# SPDX-License-Identifier: Apache-2.0
"""Record: what a tick saw, thought and did. The ledger is for programs, memory.md for people and the next tick."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from ade_hpc.metrics.text import printable
from ade_hpc.model import Decision, Finding, Health, Proposal
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.store.files import write_atomic
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import append, read_ledger


def record_tick(
    folder: ExperimentDir,
    snapshot: Snapshot,
    health: Health,
    findings: Sequence[Finding],
    decision: Decision | None,
    *,
    preferences_sha256: str,
    tick: str,
) -> None:
    """One ledger line a tick: enough to explain the decision, and to replay it."""
    data = {
        "tick": tick,
        "attempt": snapshot.attempt,
        "job": {"phase": snapshot.truth.phase, "state": snapshot.truth.state, "reason": snapshot.truth.reason},
        "health": {"verdict": health.verdict, "cause": health.cause, "detail": health.detail},
        "findings": [finding_json(finding) for finding in findings],
        "decision": decision_json(decision) if decision else None,
        "degraded": list(snapshot.degraded),
        "preferences_sha256": preferences_sha256,
    }
    last = read_ledger(folder.ledger).of_kind("observed")[-1:]
    if health.verdict == "ended" and last and {**last[0].data, "tick": tick} == data:
        return  # an experiment that has ended says it once
    append(folder.ledger, "observed", data, now=snapshot.now)


def finding_json(finding: Finding) -> dict[str, Any]:
    evidence = {key: _json_safe(value) for key, value in finding.evidence.items()}
    return {
        "kind": finding.kind,
        "tag": printable(finding.tag),
        "first_step": finding.first_step,
        "last_step": finding.last_step,
        "severity": finding.severity,
        "onset": finding.onset,
        "evidence": evidence,
    }


def decision_json(decision: Decision) -> dict[str, Any]:
    proposal = decision.proposal
    return {
        "outcome": decision.outcome,
        "refusals": list(decision.refusals),
        "action": proposal.action,
        "author": proposal.author,
        "reason": proposal.reason,
        "changes": [{"key": change.key, "old": change.old, "new": change.new} for change in proposal.changes],
        "resume": proposal.resume,
    }


def _json_safe(value: object) -> object:
    """JSON has no NaN and no infinity: they are written as words."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def remember(folder: ExperimentDir, author: str, text: str, *, now: float) -> None:
    """Add one paragraph to memory.md, unless it is what stands there last. Each entry names its author."""
    entry = f"## {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(now))} · {author}\n\n{printable(text, 2000)}\n"
    try:
        before = folder.memory.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        before = f"# What happened to {folder.name}\n"
    if before.rstrip().endswith(printable(text, 2000).rstrip()):
        return
    write_atomic(folder.memory, f"{before.rstrip()}\n\n{entry}".encode())


def describe(proposal: Proposal) -> str:
    """What a proposal would do, in words: ``optimizer.lr: 0.8 -> 0.08, resume from the last healthy checkpoint``."""
    if proposal.action in ("stop", "ask"):
        return {"stop": "end the experiment", "ask": "ask a person"}[proposal.action]
    parts = [f"{change.key}: {change.old} -> {change.new}" for change in proposal.changes]
    parts += [f"{name}: {value}" for name, value in proposal.resources.items()]
    if proposal.exclude_nodes:
        parts.append(f"not on {', '.join(proposal.exclude_nodes)}")
    where = {
        "last-healthy": "the last healthy checkpoint",
        "best": "the best checkpoint",
        "weights": "the weights only",
        "none": "the beginning",
    }[proposal.resume]
    return ", ".join([*parts, f"from {where}"])
