# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page for `ade-hpc report`: no script, no network, light and dark, from 400 pixels up.

All text from outside goes through ``markup``. A policy in the page itself forbids whatever could be loaded or run. The
page stays under 3 MB: where many experiments would not fit, they are told in less detail, and the page says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from ade_hpc.metrics.panels import choose
from ade_hpc.report.chart import Line, panel
from ade_hpc.report.markup import clock, coded, safe
from ade_hpc.report.night import Night
from ade_hpc.report.numbers import card, formula, tiles, totals
from ade_hpc.report.words import attempts, story

LIMIT = 2_900_000  # bytes
RUNS_DRAWN = 8

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header><h1>$title</h1><p class="soft">$lead</p>$overview</header>
<main>$sections</main>
<footer>$footer</footer>
</body>
</html>
""")

_CALM = ("completed", "cancelled", "superseded")


@dataclass(frozen=True)
class Detail:
    """How much is told of each experiment. columns: to which a curve is reduced."""

    columns: int
    panels: int
    events: int


_DETAILS = (Detail(260, 4, 150), Detail(120, 2, 60), Detail(60, 1, 20), Detail(0, 0, 8), Detail(0, 0, 0))


def render(nights: Sequence[Night], *, now: float) -> str:
    """The page, in the most detail that keeps it under 3 MB; whoever needs a person comes first."""
    page, order = "", sorted(nights, key=lambda night: not night.needs)
    for detail in _DETAILS:
        if _estimate(nights, detail) <= LIMIT:
            page = _page(order, now, detail)
            if len(page.encode()) <= LIMIT:
                break
    return page


def _estimate(nights: Sequence[Night], detail: Detail) -> int:
    """About how many bytes, so that nothing big is made in vain: a point of a line is some 11, an event some 250."""
    lines = sum(min(len(night.runs), RUNS_DRAWN) + 2 for night in nights if night.runs)  # the newest has its raw values
    events = sum(min(len(night.events), detail.events) for night in nights)
    return 11 * lines * detail.panels * detail.columns + 250 * events


def _page(nights: Sequence[Night], now: float, detail: Detail) -> str:
    needy = sum(1 for night in nights if night.needs)
    names = "" if len(nights) != 1 else f": {safe(nights[0].name)}"
    count = f"{len(nights)} experiment{'s' if len(nights) != 1 else ''}"
    need = f"{needy} need{'s' if needy == 1 else ''} a person" if needy else "nothing needs a person"
    less = "" if detail == _DETAILS[0] else " Told in less detail, because there are so many of them."
    return _PAGE.substitute(
        title=f"ade-hpc report{names}",
        style=Path(__file__).with_name("style.css").read_text(encoding="utf-8"),
        lead=f"{count}, {need}. Written {clock(now, zone=True)}.{less}",
        overview=_overview(nights) if len(nights) > 1 else "",
        sections="".join(_section(night, number, detail) for number, night in enumerate(nights)),
        footer="Every number is from the ledger; curves are from the event files. More: <code>ade-hpc history NAME -v"
        "</code>.",
    )


def _overview(nights: Sequence[Night]) -> str:
    cards = (
        f'<li><a href="#e{number}"><b>{safe(night.name)}</b>{_badge(night)}<small>{card(night)}</small>{_first(night)}'
        "</a></li>"
        for number, night in enumerate(nights)
    )
    return f'{totals(nights)}<ul class="overview">{"".join(cards)}</ul>'


def _first(night: Night) -> str:
    """What a person reads before they choose where to begin."""
    return f"<small>{coded(night.needs[0], 110)}</small>" if night.needs else ""


def _section(night: Night, number: int, detail: Detail) -> str:
    seen = f"Last looked at {clock(night.seen_at)}. " if night.seen_at else ""
    why = safe(f"{night.health.detail[:1].upper()}{night.health.detail[1:]}.", 300) if night.health.detail else ""
    seen += f"Paused by {safe(night.paused_by, 60)}. " if night.paused_by else ""
    parts = [
        f"<header><h2>{safe(night.name)}</h2>{_badge(night)}<p>{seen}{why}</p></header>",
        _needs(night),
        tiles(night),
        formula(night.gpu),
        _curves(night, detail),
        attempts(night),
        story(night.events, detail.events),
    ]
    return f'<section id="e{number}">{"".join(parts)}</section>'


def _badge(night: Night) -> str:
    health = night.health
    words = health.cause if health.verdict == "ended" and health.cause else health.verdict
    tone = "warn" if health.verdict == "unknown" else "bad"
    if health.verdict in ("running", "starting", "pending"):
        tone = "busy"
    elif health.verdict == "ended" and health.cause in _CALM:
        tone = "good" if health.cause == "completed" else "still"
    needs = ' <span class="badge warn">needs a person</span>' if night.needs else ""
    paused = ' <span class="badge">paused</span>' if night.paused_by else ""
    return f'<span class="badge {tone}">{safe(words)}</span>{paused}{needs}'


def _needs(night: Night) -> str:
    watched = ""
    if night.would:
        would = f"Would have done: {safe(night.would, 600)}."
        watched = f'<div class="needs busy"><b>Only watched, in mode observe</b>{would}</div>'
    if not night.needs:
        return watched or '<div class="needs good"><b>Nothing needs a person.</b></div>'
    items = "".join(f"<li>{coded(one)}</li>" for one in night.needs)
    return f'<div class="needs warn"><b>Needs a person</b><ul>{items}</ul></div>{watched}'


# --- curves ---------------------------------------------------------------------------------------------------------


def _curves(night: Night, detail: Detail) -> str:
    runs = [run for run in night.runs if run.curves.series][-RUNS_DRAWN:]
    goal = night.goal
    tags = choose(runs, goal.tag if goal else None, night.findings, detail.panels)
    if not tags:
        return ""
    figures = "".join(_figure(tag, night, detail) for tag in tags)
    return f'<h3>Curves</h3><div class="panels">{figures}</div>{_legend(night)}'


def _figure(tag: str, night: Night, detail: Detail) -> str:
    runs = [run for run in night.runs if run.curves.series][-RUNS_DRAWN:]
    lines = [Line("finding", one.first_step, one.kind) for one in night.findings if one.tag == tag]
    lines += [Line("change", run.resumed_at or 0, run.label.partition(":")[0]) for run in runs if ": " in run.label]
    goal = night.goal
    if goal is not None and goal.tag == tag and goal.target is not None:
        lines.append(Line("target", goal.target, f"target {goal.target:g}", goal.direction == "max"))
    series = next((run.curves.series[tag] for run in reversed(runs) if tag in run.curves.series), None)
    last = f"{series.values[-1]:.4g} at step {series.steps[-1]}" if series is not None and len(series) else ""
    picture = panel(tag, runs, lines, detail.columns)
    return f"<figure><figcaption><b>{safe(tag, 80)}</b><span>{last}</span></figcaption>{picture}</figure>"


def _legend(night: Night) -> str:
    labels = [run.label for run in night.runs if run.curves.series][-RUNS_DRAWN:]
    newest = list(reversed(labels))
    items = [(("new", "before", "old")[min(age, 2)], safe(label, 80)) for age, label in enumerate(newest[:2])]
    items += [("old", "earlier attempts")] if len(newest) > 2 else []
    kinds = ", ".join(sorted({safe(finding.kind) for finding in night.findings}))
    items += [("finding", f"found: {kinds}")] if kinds else []
    items += [("change", "resumed with a change")] if any(": " in label for label in labels) else []
    rows = (f'<li><i class="{style}"></i>{label}</li>' for style, label in items)
    return f'<ul class="legend">{"".join(rows)}</ul>'
