# SPDX-License-Identifier: Apache-2.0
"""memory.md: what happened, for people and for the next one who looks; every entry names its author."""

from __future__ import annotations

import re
import time
from collections import Counter

from ade_hpc.metrics.text import printable
from ade_hpc.store.files import write_atomic
from ade_hpc.store.layout import ExperimentDir

MEMORY_LIMIT = 32_000  # characters: what a person still reads
_GONE = re.compile(r"^- (\d+) older entries by (.+)$", re.MULTILINE)


def remember(folder: ExperimentDir, author: str, text: str, *, now: float) -> None:
    """Add one paragraph to memory.md, unless it is what stands there last. Each entry names its author.

    The file is bounded: of what is too old, a line remains that says who wrote how much. The ledger keeps it all.
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
    """``memory`` with its oldest entries summed up in one line, as soon as it is longer than MEMORY_LIMIT."""
    if len(memory) <= MEMORY_LIMIT:
        return memory
    head, *entries = memory.split("\n## ")
    kept = len(entries)
    while kept > 1 and sum(len(entry) for entry in entries[-kept:]) > MEMORY_LIMIT // 2:
        kept -= 1
    title, _, summary = head.partition("\n")
    gone = Counter({author: int(count) for count, author in _GONE.findall(summary)})
    gone.update(entry.partition("\n")[0].partition(" · ")[2] or "somebody" for entry in entries[:-kept])
    lines = "\n".join(f"- {count} older entries by {author}" for author, count in sorted(gone.items()))
    return "\n## ".join([f"{title}\n\n{lines}\n", *entries[-kept:]])
