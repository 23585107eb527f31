# SPDX-License-Identifier: Apache-2.0
"""status and history as tables for people and JSON for programs; one tick's report as sentences."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import typer

from ade_hpc.metrics.text import printable
from ade_hpc.store.registry import experiments, registry_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.table import Table

    from ade_hpc.model import Decision
    from ade_hpc.report.history import AttemptRow
    from ade_hpc.report.schedule import Heart
    from ade_hpc.report.status import StatusRow
    from ade_hpc.scheduler.base import Observer
    from ade_hpc.spec.site import Site
    from ade_hpc.supervisor.reports import Report

COLOURS = {
    "running": "green", "pending": "cyan", "starting": "cyan", "stalled": "red", "lost": "red", "unknown": "yellow",
}  # fmt: skip
MEANT = {1: " (it failed)", 3: " (a source did not answer)", 4: " (a person is needed)"}  # of a tick
NARROW, WIDE = 90, 110  # columns: below that, the table of `status`, or of `history`, is a heap of syllables


def status(names: tuple[str, ...], *, as_json: bool) -> None:
    from rich.console import Console

    from ade_hpc.launch.schedulers import open_scheduler
    from ade_hpc.report import status as report
    from ade_hpc.spec.site import load_site

    site = load_site(os.environ)
    rows, heart = look_at(names, site, lambda kind: open_scheduler(kind, site))
    if as_json:
        print(json.dumps(report.as_json(rows, heart)))
    else:
        console = Console()
        table, lines = render(rows, heart, console.width)
        console.print(table)
        for line in lines:  # whole, whatever the width: somebody may want to copy a path
            print(line)
    raise typer.Exit(report.exit_code(rows, heart))


def look_at(
    names: tuple[str, ...], site: Site, open_scheduler: Callable[[str], Observer]
) -> tuple[list[StatusRow], Heart]:
    """The rows of these experiments (all of them if none is named), and the dead man's switch."""
    from ade_hpc.report.schedule import heart_of
    from ade_hpc.report.status import gather
    from ade_hpc.store.service import Service

    registry = registry_path(os.environ)
    service = Service(registry)
    rows = gather(experiments(registry, names), open_scheduler, (service.hold,), site.llm.prices)
    return rows, heart_of(service)


def render(rows: list[StatusRow], heart: Heart, width: int) -> tuple[Table, list[str]]:
    """The table and the lines below it; on a narrow terminal a few columns, and the rest below."""
    narrow = width < NARROW
    below = [line for row in rows for line in _below(row, narrow=narrow)]
    return _status_table(rows, narrow=narrow), [tick_sentence(heart), *below]


def _status_table(rows: list[StatusRow], *, narrow: bool) -> Table:
    from rich.text import Text  # as which a cell is no markup: a tag may hold brackets

    wide = () if narrow else ("job", "heartbeat", "last tick", "findings")
    table = _table("experiment", "health", "attempt", *wide)
    for row in rows:
        colour = COLOURS.get(row.health, "red" if row.cause not in ("completed", "") else "green")
        health = Text(f"{row.health}{f' ({row.cause})' if row.cause else ''}", style=colour)
        more = (row.job_id or "-", age(row.heartbeat_age_s), age(row.last_tick_age_s), _found(row) or "-")
        table.add_row(Text(row.name), health, *map(Text, (str(row.attempt or "-"), *(() if narrow else more))))
    return table


def _found(row: StatusRow) -> str:
    return printable(", ".join(row.findings))


def _below(row: StatusRow, *, narrow: bool) -> list[str]:
    """What does not fit into a row: why it waits, when it may start, where the output is, what could not be seen."""
    lines = [f"{row.name}: {printable(row.detail, 300)}"] if row.detail else []
    if narrow and row.job_id:
        lines.append(f"  job {row.job_id}, heartbeat {age(row.heartbeat_age_s)}, last tick {age(row.last_tick_age_s)}")
    if narrow and row.findings:
        lines.append(f"  found: {_found(row)}")
    if row.paused_by:
        lines.append(f"  paused by {printable(row.paused_by, 300)}: it is watched, and nothing is done")
    if row.reason:
        lines.append(f"  waits: {printable(row.reason, 300)}")
    if row.starts_at:
        lines.append(f"  estimated start: {time.strftime('%Y-%m-%d %H:%M', time.localtime(row.starts_at))}")
    lines += [f"  {line}" for line in (row.waits_for, row.spending) if line]
    if row.output:
        lines.append(f"  output: {row.output}")
    if row.problem:
        lines.append(f"  could not see: {printable(row.problem, 500)}")
    return lines


def history(name: str, *, verbose: bool, as_json: bool) -> None:
    from ade_hpc.report import history as report

    folder = experiments(registry_path(os.environ), (name,))[0]
    if as_json:
        print(json.dumps(report.as_json(folder)))
        return
    from rich.console import Console

    console = Console()
    rows = report.attempts(folder)
    console.print(_attempts_table(rows, narrow=console.width < WIDE))
    if console.width < WIDE:
        for row in rows:
            print(f"attempt {row.attempt}: {_made_of(row)}")
    events, notes = report.story(folder)
    for event in events if verbose else ():
        print("\n".join([f"{clock(event.time)}  {event.text}", *(f"                  {line}" for line in event.more)]))
    for note in notes:
        print(f"warning: {note}")


def _attempts_table(rows: Sequence[AttemptRow], *, narrow: bool) -> Table:
    from rich.text import Text

    table = _table("attempt", "made", "what", "outcome", *(() if narrow else ("by", "from", "commit", "job", "starts")))
    for row in rows:
        asks = f" (with {', '.join(row.asks)})" if row.asks else ""
        what = printable((", ".join(row.changes) or row.reason) + asks)
        more = (row.author, row.parent or "-", row.commit[:10] or "-", row.job_id or "-", str(row.starts))
        cells = (str(row.attempt), clock(row.made_at), what, _outcome(row), *(() if narrow else more))
        table.add_row(*map(Text, cells))
    return table


def _outcome(row: AttemptRow) -> str:
    """How it ended, and what it cost that nobody saw it at once."""
    if not row.burnt_s:
        return row.outcome
    gpu = f", {row.burnt_gpu_s:.0f} GPU-s" if row.burnt_gpu_s else ""
    return f"{row.outcome} ({row.burnt_s:.0f} s after the fault{gpu})"


def _made_of(row: AttemptRow) -> str:
    """What a narrow table has no room for."""
    named = {"by": row.author, "from": row.parent, "commit": row.commit[:10], "job": row.job_id}
    said = [f"{name} {value}" for name, value in named.items() if value]
    return ", ".join([*said, f"{row.starts} start{'' if row.starts == 1 else 's'}"])


def sentence(report: Report) -> str:
    """One experiment's report as a few words; a line for each problem."""
    health = report.health
    words = [f"{report.name}: {health.verdict}{f' ({health.cause})' if health.cause else ''}"]
    for severity, verb in (("intervene", "found"), ("note", "noted")):
        of_it = [one for one in report.findings if one.severity == severity]
        found = [f"{one.kind} in {printable(one.tag)} from step {one.first_step}" for one in of_it]
        words += [f"{verb} {', '.join(found)}"] if found else []
    if report.decision is not None and not report.done:
        words.append(_decided(report.name, report.decision))
    words += [f"waits for a model: {report.question}"] if report.question else []
    words += [report.done] if report.done else []
    notes = [str(one.evidence["said"]) for one in report.findings if "said" in one.evidence]
    problems = "".join(f"\n  note: {printable(note, 500)}" for note in notes)
    problems += "".join(f"\n  problem: {printable(problem, 500)}" for problem in report.problems)
    asked = report.decision is not None and report.decision.proposal.action == "ask"
    problems += f"\n  asks: {printable(report.decision.proposal.reason, 500)}" if asked and report.decision else ""
    return "; ".join(words) + problems + "".join(f"\n  | {line}" for line in report.evidence)


def _decided(name: str, decision: Decision) -> str:
    """Who wanted what, and what became of it."""
    from ade_hpc.supervisor.record import OUTCOMES, describe

    proposal = decision.proposal
    said = f"{proposal.author} {OUTCOMES[decision.outcome]}: "
    if decision.outcome == "refuse":
        return said + "; ".join(decision.refusals)
    why = "" if proposal.action == "ask" else f", because {printable(proposal.reason, 300)}"
    answer = f" (ade-hpc approve {name}, or reject)" if decision.outcome == "propose" else ""
    return said + describe(proposal) + why + answer


def tick_sentence(heart: Heart) -> str:
    """The dead man's switch in one line."""
    if heart.last is None:
        ended = f"last tick: never{'' if heart.scheduled else '; none is scheduled: ade-hpc schedule install'}"
    else:
        meant = MEANT.get(heart.last.exit_code, "")
        ended = f"last tick: {age(heart.age_s)} ago on {heart.last.host}, exit code {heart.last.exit_code}{meant}"
    return f"{ended}; {heart.problem}" if heart.problem else ended


def age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def clock(seconds: float) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.localtime(seconds))


def _table(*headers: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
