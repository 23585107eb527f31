# SPDX-License-Identifier: Apache-2.0
"""Tell people: never twice for one thing, and nothing that fails here stops a tick.

Each try is announced in the ledger (``telling``) and its outcome follows (``told``). A try without an outcome was cut
off and may have arrived, so it is not repeated; one that is known to have failed is tried again, up to TRIES times.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from ade_hpc.spec.preference_fields import Notify
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import Ledger, append, read_ledger
from ade_hpc.supervisor.news import News, news
from ade_hpc.supervisor.post import send

TRIES = 3
TOTAL_S = 90.0  # a tick is short: whoever can't be told in this time is told by the next one
LINES = 40


@dataclass(frozen=True)
class Tale:
    """One experiment at the end of a tick. needy: it asks for a person. problems: a sentence each."""

    folder: ExperimentDir
    needy: bool = False
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """A piece of news with its experiment."""

    folder: ExperimentDir
    news: News


def note_audience(folder: ExperimentDir, ledger: Ledger, audience: Sequence[Notify], *, now: float) -> None:
    """Keep in the ledger who is told: what was before is no news to them, and they are still known where
    preferences.md has become unreadable."""
    data = {"notify": [one.model_dump(mode="json", exclude_none=True) for one in audience]}
    last = ledger.of_kind("audience")[-1:]
    if last[0].data != data if last else audience:
        append(folder.ledger, "audience", data, now=now)


def tell(tales: Sequence[Tale], environ: Mapping[str, str]) -> dict[str, list[str]]:
    """One message for each of the people who have news coming. Returns what went wrong, by experiment.

    Raises StoreError where the ledger can't be written: then nothing was sent.
    """
    now, until = time.time(), time.monotonic() + TOTAL_S
    problems: dict[str, list[str]] = {}
    for target, items in _due(tales, now).items():
        if time.monotonic() > until:
            break
        ids = _by_experiment(items)
        for folder, told in ids.items():
            append(folder.ledger, "telling", {"to": target.label, "ids": told}, now=time.time())
        why = send(target, *compose(items), environ)
        for folder, told in ids.items():
            data = {"to": target.label, "ids": told, "sent": not why, "why": why}
            append(folder.ledger, "told", data, now=time.time())
            if why:
                problems.setdefault(folder.name, []).append(f"{target.label} could not be told: {why}")
    return problems


def _due(tales: Sequence[Tale], now: float) -> dict[Notify, list[Item]]:
    """By target, whatever it wants to hear of and was not told; one that is named twice is told it once."""
    found: dict[str, tuple[Notify, dict[Item, None]]] = {}
    for tale in tales:
        ledger = read_ledger(tale.folder.ledger)
        known = _audience(ledger)
        every = news(tale.folder.name, ledger, needy=tale.needy, problems=tale.problems, now=now) if known else []
        for target, since in known:
            items = [
                Item(tale.folder, one)
                for one in every
                if one.event in target.on and one.time >= since and _untold(ledger, target, one)
            ]
            if items:
                found.setdefault(target.label, (target, {}))[1].update(dict.fromkeys(items))
    return {target: list(items) for target, items in found.values()}


def _audience(ledger: Ledger) -> list[tuple[Notify, float]]:
    """Who is told now, each with the time from which on they are."""
    entries = ledger.of_kind("audience")
    try:
        lists = [[Notify.model_validate(one, strict=False) for one in entry.data["notify"]] for entry in entries]
    except (KeyError, TypeError, ValidationError):
        return []  # another version's words: nobody is told rather than somebody else
    now = []
    for target in lists[-1] if lists else ():
        since = len(lists) - 1
        while since > 0 and any(one.label == target.label for one in lists[since - 1]):
            since -= 1
        now.append((target, entries[since].time))
    return now


def _untold(ledger: Ledger, target: Notify, one: News) -> bool:
    """Every try is known to have failed, and there were not too many."""
    tried = Counter(
        (entry.kind, bool(entry.data.get("sent")))
        for entry in ledger.of_kind("telling", "told")
        if entry.data.get("to") == target.label and one.id in entry.data.get("ids", ())
    )
    return tried["telling", False] == tried["told", False] < TRIES


def _by_experiment(items: Sequence[Item]) -> dict[ExperimentDir, list[str]]:
    ids: dict[ExperimentDir, list[str]] = {}
    for item in items:
        ids.setdefault(item.folder, []).append(item.news.id)
    return ids


def compose(items: Sequence[Item]) -> tuple[str, str]:
    """Title and text of one message; every line is plain and without control characters already."""
    names = list(dict.fromkeys(item.folder.name for item in items))
    needy = any(item.news.event == "person" for item in items)
    about = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    title = f"ade-hpc: {'a person is needed: ' if needy else ''}{about}"
    lines = [f"{item.folder.name}: {item.news.text}" for item in items[:LINES]]
    if len(items) > LINES:
        lines.append(f"... and {len(items) - LINES} more: see `ade-hpc history NAME -v`")
    return title, "\n".join([*lines, "", f"More: ade-hpc status, or ade-hpc history {names[0]} -v"])
