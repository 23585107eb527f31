# SPDX-License-Identifier: Apache-2.0
"""memory.md: what happened, for people and for the next one who looks; every entry names its author."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ade_hpc.metrics.text import printable
from ade_hpc.store.files import write_atomic
from ade_hpc.store.layout import ExperimentDir

MEMORY_LIMIT = 32_000  # characters: what a person still reads
AUTHORS_KEPT = 10  # in the sums; all others together have one more
KEYS_KEPT = 4  # of each kind
OTHERS = "others"
# What is understood of an entry and of a sum; of keys and values only what could not be taken for anything else
_LEADS = {"would have done: ": "would have done", "proposes: ": "proposed", "refused: ": "refused"}
_DECISION = re.compile(rf"Attempt \d+: ({'|'.join(_LEADS)}|)(.*?)(?: Why: |$)")
_CHANGE = re.compile(r"(?:^|, )([\w.-]{1,60}): ([^\s,;()]{1,24}) -> ([^\s,;()]{1,24})(?=, |$)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_PART = re.compile(r"(\d+) (done|would have done|proposed|refused|asked a person|noted|other)(?: \(([^()]*)\))?")
_SUM = re.compile(
    rf"^- (\d+) older entries by (.+?)(?:, ({_DAY.pattern}) to ({_DAY.pattern}))?"
    rf"(?:: ((?:{_PART.pattern}(?:, |$))+))?$",
    re.MULTILINE,
)
Range = tuple[str, str]  # of one key: the first value that it had, and the last one that it was to have


@dataclass
class Sum:
    """What one author wrote that is too old to be kept. days: of the first entry and the last one.

    kinds: how often each kind of entry; changes: by kind, what was to become of which key of the config.
    """

    count: int = 0
    days: tuple[str, ...] = ()
    kinds: dict[str, int] = field(default_factory=dict)
    changes: dict[str, dict[str, Range]] = field(default_factory=dict)

    def add(self, later: Sum) -> None:
        self.count += later.count
        every = [*self.days, *later.days]
        self.days = (min(every), max(every)) if every else ()
        for kind, times in later.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + times
        for kind, keys in later.changes.items():
            known = self.changes.setdefault(kind, {})
            for key, (old, new) in keys.items():
                if key in known or len(known) < KEYS_KEPT:
                    known[key] = (known.get(key, (old, ""))[0], new)

    def line(self, author: str) -> str:
        days = f", {self.days[0]} to {self.days[1]}" if self.days else ""
        parts = ", ".join(f"{times} {kind}{self._ranges(kind)}" for kind, times in sorted(self.kinds.items()))
        return f"- {self.count} older entries by {author}{days}{f': {parts}' if parts else ''}"

    def _ranges(self, kind: str) -> str:
        keys = self.changes.get(kind, {})
        return f" ({', '.join(f'{key}: {old} -> {new}' for key, (old, new) in keys.items())})" if keys else ""


def remember(folder: ExperimentDir, author: str, text: str, *, now: float) -> None:
    """Add one paragraph to memory.md, unless it is what stands there last. Each entry names its author.

    The file is bounded: of what is too old, a line for each author remains. The ledger keeps it all.
    """
    entry = f"## {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(now))} · {author}\n\n{printable(text, 2000)}\n"
    before = read_memory(folder) or f"# What happened to {folder.name}\n"
    if before.rstrip().endswith(printable(text, 2000).rstrip()):
        return
    write_atomic(folder.memory, shortened(f"{before.rstrip()}\n\n{entry}").encode())


def read_memory(folder: ExperimentDir) -> str:
    """All of memory.md, or an empty text before the first entry."""
    try:
        return folder.memory.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def shortened(memory: str) -> str:
    """``memory`` with its oldest entries summed up, a line an author, as soon as it is longer than MEMORY_LIMIT."""
    if len(memory) <= MEMORY_LIMIT:
        return memory
    head, *entries = memory.split("\n## ")
    kept = len(entries)
    while kept > 1 and sum(len(entry) for entry in entries[-kept:]) > MEMORY_LIMIT // 2:
        kept -= 1
    title, _, earlier = head.partition("\n")
    sums = _summed([*_sums(earlier), *map(_entry, entries[:-kept])])
    lines = "\n".join(one.line(author) for author, one in sorted(sums.items()))
    return "\n## ".join([f"{title}\n\n{lines}\n", *entries[-kept:]])


def _summed(parts: Iterable[tuple[str, Sum]]) -> dict[str, Sum]:
    """By author; ``parts`` in the order in which they were written."""
    sums: dict[str, Sum] = {}
    for author, one in parts:
        name = author if author in sums or len(sums) < AUTHORS_KEPT else OTHERS
        sums.setdefault(name, Sum()).add(one)
    return sums


def _sums(text: str) -> Iterator[tuple[str, Sum]]:
    """What earlier sums say."""
    for count, author, first, last, parts, *_ in _SUM.findall(text):
        kinds = {kind: int(times) for times, kind, _ in _PART.findall(parts)}
        changes = {kind: _ranges(said) for _, kind, said in _PART.findall(parts) if said}
        yield author, Sum(int(count), tuple(filter(None, (first, last))), kinds, changes)


def _entry(entry: str) -> tuple[str, Sum]:
    """Author and sum of one entry; what a person wrote into the file may have any form."""
    heading, _, text = entry.partition("\n")
    day, author = _DAY.match(heading), heading.partition(" · ")[2]
    kind, said = _kind(text.strip())
    ranges = _ranges(said)
    return printable(author, 80) or "somebody", Sum(
        1, (day[0], day[0]) if day else (), {kind: 1}, {kind: ranges} if ranges else {}
    )


def _kind(text: str) -> tuple[str, str]:
    """What kind of entry this is, and what was to be done."""
    if text.startswith("Note ("):
        return "noted", ""
    decision = _DECISION.match(text)
    if decision is None:
        return "other", ""
    lead, said = decision.groups()
    return _LEADS.get(lead) or ("asked a person" if said == "ask a person." else "done"), said


def _ranges(said: str) -> dict[str, Range]:
    return {key: (old, new) for key, old, new in _CHANGE.findall(said)}
