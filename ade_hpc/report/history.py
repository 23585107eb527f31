# SPDX-License-Identifier: Apache-2.0
"""The story of one experiment, for `ade-hpc history`: its attempts and where they came from, and what ticks did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ade_hpc.launch.lineage import job_of
from ade_hpc.launch.plan import Plan, fact
from ade_hpc.metrics.text import printable
from ade_hpc.model import ExitRecord
from ade_hpc.report.waiting import counted
from ade_hpc.spec.request import Request
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.ledger import Entry, Ledger, read_ledger
from ade_hpc.store.records import ParentRecord, for_good, load_attempt, load_exits, load_request, superseded_by
from ade_hpc.supervisor.record import OUTCOMES

SCHEMA = 1


@dataclass(frozen=True)
class AttemptRow:
    """One attempt. ``outcome`` is the cause of its last exit record, ``refused``, ``cancelled`` or ``open``.

    asks: what it asks of Slurm beyond its experiment. burnt_s: how long trainers ran on after what ended them had
    happened; burnt_gpu_s: that times the GPUs they held.
    """

    attempt: int
    made_at: float
    author: str
    reason: str
    changes: tuple[str, ...]
    asks: tuple[str, ...]
    parent: str
    commit: str
    job_id: str
    outcome: str
    starts: int
    burnt_s: float = 0.0
    burnt_gpu_s: float = 0.0


@dataclass(frozen=True)
class Event:
    """One line of the story in words, from one entry of the ledger. more: what stands below it, a line each."""

    time: float
    kind: str
    text: str
    more: tuple[str, ...] = ()


def attempts(folder: ExperimentDir) -> list[AttemptRow]:
    ledger = read_ledger(folder.ledger)
    return [_attempt(folder, ledger, Plan.from_json(entry.data), entry.time) for entry in ledger.of_kind("intent")]


def _attempt(folder: ExperimentDir, ledger: Ledger, plan: Plan, made_at: float) -> AttemptRow:
    attempt = folder.attempt(plan.attempt)
    record, job = load_attempt(attempt), job_of(folder, ledger, plan.attempt)
    exits = load_exits(attempt)
    burnt_s = sum(one.burnt_s or 0.0 for one in exits)
    return AttemptRow(
        attempt=plan.attempt,
        made_at=made_at,
        author=plan.author,
        reason=plan.reason,
        changes=tuple(f"{change.key}: {change.old} -> {change.new}" for change in plan.changes),
        asks=tuple(f"{name}: {value}" for name, value in plan.directives.items()),
        parent=_parent(plan.parent) if plan.parent else "",
        commit=record.commit if record else "",
        job_id=job.job_id if job else "",
        outcome="refused" if fact(ledger, "refused", plan.attempt) else _outcome(attempt, exits),
        starts=len(attempt.starts()),
        burnt_s=burnt_s,
        burnt_gpu_s=burnt_s * load_request(attempt, Request()).gpus,
    )


def _outcome(attempt: AttemptDir, exits: Sequence[ExitRecord]) -> str:
    """By its last exit record; what was cancelled while it waited leaves none of that."""
    if (not exits or exits[-1].requeued) and for_good(superseded_by(attempt)):
        return "cancelled"
    return exits[-1].cause if exits else "open"


def _parent(parent: ParentRecord) -> str:
    return f"{'the weights of ' if parent.weights_only else ''}{parent.name} of attempt {parent.attempt}"


def story(folder: ExperimentDir) -> tuple[list[Event], tuple[str, ...]]:
    """What was seen, proposed, refused and done, oldest first; and what is damaged in the ledger."""
    ledger = read_ledger(folder.ledger)
    return [
        Event(entry.time, entry.kind, printable(_words(entry), 1500), _more(entry)) for entry in ledger.entries
    ], ledger.notes


def _more(entry: Entry) -> tuple[str, ...]:
    """Who said what of the job, what there is to know of a change, and the job's last words."""
    if entry.kind != "observed":  # the evidence of a question is a name
        return ()
    said = (entry.data.get("health") or {}).get("witnesses") or ()
    sources = [f"{one['source']}: {one['said']}{_ago(entry.time, one.get('at'))}" for one in said]
    found = [one.get("evidence") or {} for one in entry.data.get("findings") or ()]
    notes = [str(one["said"]) for one in found if "said" in one]
    return tuple(printable(line, 300) for line in (*sources, *notes, *(entry.data.get("evidence") or ())))


def _ago(now: float, at: object) -> str:
    return f" ({max(0.0, now - at):.0f} s before)" if isinstance(at, int | float) else ""


def _words(entry: Entry) -> str:
    data = entry.data
    if entry.kind in _TELLERS:
        return _TELLERS[entry.kind](data)
    texts = {
        "intent": "attempt {attempt} is to be made ({author}): {reason}",
        "trying": "attempt {attempt} goes to the scheduler",
        "submitted": "attempt {attempt} is job {job_id}",
        "refused": "attempt {attempt} was given up: {message}",
        "replaced": "attempt {old} was ended in favour of attempt {attempt}",
        "cancel": "cancelled by {by}",
        "pause": "paused by {by}",
        "resume": "resumed by {by}",
        "stop": "attempt {attempt} is to be stopped ({author})",
        "stopped": "attempt {attempt} was stopped: {reason}",
        "question": "a question about attempt {attempt} waits for a model: {why}",
        "approve": "{by} approves proposal {id}",
        "reject": "{by} rejects proposal {id}",
        "revert": "{by} wants the last change of the config taken back",
        "audience": "preferences.md names who is told",
        "telling": "{to} is to be told",
        "pushed": "the branch was pushed to {remote}",
        "settled": "what a person wanted ({id}) was judged again: {outcome}",
    }
    return texts.get(entry.kind, entry.kind).format_map({key: data.get(key, "?") for key in _KEYS})


_KEYS = ("attempt", "author", "reason", "job_id", "message", "old", "by", "why", "id", "outcome", "remote", "to")


def _observed(data: Any) -> str:
    health, decision = data.get("health") or {}, data.get("decision")
    found = ", ".join(
        f"{one['kind']} in {one['tag']} from step {one['first_step']}" for one in data.get("findings", [])
    )
    text = f"attempt {data.get('attempt')}: {health.get('verdict')} {health.get('cause')}".rstrip()
    text += f"; found {found}" if found else ""
    if decision:
        text += f"; {_decided(decision)}"
    return text


def _answered(data: Any) -> str:
    text = f"model:{data.get('model')} answered about attempt {data.get('attempt')} ({_usage(data)})"
    text += "".join(f"; {_decided(decision)}" for decision in data.get("decisions") or ())
    text += f"; it says: {data['text']}" if data.get("text") else ""
    return text + (f"; what it saw: {data['picture']}" if data.get("picture") else "")


def _unanswered(data: Any) -> str:
    charged = f" ({_usage(data)} are charged)" if data.get("usage") else ""
    return f"no judgement of model:{data.get('model')} about attempt {data.get('attempt')}{charged}: {data.get('text')}"


def _usage(data: Any) -> str:
    usage = [one for one in (data.get("usage") or {}).values() if isinstance(one, dict)]
    calls, tokens = sum(one["calls"] for one in usage), sum(one["input"] + one["output"] for one in usage)
    return f"{counted(calls)}, {tokens} tokens"


def _waiting(data: Any) -> str:
    proposal = data.get("proposal") or {}
    what = wanted(proposal) or "a new attempt"
    return f"proposal {data.get('id')} of {proposal.get('author')} waits for a person: {what}"


def _told(data: Any) -> str:
    ids = ", ".join(map(str, data.get("ids") or ()))
    return f"{data.get('to')} was told ({ids})" if data.get("sent") else f"{data.get('to')}: {data.get('why')} ({ids})"


def _decided(decision: Any) -> str:
    what = wanted(decision)
    outcome = OUTCOMES.get(decision["outcome"], decision["outcome"])
    text = f"{decision['author']} {outcome}: {f'{what}, because ' if what else ''}{decision['reason']}"
    return text + (f" ({'; '.join(decision['refusals'])})" if decision["refusals"] else "")


def wanted(proposal: Any) -> str:
    """What a proposal would change, of the config and of what is asked of Slurm."""
    parts = [f"{one['key']}: {one['old']} -> {one['new']}" for one in proposal.get("changes") or ()]
    parts += [f"{name}: {value}" for name, value in (proposal.get("resources") or {}).items()]
    nodes = ", ".join(proposal.get("exclude_nodes") or ())
    return ", ".join([*parts, *([f"not on {nodes}"] if nodes else [])])


_TELLERS: Mapping[str, Callable[[Any], str]] = {
    "observed": _observed, "answered": _answered, "unanswered": _unanswered, "waiting": _waiting, "told": _told,
}  # fmt: skip


def as_json(folder: ExperimentDir) -> dict[str, Any]:
    events, notes = story(folder)
    return {
        "schema": SCHEMA,
        "name": folder.name,
        "attempts": [asdict(row) for row in attempts(folder)],
        "events": [asdict(event) for event in events],
        "notes": list(notes),
    }
