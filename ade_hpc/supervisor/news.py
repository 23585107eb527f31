# SPDX-License-Identifier: Apache-2.0
"""What there is to tell somebody about one experiment, from its ledger. Pure: templates of facts, no model's prose.

Each piece of news has an id that stays the same from tick to tick, so that nobody is told it twice (``tell.py``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ade_hpc.launch.plan import Plan, fact
from ade_hpc.metrics.text import printable
from ade_hpc.model import Health, Proposal
from ade_hpc.policy.health import is_trouble
from ade_hpc.spec.preference_fields import Event
from ade_hpc.store.ledger import Entry, Ledger
from ade_hpc.supervisor.needs import needs
from ade_hpc.supervisor.record import describe
from ade_hpc.supervisor.wishes import load_proposal, proposal_id

DAY_S = 24 * 3600.0
DIGEST_HOUR = 7  # local time: it is there when people come to work
TEXT_LIMIT = 600
NO_JUDGEMENT = "no judgement this time"  # what follows are the words of a model's server


@dataclass(frozen=True)
class News:
    """One sentence for people. time: since when it is so (POSIX seconds)."""

    id: str
    event: Event
    time: float
    text: str


def news(name: str, ledger: Ledger, *, needy: bool, problems: Sequence[str], now: float) -> list[News]:
    """All that could be told; what was told already is told from it by its id.

    needy: this tick asks for a person. problems: what it has to say of this experiment, a sentence each.
    """
    observed = ledger.of_kind("observed")
    last = observed[-1] if observed else None
    found = [*_made(ledger), *_stopped(ledger), *_would(observed)]
    found += _needed(name, ledger, last, problems if needy else (), needy=needy, now=now)
    if last is not None:
        found += _ended(last)
        found += _digest(ledger, observed, now)
    return [News(one.id, one.event, one.time, printable(one.text, TEXT_LIMIT)) for one in found]


# --- decisions ------------------------------------------------------------------------------------------------------


def _made(ledger: Ledger) -> Iterator[News]:
    """Attempts that somebody else than a person with a shell has made."""
    for entry in ledger.of_kind("submitted"):
        intent = fact(ledger, "intent", entry.data["attempt"])
        plan = Plan.from_json(intent.data) if intent is not None else None
        if plan is not None and plan.author != "person":
            text = f"attempt {plan.attempt} is job {entry.data.get('job_id')}: {_plan_in_words(plan)}"
            yield News(f"made-{plan.attempt}", "decision", entry.time, text + _why(plan.author, plan.reason))


def _plan_in_words(plan: Plan) -> str:
    proposal = Proposal(
        "change", plan.author, plan.reason, changes=plan.changes, resume=plan.resume, resources=plan.directives
    )
    return describe(proposal)


def _stopped(ledger: Ledger) -> Iterator[News]:
    for entry in ledger.of_kind("stopped"):
        attempt = entry.data["attempt"]
        order = fact(ledger, "stop", attempt)
        why = _why(str(order.data.get("author") if order else ""), str(entry.data.get("reason")))
        yield News(f"stopped-{attempt}", "decision", entry.time, f"attempt {attempt} was ended{why}")


def _would(observed: Sequence[Entry]) -> Iterator[News]:
    """What only mode observe kept from being done."""
    for entry in observed:
        decision = entry.data.get("decision")
        if decision is None or decision["outcome"] != "observe":
            continue
        proposal = load_proposal({key: decision[key] for key in decision if key not in ("outcome", "refusals")})
        if proposal is not None:
            attempt = entry.data["attempt"]
            text = f"attempt {attempt}: would have done: {describe(proposal)} (mode: observe)"
            text += _why(proposal.author, proposal.reason)
            yield News(f"would-{proposal_id(attempt, proposal)}", "decision", entry.time, text)


def _why(author: str, reason: str) -> str:
    """Who decided it, and the facts of a rule; a model's reasons are its own words and stay in the history."""
    return f" ({author})" if author.startswith("model:") else f" ({author}), because {reason}"


# --- a person is needed ---------------------------------------------------------------------------------------------


def _needed(
    name: str, ledger: Ledger, last: Entry | None, problems: Sequence[str], *, needy: bool, now: float
) -> Iterator[News]:
    attempt = last.data["attempt"] if last is not None else 0
    for need in needs(name, ledger, last, _health(last)) if last is not None else ():
        if not need.passing and (needy or need.id.startswith(("waiting-", "unknown-"))):
            text = f"a model's word needs you: read it in `ade-hpc history {name} -v`" if need.prose else need.text
            yield News(need.id, "person", now, text)
    for problem in problems:
        said = problem.partition(":")[0] if problem.startswith(NO_JUDGEMENT) else problem
        yield News(f"problem-{attempt}-{re.sub('[0-9]+', '0', said)[:200]}", "person", now, said)


def _health(last: Entry) -> Health:
    said = last.data["health"]
    return Health(said["verdict"], said["cause"], said["detail"])


def _ended(last: Entry) -> Iterator[News]:
    """Well, or by somebody's own hand: an end in trouble is a need, or a decision."""
    health, attempt = _health(last), last.data["attempt"]
    if health.verdict == "ended" and not is_trouble(health):
        yield News(f"ended-{attempt}", "end", last.time, f"attempt {attempt} has ended: {health.cause}")


# --- once a day -----------------------------------------------------------------------------------------------------


def _digest(ledger: Ledger, observed: Sequence[Entry], now: float) -> Iterator[News]:
    """From DIGEST_HOUR on, about every experiment that a tick had something to say of within a day."""
    day = time.localtime(now)
    due = time.mktime((day.tm_year, day.tm_mon, day.tm_mday, DIGEST_HOUR, 0, 0, 0, 0, -1))
    if now < due or observed[-1].time < now - DAY_S:
        return
    data, health = observed[-1].data, _health(observed[-1])
    made = sum(1 for entry in ledger.of_kind("submitted") if entry.time >= now - DAY_S)
    parts = [f"attempt {data['attempt']} is {health.verdict}{f' ({health.cause})' if health.cause else ''}"]
    parts += [f"{one['kind']} in {one['tag']} from step {one['first_step']}" for one in data["findings"]]
    parts += [f"{made} attempts made in 24 h", f"{_hours(data)} GPU-hours used in all"]
    yield News(f"digest-{time.strftime('%Y-%m-%d', day)}", "digest", due, "; ".join(parts))


def _hours(data: Mapping[str, Any]) -> str:
    return f"{float(data['past']['gpu_hours']):.1f}"
