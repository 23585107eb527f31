# SPDX-License-Identifier: Apache-2.0
"""What needs a person, from the ledger alone: the same words for the report and for whoever is told. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from ade_hpc.launch.plan import open_plans
from ade_hpc.model import Health
from ade_hpc.policy.health import is_trouble
from ade_hpc.store.ledger import Entry, Ledger
from ade_hpc.supervisor.wishes import waiting

UNKNOWN_LASTS_S = 600.0  # accounting tells of an end some seconds after the queue has forgotten the job
PASSING = ("cooldown:", "paused by ", "rejected by ")  # refusals that end by themselves, or are the person's own


@dataclass(frozen=True)
class Need:
    """One thing that a person must look at.

    id: the same for as long as it is the same thing, whatever numbers its text holds. prose: it may hold a model's own
    words. passing: time alone ends it, or it is by a person's own word.
    """

    id: str
    text: str
    prose: bool = False
    passing: bool = False


def needs(name: str, ledger: Ledger, last: Entry, health: Health) -> Iterator[Need]:
    """Of the experiment ``name``, whose newest tick left the line ``last``."""
    attempt = last.data["attempt"]
    proposal = waiting(ledger, attempt)
    if proposal is not None:
        text = f"A proposal waits for you: `ade-hpc approve {name}` or `ade-hpc reject {name}`."
        yield Need(f"waiting-{proposal.data.get('id')}", text)
    elif not open_plans(ledger):  # else what was begun will be finished
        yield from _undone(name, ledger, last, health)


def _unknown_s(ledger: Ledger) -> float:
    """Between the first and the last of the newest ticks, all of which could not tell."""
    observed = ledger.of_kind("observed")
    streak = list(takewhile(lambda entry: entry.data["health"]["verdict"] == "unknown", reversed(observed)))
    return streak[0].time - streak[-1].time if streak else 0.0


def _undone(name: str, ledger: Ledger, last: Entry, health: Health) -> Iterator[Need]:
    """Trouble at the last tick about which nothing is done."""
    attempt, decision = last.data["attempt"], last.data.get("decision")
    if decision is not None:
        author, refusals = decision["author"], decision["refusals"]
        prose = author.startswith("model:")
        if decision["outcome"] == "refuse":
            passing = all(refusal.startswith(PASSING) for refusal in refusals)
            text = f"{author} was refused: {'; '.join(refusals)}."
            yield Need(f"refused-{attempt}-{author}", text, prose, passing)
        elif decision["action"] == "ask":
            yield Need(f"ask-{attempt}-{author}", decision["reason"], prose)
        return
    if last.data.get("superseded_by") is not None:
        return  # somebody has put an end to it
    if health.verdict == "unknown" and not last.data["degraded"]:
        advice = f"If it is gone: `ade-hpc cancel {name}`, then submit"
        text = f"Nobody can tell what became of its job: {health.detail}. {advice}."
        yield Need(f"unknown-{attempt}", text, passing=_unknown_s(ledger) < UNKNOWN_LASTS_S)
    for found in last.data["findings"]:
        if found["severity"] == "intervene":
            text = f"No rule covers {found['kind']} in {found['tag']} from step {found['first_step']}."
            yield Need(f"open-{attempt}-{found['kind']}-{found['tag']}", text)
    if is_trouble(health):
        state = "has ended" if health.verdict == "ended" else f"is {health.verdict}"
        text = f"The job {state} ({health.cause or 'no cause known'}) and no rule says what to do."
        yield Need(f"trouble-{attempt}-{health.verdict}-{health.cause}", text)
