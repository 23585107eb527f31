# SPDX-License-Identifier: Apache-2.0
"""Advice: a model's answer that was had elsewhere, on a laptop, because from here there is no way to a model.

It comes through the inbox like a person's word, and counts as much as any model's: the guard has the last one, and what
it cost is charged here. It is bound to the evidence that it was asked about; an answer to another state of things is
charged and left.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from ade_hpc.agent.budget import Usage, to_json
from ade_hpc.agent.situation import Judgement
from ade_hpc.errors import UsageError
from ade_hpc.metrics.text import printable
from ade_hpc.model import Change, Decision, Proposal, Resume, Scalar
from ade_hpc.policy.guard import judge_note
from ade_hpc.spec.site import Site
from ade_hpc.store.files import write_atomic
from ade_hpc.store.inbox import Message, drop, messages
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import Ledger, append, read_ledger
from ade_hpc.supervisor.consult import Pending, open_questions, picture_of, record_judgement, situation

ADVICE = "advice"
MOST = 8  # proposals, notes and models; a judgement has six calls
REASON_LIMIT, WORDS_LIMIT, NOTE_LIMIT = 300, 800, 5_000
PICTURE_BYTES = 4_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Suggestion:
    """One proposal of the model, without what it has no word in: author, finding and the old value are known here."""

    action: Literal["change", "restart"]
    reason: str
    resume: Resume = "none"
    changes: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True)
class Advice:
    """What a model said of the question with this evidence, in the order in which it said it. See ``Judgement``."""

    experiment: str
    evidence: str
    outcome: Literal["answered", "failed", "spent"]
    text: str
    suggestions: tuple[Suggestion, ...] = ()
    notes: tuple[str, ...] = ()
    usage: Mapping[str, Usage] = field(default_factory=dict)

    @staticmethod
    def of(experiment: str, evidence: str, judgement: Judgement) -> Advice:
        """On the laptop: a judgement, as it is sent."""
        return Advice(
            experiment,
            evidence,
            judgement.outcome,
            judgement.text,
            tuple(_suggestion(decision.proposal) for decision in judgement.decisions[-MOST:]),
            judgement.notes[:MOST],
            judgement.usage,
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "usage": to_json(self.usage)}

    @staticmethod
    def from_json(text: bytes) -> Advice:
        """Raises UsageError for anything else than an Advice of bounded size."""
        try:
            advice = TypeAdapter(Advice).validate_json(text, strict=True)
        except (ValidationError, ValueError) as error:
            raise UsageError("this is no answer of an ade-hpc on a laptop, or of another version") from error
        numbers = [number for usage in advice.usage.values() for number in asdict(usage).values()]
        if max(len(advice.suggestions), len(advice.notes), len(advice.usage)) > MOST or min(numbers, default=0) < 0:
            raise UsageError("this answer of a laptop is longer than any can be, or costs less than nothing")
        return replace(
            advice,
            text=printable(advice.text, WORDS_LIMIT),
            notes=tuple(printable(note, NOTE_LIMIT) for note in advice.notes),
            usage={printable(model, 60): usage for model, usage in advice.usage.items()},
        )


def put_down(folder: ExperimentDir, advice: Advice, picture: bytes, *, now: float) -> None:
    """Leave it for the next tick, with what the model saw (a PNG, or nothing)."""
    if picture and (not picture.startswith(_PNG) or len(picture) > PICTURE_BYTES):
        raise UsageError("what the model saw is no PNG, or too big a one")
    asked = open_questions(read_ledger(folder.ledger))
    if picture and any(entry.data.get("evidence") == advice.evidence for entry in asked):
        write_atomic(picture_of(folder, int(asked[0].data["attempt"]), advice.evidence), picture)
    drop(folder, ADVICE, advice.to_json(), now=now)


def advice_on(pending: Pending) -> tuple[Message, Advice] | None:
    """The first answer to this question that has come."""
    found = _waiting(pending.one.folder)
    return next((one for one in found if one[1].evidence == pending.question.evidence), None)


def heed(pending: Pending, told: tuple[Message, Advice], site: Site, *, tick: str) -> Judgement:
    """What comes of it once the guard has spoken, recorded and charged like an answer that was had here."""
    message, advice = told
    decisions: list[Decision] = []
    for suggestion in advice.suggestions:
        decisions.append(pending.judge(_proposal(suggestion, pending), site))
        if decisions[-1].outcome != "refuse":
            break
    notes: list[str] = []
    for note in advice.notes:
        if judge_note(note, len(notes)) is None:
            notes.append(note)
    decided = any(decision.outcome != "refuse" for decision in decisions)
    picture = situation(pending).picture
    judgement = Judgement(
        "answered" if decided else advice.outcome,
        advice.text,
        tuple(decisions),
        tuple(notes),
        advice.usage,
        picture if picture.exists() else None,
    )
    record_judgement(pending, judgement, tick)
    message.path.unlink(missing_ok=True)
    return judgement


def charge_late(folder: ExperimentDir, ledger: Ledger) -> None:
    """Answers to questions that are not open any more: what they cost counts, what they say does not."""
    wanted = {entry.data.get("evidence") for entry in open_questions(ledger)}
    asked = {entry.data.get("evidence"): entry.data for entry in ledger.of_kind("question")}
    for message, advice in _waiting(folder):
        if advice.evidence in wanted:
            continue
        question = asked.get(advice.evidence, {})
        data: dict[str, Any] = {
            "tick": None,
            "model": None,
            "picture": None,
            "attempt": question.get("attempt"),
            "incident": question.get("incident"),
            "evidence": advice.evidence,
            "text": "an answer came when the question was no longer open; it was not looked at",
            "decisions": [],
            "usage": to_json(advice.usage),
        }
        append(folder.ledger, "unanswered", data, now=time.time())
        message.path.unlink(missing_ok=True)


def _waiting(folder: ExperimentDir) -> list[tuple[Message, Advice]]:
    """What lies in the inbox, oldest first; what can't be read is left there."""
    found = []
    for message in messages(folder):
        if message.kind == ADVICE:
            with contextlib.suppress(UsageError):
                found.append((message, Advice.from_json(json.dumps(message.data).encode())))
    return found


def _proposal(suggestion: Suggestion, pending: Pending) -> Proposal:
    agent, config = pending.preferences.agent, pending.snapshot.config
    return Proposal(
        suggestion.action,
        f"model:{printable(str(agent.model if agent else None), 60)}",
        printable(suggestion.reason, REASON_LIMIT),
        changes=tuple(Change(key, config.get(key), value) for key, value in suggestion.changes),
        resume=suggestion.resume,
        finding=pending.question.finding,
    )


def _suggestion(proposal: Proposal) -> Suggestion:
    changes = tuple((change.key, change.new) for change in proposal.changes)
    return Suggestion("change" if changes else "restart", proposal.reason, proposal.resume, changes)
