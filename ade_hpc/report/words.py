# SPDX-License-Identifier: Apache-2.0
"""What the report tells in words: the attempts with their diffs, and what happened."""

from __future__ import annotations

from collections.abc import Sequence

from ade_hpc.report.history import AttemptRow, Event
from ade_hpc.report.markup import clock, safe, verbatim
from ade_hpc.report.night import Night

_ACTS = ("intent", "submitted", "replaced", "stop", "stopped", "approve", "reject", "revert", "cancel")


def attempts(night: Night) -> str:
    """Each attempt: what it changed and why, who made it, where it came from, what became of it."""
    if not night.attempts:
        return ""
    items = "".join(_attempt(row, night) for row in night.attempts)
    return f'<h3>Attempts</h3><ol class="attempts">{items}</ol>'


def _attempt(row: AttemptRow, night: Night) -> str:
    what = ", ".join(row.changes) or ("submitted" if row.author == "person" else "restarted")
    what += f", with {', '.join(row.asks)}" if row.asks else ""
    facts = [
        clock(row.made_at),
        f"by {safe(row.author, 60)}",
        f"from {safe(row.parent, 80)}" if row.parent else "from the beginning",
        f"commit <code>{safe(row.commit[:10])}</code>" if row.commit else "",
        f"job {safe(row.job_id, 40)}" if row.job_id else "",
        f"{row.starts} starts" if row.starts > 1 else "",
    ]
    outcome, tone = _outcome(row, night)
    reason = f"<p>{safe(row.reason, 600)}</p>" if row.reason != "submitted by hand" else ""
    diff = _diff(night.diffs[row.attempt]) if row.attempt in night.diffs else ""
    return (
        f'<li><span class="number">{row.attempt}</span><b>{safe(what, 300)}</b>'
        f'<span class="badge {tone}">{safe(outcome)}</span>{reason}'
        f'<p class="facts">{" · ".join(fact for fact in facts if fact)}</p>{diff}</li>'
    )


def _outcome(row: AttemptRow, night: Night) -> tuple[str, str]:
    newest = row.attempt == night.attempts[-1].attempt
    if row.outcome == "open":
        return (night.health.verdict, "busy") if newest and night.health.verdict != "ended" else ("ended", "still")
    if row.outcome == "superseded":
        return "replaced", "still"
    return row.outcome, "good" if row.outcome == "completed" else "still" if row.outcome == "cancelled" else "bad"


def _diff(text: str) -> str:
    styles = {"+": "plus", "-": "minus", "@": "at"}
    lines = text.split("\n")[:80]
    spans = (
        f'<span class="{"at" if line[:3] in ("+++", "---") else styles.get(line[:1], "")}">{verbatim(line)}</span>'
        for line in lines
    )
    return f'<pre class="diff">{"".join(spans)}</pre>'


def story(events: Sequence[Event], most: int) -> str:
    """The newest events, at most so many."""
    told = list(events)[-most:] if most else []
    if not told:
        return ""
    left = len(events) - len(told)
    older = f'<p class="soft">{left} older entries are in <code>ade-hpc history -v</code>.</p>' if left else ""
    items = "".join(
        f'<li><time>{clock(event.time)}</time><span class="{_style(event)}">{safe(event.text, 900)}</span></li>'
        for event in told
    )
    return f'<h3>What happened</h3>{older}<ol class="story">{items}</ol>'


def _style(event: Event) -> str:
    if event.kind in ("refused", "unanswered"):
        return "alert"
    return "act" if event.kind in _ACTS else ""
