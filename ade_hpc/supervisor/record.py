# SPDX-License-Identifier: Apache-2.0
"""Record: what a tick saw, thought and did. The ledger is for programs, memory.md (memory.py) for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ade_hpc.metrics.text import printable
from ade_hpc.model import Decision, Finding, Health, Proposal
from ade_hpc.policy.snapshot import Past, Snapshot
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import append, read_ledger
from ade_hpc.supervisor.memory import remember


def record_tick(
    folder: ExperimentDir,
    snapshot: Snapshot,
    health: Health,
    findings: Sequence[Finding],
    decision: Decision | None,
    *,
    preferences_sha256: str,
    tick: str,
    evidence: Sequence[str] = (),
) -> None:
    """One ledger line a tick: enough to explain the decision, and to replay it (see ``recorded.py``)."""
    data = {
        "tick": tick,
        "attempt": snapshot.attempt,
        "job": _job_json(snapshot),
        "health": asdict(health),
        "findings": [finding_json(finding) for finding in findings],
        "decision": decision_json(decision) if decision else None,
        "degraded": list(snapshot.degraded),
        "preferences_sha256": preferences_sha256,
        "superseded_by": snapshot.superseded_by,
        "paused_by": snapshot.paused_by,
        "seen": _seen_json(snapshot),
        "past": _past_json(snapshot.past),
        "evidence": list(evidence),
    }
    last = read_ledger(folder.ledger).of_kind("observed")[-1:]
    if health.verdict == "ended" and last and _lasting(last[0].data) == _lasting(data):
        return  # an experiment that has ended says it once
    append(folder.ledger, "observed", data, now=snapshot.now)


def _job_json(snapshot: Snapshot) -> dict[str, Any]:
    truth = snapshot.truth
    job = {name: getattr(truth, name) for name in ("phase", "state", "reason", "nodes", "restarts", "elapsed_s")}
    return {**job, "elapsed_s": round(truth.elapsed_s, 3)}


def _seen_json(snapshot: Snapshot) -> dict[str, Any]:
    """How far the curves had been read: a writer buffers, so the time of the tick does not tell."""
    every = [series for series in snapshot.curves.series.values() if len(series)]
    until = max((float(series.wall_times[-1]) for series in every), default=None)
    return {
        "until": _json_safe(until),
        "points": sum(len(series) for series in every),
        "step": snapshot.step,
        "signature": printable(snapshot.signature, 200),
        "resumable": snapshot.resumable,
        "takes_weights": snapshot.takes_weights,
    }


def _past_json(past: Past) -> dict[str, Any]:
    plain = {key: _json_safe(value) for key, value in vars(past).items()}
    changes = [{"key": change.key, "old": change.old, "new": change.new} for change in past.changes]
    deaths = [asdict(death) for death in past.deaths]
    return {**plain, "changes": changes, "rule_uses": dict(past.rule_uses), "deaths": deaths}


def _lasting(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth saying again once a job has ended; other experiments go on, and their numbers stand in ``past``."""
    kept = {key: json.loads(json.dumps(value)) for key, value in data.items() if key not in ("tick", "past")}
    kept["health"].pop("witnesses", None)  # the queue forgets an ended job after a while, and that is no news
    return kept


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
        "changes": [
            {"key": printable(change.key, 100), "old": _json_safe(change.old), "new": _json_safe(change.new)}
            for change in proposal.changes
        ],
        "resume": proposal.resume,
        "resources": {name: _json_safe(value) for name, value in proposal.resources.items()},
        "exclude_nodes": [printable(node, 200) for node in proposal.exclude_nodes],
    }


def _json_safe(value: object) -> object:
    """JSON has no NaN and no infinity: they are written as words. What a model proposed may be of any length."""
    if isinstance(value, str):
        return printable(value, 200)
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


# What became of a proposal, for sentences that begin with who made it
OUTCOMES = {
    "allow": "decides", "observe": "would decide (mode: observe)", "propose": "proposes", "refuse": "was refused",
}  # fmt: skip


def describe(proposal: Proposal) -> str:
    """What a proposal would do, in words: ``optimizer.lr: 0.8 -> 0.08, resume from the last healthy checkpoint``."""
    if proposal.action in ("stop", "ask"):
        return {"stop": "end the experiment", "ask": "ask a person"}[proposal.action]
    parts = [
        f"{printable(change.key, 100)}: {_json_safe(change.old)} -> {_json_safe(change.new)}"
        for change in proposal.changes
    ]
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


def remember_decision(folder: ExperimentDir, attempt: int, decision: Decision, *, now: float) -> None:
    """What was decided and why, in memory.md."""
    proposal = decision.proposal
    lead = {
        "allow": f"Attempt {attempt}: {describe(proposal)}.",
        "observe": f"Attempt {attempt}: would have done: {describe(proposal)} (mode: observe).",
        "propose": f"Attempt {attempt}: proposes: {describe(proposal)} (waits for `ade-hpc approve`).",
        "refuse": f"Attempt {attempt}: refused: {describe(proposal)}; {'; '.join(decision.refusals)}.",
    }[decision.outcome]
    remember(folder, proposal.author, f"{lead} Why: {proposal.reason}", now=now)
