# SPDX-License-Identifier: Apache-2.0
"""Consult: bring a question to the language model and its answer into the ledger.

Which questions are open is a fact of the ledger, so any later tick that can reach a model may answer them. The agent
itself, and LangChain with it, is imported only when a question is really asked.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ade_hpc.agent.budget import CALLS_AN_INCIDENT, DAY_S, TOKENS_AN_INCIDENT, Allowance, Usage, cost, spent, to_json
from ade_hpc.agent.situation import Guard, Judgement, Situation
from ade_hpc.model import Decision, Finding, Health, Proposal
from ade_hpc.policy.guard import judge
from ade_hpc.policy.question import Question
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.preferences import Preferences
from ade_hpc.spec.site import Llm, Site
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import Entry, Ledger, append, read_ledger
from ade_hpc.store.records import superseded_by
from ade_hpc.supervisor.experiment import Supervised
from ade_hpc.supervisor.memory import read_memory, remember
from ade_hpc.supervisor.record import decision_json
from ade_hpc.supervisor.wishes import unless_rejected

QUESTION_S = 120.0
LEAST_TOKENS = 2_000  # less than one call needs
LOG_BYTES = 4_000
MEMORY_CHARS = 4_000


@dataclass(frozen=True, eq=False)
class Pending:
    """A question that no rule answered, with all that the deterministic pass knew."""

    one: Supervised
    snapshot: Snapshot
    health: Health
    findings: tuple[Finding, ...]
    preferences: Preferences
    question: Question

    def judge(self, proposal: Proposal, site: Site) -> Decision:
        """The guard's word as of now: a person may have ended the experiment while the model was thinking."""
        attempt = self.one.folder.attempt(self.snapshot.attempt)
        fresh = replace(self.snapshot, now=time.time(), superseded_by=superseded_by(attempt))
        decision = judge(proposal, fresh, self.health, self.findings, self.preferences, site)
        return unless_rejected(self.one.ledger, self.snapshot.attempt, decision)


def is_answered(ledger: Ledger, question: Question) -> bool:
    """Was this very question, on this evidence, answered before?"""
    return any(entry.data.get("evidence") == question.evidence for entry in ledger.of_kind("answered"))


def open_question(pending: Pending) -> None:
    """Write down that there is a question, once."""
    question, snapshot = pending.question, pending.snapshot
    last = pending.one.ledger.of_kind("question")[-1:]
    if last and last[0].data.get("evidence") == question.evidence:
        return
    data = {
        "attempt": snapshot.attempt,
        "why": question.why,
        "incident": question.incident,
        "evidence": question.evidence,
    }
    append(pending.one.folder.ledger, "question", data, now=snapshot.now)


def open_since(pending: Pending) -> float:
    """Since when the question has waited: the oldest one is asked first."""
    same = [
        entry.time
        for entry in pending.one.ledger.of_kind("question")
        if entry.data.get("evidence") == pending.question.evidence
    ]
    return min(same, default=pending.snapshot.now)


def open_questions(ledger: Ledger) -> list[Entry]:
    """The newest question, if nobody has answered it: older ones were about another state of things."""
    newest = ledger.of_kind("question")[-1:]
    answered = {entry.data.get("evidence") for entry in ledger.of_kind("answered")}
    return [entry for entry in newest if entry.data.get("evidence") not in answered]


def consult(pending: Pending, site: Site, *, tick: str, seconds: float) -> Judgement:
    """Ask, and record what came of it. The proposals in the judgement are not carried out yet."""
    left = allowance(pending, site)
    guard = functools.partial(pending.judge, site=site)
    judgement = ask_within(situation(pending), guard, left, site.llm, os.environ, seconds=seconds)
    record_judgement(pending, judgement, tick)
    return judgement


def ask_within(
    asked: Situation, guard: Guard, left: Allowance, llm: Llm, environ: Mapping[str, str], *, seconds: float
) -> Judgement:
    """Ask the model, unless what it may cost is spent. Here, and on a laptop for a cluster without a way to it."""
    if left.calls == 0 or left.tokens < LEAST_TOKENS:
        return Judgement("spent", "what this incident or this day may cost is spent")
    from ade_hpc.agent.run import ask

    return ask(asked, guard, left, llm, environ, seconds=min(seconds, QUESTION_S))


def allowance(pending: Pending, site: Site) -> Allowance:
    """What is left of the incident's budget and of the day's."""
    ledger, limits = read_ledger(pending.one.folder.ledger), pending.preferences.limits
    earlier = spent(ledger, incident=pending.question.incident)
    incident = _total(earlier)
    today = spent(ledger, since=time.time() - DAY_S)
    of_incident, of_day = TOKENS_AN_INCIDENT - incident.tokens, limits.llm_tokens_per_day - _total(today).tokens
    money = None
    if limits.llm_cost_per_day is not None:
        paid = cost(today, site.llm.prices)
        money = limits.llm_cost_per_day - paid if paid is not None else 0.0
    return Allowance(
        calls=max(0, CALLS_AN_INCIDENT - incident.calls),
        tokens=max(0, min(of_incident, of_day)),
        money=money,
        prices=site.llm.prices,
        a_call={model: usage.tokens // max(1, usage.calls) for model, usage in earlier.items()},
    )


def _total(used: Mapping[str, Usage]) -> Usage:
    return sum(used.values(), Usage())


def situation(pending: Pending) -> Situation:
    """All that may be looked at for the question."""
    folder, snapshot = pending.one.folder, pending.snapshot
    return Situation(
        question=pending.question,
        snapshot=snapshot,
        health=pending.health,
        findings=pending.findings,
        preferences=pending.preferences,
        picture=picture_of(folder, snapshot.attempt, pending.question.evidence),
        memory=read_memory(folder)[-MEMORY_CHARS:],
        log=_end_of_log(folder.attempt(snapshot.attempt).logs),
    )


def picture_of(folder: ExperimentDir, attempt: int, evidence: str) -> Path:
    """One picture a question: a model that is away all night leaves no heap of them."""
    return folder.plots / f"attempt-{attempt:04d}-{evidence}.png"


def _end_of_log(folder: Path) -> str:
    """The end of the newest file of the trainer's output; nothing where it can't be read."""
    try:
        newest = max((path for path in folder.iterdir() if path.is_file()), key=lambda path: path.stat().st_mtime)
        with newest.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LOG_BYTES))
            return file.read(LOG_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return ""


def record_judgement(pending: Pending, judgement: Judgement, tick: str) -> None:
    """The answer and what it cost into the ledger, notes into memory.md."""
    folder, snapshot, question = pending.one.folder, pending.snapshot, pending.question
    data: dict[str, Any] = {
        "tick": tick,
        "attempt": snapshot.attempt,
        "incident": question.incident,
        "evidence": question.evidence,
        "model": pending.preferences.agent.model if pending.preferences.agent else None,
        "text": judgement.text,
        "decisions": [decision_json(decision) for decision in judgement.decisions],
        "usage": to_json(judgement.usage),
        "picture": str(judgement.picture) if judgement.picture else None,
    }
    kind = "answered" if judgement.outcome == "answered" else "unanswered"
    last = read_ledger(folder.ledger).of_kind("unanswered")[-1:]
    if not judgement.usage and kind == "unanswered" and last and _same(last[0].data, data):
        return  # a model that is away all night is said once
    append(folder.ledger, kind, data, now=time.time())
    for note in judgement.notes:
        remember(folder, f"model:{data['model']}", f"Note ({question.why}): {note}", now=time.time())


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(key) == other[key] for key in ("evidence", "text"))
