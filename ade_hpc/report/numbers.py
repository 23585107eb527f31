# SPDX-License-Identifier: Apache-2.0
"""What the report says in numbers: of one experiment, and of the whole night."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ade_hpc.agent.budget import Usage
from ade_hpc.report.markup import safe
from ade_hpc.report.night import Goal, GpuHours, Night

Tile = tuple[str, str, str, str]  # what it is for programs, its label, the number, a note


def totals(nights: Sequence[Night]) -> str:
    """All experiments together, for the top of the page."""
    made = sum(1 for night in nights for row in night.made if row.author != "person")
    gpus = [night.gpu for night in nights if night.gpu is not None]
    bounds = [one.saved_at_most for one in gpus if one.gpus]
    usage = sum((night.usage for night in nights), Usage())
    tiles = [
        ("all-attempts", "Attempts", f"{sum(len(night.made) for night in nights)}", f"{made} not made by a person"),
        ("all-gpu-hours-used", "GPU-hours used", _hours(sum(one.used for one in gpus)), "as of the last look"),
    ]
    if bounds:
        saved = sum(bound for bound in bounds if bound is not None)
        unknown = sum(1 for bound in bounds if bound is None)
        note = f"without {unknown} that have no time limit" if unknown else "the sum of the upper bounds below"
        tiles.append(("all-gpu-hours-saved", "GPU-hours saved, at most", _hours(saved), note))
    if usage.calls:
        paid = [night.money for night in nights if night.usage.calls]
        money = None if None in paid else sum(one for one in paid if one is not None)
        tiles.append(_tokens("all-tokens", usage, money))
    return _list(tiles)


def card(night: Night) -> str:
    """One experiment in a line."""
    changes = sum(1 for row in night.made if row.changes)
    parts = [
        f"{len(night.made)} attempt{'s' if len(night.made) != 1 else ''}" + (f", {changes} changed" if changes else "")
    ]
    if night.goal is not None and night.goal.best is not None:
        parts.append(f"{safe(night.goal.tag, 40)} {night.goal.best[0]:.4g}")
    if night.gpu is not None and night.gpu.gpus:
        parts.append(f"{_hours(night.gpu.used)} GPU-h")
    return " · ".join(parts)


def tiles(night: Night) -> str:
    changes = sum(1 for row in night.made if row.changes)
    tiles = [
        ("attempts", "Attempts", f"{len(night.made)}", f"{changes} with a changed config"),
        *_goal_tile(night.goal),
        *_gpu_tiles(night.gpu),
    ]
    return _list([*tiles, *([_tokens("tokens", night.usage, night.money)] if night.usage.calls else [])])


def _list(tiles: Iterable[Tile]) -> str:
    cells = (
        f'<div><dt>{label}</dt><dd><span data-is="{key}">{value}</span><small>{note}</small></dd></div>'
        for key, label, value, note in tiles
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _tokens(key: str, usage: Usage, money: float | None) -> Tile:
    paid = "no price in site.yaml" if money is None else f"cost {money:.4f}"
    return key, "Model tokens", f"{usage.tokens}", f"{usage.calls} call{'s' if usage.calls != 1 else ''}, {paid}"


def _goal_tile(goal: Goal | None) -> Iterable[Tile]:
    if goal is None or goal.best is None:
        return
    value, step, attempt = goal.best
    target = "" if goal.target is None else f"; target {goal.target:g} {'reached' if goal.reached else 'not reached'}"
    yield "best", f"Best {safe(goal.tag, 40)}", f"{value:.5g}", f"step {step} of attempt {attempt}{target}"


def _gpu_tiles(gpu: GpuHours | None) -> Iterable[Tile]:
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


def formula(gpu: GpuHours | None) -> str:
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
