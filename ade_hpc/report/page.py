# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page for `ade-hpc report`: no script, no network, light and dark, from 400 pixels up.

All text from outside goes through ``_safe``: control characters out, HTML escaped, bounded. A policy in the page itself
forbids whatever could be loaded or run. The page stays under 3 MB: where many experiments would not fit, they are told
in less detail, and the page says so.
"""

from __future__ import annotations

import html
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from ade_hpc.metrics.panels import choose
from ade_hpc.metrics.text import printable
from ade_hpc.report.chart import Line, panel
from ade_hpc.report.history import AttemptRow, Event
from ade_hpc.report.night import Goal, GpuHours, Night

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

_ACTS = ("intent", "submitted", "replaced", "stop", "stopped", "approve", "reject", "revert", "cancel")
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
    names = "" if len(nights) != 1 else f": {_safe(nights[0].name)}"
    count = f"{len(nights)} experiment{'s' if len(nights) != 1 else ''}"
    need = f"{needy} need{'s' if needy == 1 else ''} a person" if needy else "nothing needs a person"
    less = "" if detail == _DETAILS[0] else " Told in less detail, because there are so many of them."
    return _PAGE.substitute(
        title=f"ade-hpc report{names}",
        style=Path(__file__).with_name("style.css").read_text(encoding="utf-8"),
        lead=f"{count}, {need}. Written {_clock(now, zone=True)}.{less}",
        overview=_overview(nights) if len(nights) > 1 else "",
        sections="".join(_section(night, number, detail) for number, night in enumerate(nights)),
        footer="Every number is from the ledger; curves are from the event files. More: <code>ade-hpc history NAME -v"
        "</code>.",
    )


def _overview(nights: Sequence[Night]) -> str:
    cards = (
        f'<li><a href="#e{number}"><b>{_safe(night.name)}</b>{_badge(night)}</a></li>'
        for number, night in enumerate(nights)
    )
    return f'<ul class="overview">{"".join(cards)}</ul>'


def _section(night: Night, number: int, detail: Detail) -> str:
    seen = f"Last looked at {_clock(night.seen_at)}. " if night.seen_at else ""
    why = _safe(f"{night.health.detail[:1].upper()}{night.health.detail[1:]}.", 300) if night.health.detail else ""
    seen += f"Paused by {_safe(night.paused_by, 60)}. " if night.paused_by else ""
    parts = [
        f"<header><h2>{_safe(night.name)}</h2>{_badge(night)}<p>{seen}{why}</p></header>",
        _needs(night),
        _tiles(night),
        _formula(night.gpu),
        _curves(night, detail),
        _attempts(night),
        _story(night.events, detail),
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
    return f'<span class="badge {tone}">{_safe(words)}</span>{paused}{needs}'


def _needs(night: Night) -> str:
    watched = ""
    if night.would:
        would = f"Would have done: {_safe(night.would, 600)}."
        watched = f'<div class="needs busy"><b>Only watched, in mode observe</b>{would}</div>'
    if not night.needs:
        return watched or '<div class="needs good"><b>Nothing needs a person.</b></div>'
    items = "".join(f"<li>{_coded(one)}</li>" for one in night.needs)
    return f'<div class="needs warn"><b>Needs a person</b><ul>{items}</ul></div>{watched}'


# --- numbers --------------------------------------------------------------------------------------------------------


def _tiles(night: Night) -> str:
    changes = sum(1 for row in night.attempts if row.changes and row.outcome != "refused")
    tiles = [
        ("attempts", "Attempts", f"{len(night.attempts)}", f"{changes} with a changed config"),
        *_goal_tile(night.goal),
        *_gpu_tiles(night.gpu),
    ]
    if night.usage.calls:
        money = "no price in site.yaml" if night.money is None else f"cost {night.money:.4f}"
        tiles.append(("tokens", "Model tokens", f"{night.usage.tokens}", f"{night.usage.calls} calls, {money}"))
    cells = (
        f'<div><dt>{label}</dt><dd><span data-is="{key}">{value}</span><small>{note}</small></dd></div>'
        for key, label, value, note in tiles
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _goal_tile(goal: Goal | None) -> Iterable[tuple[str, str, str, str]]:
    if goal is None or goal.best is None:
        return
    value, step, attempt = goal.best
    target = "" if goal.target is None else f"; target {goal.target:g} {'reached' if goal.reached else 'not reached'}"
    yield "best", f"Best {_safe(goal.tag, 40)}", f"{value:.5g}", f"step {step} of attempt {attempt}{target}"


def _gpu_tiles(gpu: GpuHours | None) -> Iterable[tuple[str, str, str, str]]:
    if gpu is None:
        return
    used = "all attempts, as of the last look" if gpu.gpus else "it asks for no GPU"
    yield "gpu-hours-used", "GPU-hours used", _hours(gpu.used), used
    if not gpu.gpus:
        return
    if gpu.saved_at_most is None:
        yield "gpu-hours-saved", "GPU-hours saved", "unknown", "no time limit, so there is no bound"
    else:
        yield "gpu-hours-saved", "GPU-hours saved, at most", _hours(gpu.saved_at_most), "an upper bound, see below"


def _formula(gpu: GpuHours | None) -> str:
    if gpu is None or not gpu.gpus or not gpu.ended_early:
        return ""
    terms = "; ".join(
        f"attempt {number}: {_hours(limit)} − {_hours(ran)}" for number, (limit, ran) in sorted(gpu.ended_early.items())
    )
    return (
        '<p class="formula">Saved, at most = Σ (GPUs × time limit − GPU-hours it had run), over the attempts that were '
        f"ended while they ran. It is an upper bound: they might have ended before their limit. {terms}.</p>"
    )


def _hours(value: float) -> str:
    if not math.isfinite(value):
        return "∞"
    return f"{value:.4f}" if 0 < value < 0.1 else f"{value:.2f}"


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
    return f"<figure><figcaption><b>{_safe(tag, 80)}</b><span>{last}</span></figcaption>{picture}</figure>"


def _legend(night: Night) -> str:
    labels = [run.label for run in night.runs if run.curves.series][-RUNS_DRAWN:]
    newest = list(reversed(labels))
    items = [(("new", "before", "old")[min(age, 2)], _safe(label, 80)) for age, label in enumerate(newest[:2])]
    items += [("old", "earlier attempts")] if len(newest) > 2 else []
    kinds = ", ".join(sorted({_safe(finding.kind) for finding in night.findings}))
    items += [("finding", f"found: {kinds}")] if kinds else []
    items += [("change", "resumed with a change")] if any(": " in label for label in labels) else []
    rows = (f'<li><i class="{style}"></i>{label}</li>' for style, label in items)
    return f'<ul class="legend">{"".join(rows)}</ul>'


# --- words ----------------------------------------------------------------------------------------------------------


def _attempts(night: Night) -> str:
    if not night.attempts:
        return ""
    items = "".join(_attempt(row, night) for row in night.attempts)
    return f'<h3>Attempts</h3><ol class="attempts">{items}</ol>'


def _attempt(row: AttemptRow, night: Night) -> str:
    what = ", ".join(row.changes) or ("submitted" if row.author == "person" else "restarted")
    facts = [
        _clock(row.made_at),
        f"by {_safe(row.author, 60)}",
        f"from {_safe(row.parent, 80)}" if row.parent else "from the beginning",
        f"commit <code>{_safe(row.commit[:10])}</code>" if row.commit else "",
        f"job {_safe(row.job_id, 40)}" if row.job_id else "",
        f"{row.starts} starts" if row.starts > 1 else "",
    ]
    outcome, tone = _outcome(row, night)
    reason = f"<p>{_safe(row.reason, 600)}</p>" if row.reason != "submitted by hand" else ""
    diff = _diff(night.diffs[row.attempt]) if row.attempt in night.diffs else ""
    return (
        f'<li><span class="number">{row.attempt}</span><b>{_safe(what, 300)}</b>'
        f'<span class="badge {tone}">{_safe(outcome)}</span>{reason}'
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
        f'<span class="{"at" if line[:3] in ("+++", "---") else styles.get(line[:1], "")}">{_verbatim(line)}</span>'
        for line in lines
    )
    return f'<pre class="diff">{"".join(spans)}</pre>'


def _story(events: Sequence[Event], detail: Detail) -> str:
    told = list(events)[-detail.events :] if detail.events else []
    if not told:
        return ""
    left = len(events) - len(told)
    older = f'<p class="soft">{left} older entries are in <code>ade-hpc history -v</code>.</p>' if left else ""
    items = "".join(
        f'<li><time>{_clock(event.time)}</time><span class="{_style(event)}">{_safe(event.text, 900)}</span></li>'
        for event in told
    )
    return f'<h3>What happened</h3>{older}<ol class="story">{items}</ol>'


def _style(event: Event) -> str:
    if event.kind in ("refused", "unanswered"):
        return "alert"
    return "act" if event.kind in _ACTS else ""


# --- text from outside ----------------------------------------------------------------------------------------------


def _safe(text: object, limit: int = 120) -> str:
    return html.escape(printable(str(text), limit))


def _verbatim(line: str) -> str:
    """A line of a diff: its white space stays, what would act instead of show goes."""
    return html.escape("".join(one if one.isprintable() else " " if one == "\t" else "\ufffd" for one in line[:300]))


def _coded(text: str) -> str:
    """What stands in back-ticks is a command."""
    parts = _safe(text, 900).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _clock(seconds: float, *, zone: bool = False) -> str:
    form = "%Y-%m-%d %H:%M %Z" if zone else "%m-%d %H:%M:%S"
    return html.escape(time.strftime(form, time.localtime(seconds)))
