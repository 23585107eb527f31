# SPDX-License-Identifier: Apache-2.0
"""Did a change take effect? (invariant 4) Pure.

Resuming an optimizer restores its *old* learning rate, so a change of config can be a no-op in torch, Lightning and
Hugging Face alike. The tag of a tunable tells. Where it shows the base value, the first one logged must be what was
committed. Where it shows what a schedule makes of that (warm-up, cosine, steps), it must be what the attempt before
logged at that step, scaled as the change scales the base. What is logged as before, although it was changed, shows
that the change came to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ade_hpc.metrics.series import Series
from ade_hpc.model import Change, Finding, Scalar, Severity
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.preferences import Preferences

# Event files hold 32-bit floats: one written from a double differs by up to 6e-8 of its value.
SAME_VALUE, SAME_ZERO = 1e-5, 1e-12
# A warm-up begins at zero whatever its base, so the first value that can tell decides, if it comes soon.
FIRST_VALUES = 1000

_UNPROVED = "{key} was committed as {committed}, {logged:.6g} was logged: {why}"
_SCHEDULED = "the tag seems to follow a schedule; log the base value, or name another tag"
_AS_BEFORE = "so it was before the change, too, which proves nothing"


@dataclass(frozen=True, eq=False)
class _Seen:
    """Of the first values logged, all of shape (n,): which can be as committed, by themselves or by their schedule;
    which as before, had nothing been changed; and where the attempt before shows what stood there.

    steady: that one logged its base value at every step, so that no schedule excuses another.
    """

    as_committed: NDArray[np.bool_]
    as_before: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    steady: bool


def prove(snapshot: Snapshot, preferences: Preferences) -> tuple[Finding, ...]:
    """``change-ineffective`` for what was changed to no effect, the note ``change-unproved`` where nobody can tell."""
    found = []
    for change in snapshot.changes:
        tunable = preferences.tunables.get(change.key)
        series = snapshot.curves.series.get(tunable.tag) if tunable and tunable.tag else None
        if series is not None and len(series):
            found.append(_judge(change, series, snapshot.before.series.get(series.tag)))
    return tuple(finding for finding in found if finding is not None)


def _judge(change: Change, series: Series, before: Series | None) -> Finding | None:
    old, new = _number(change.old), _number(change.new)
    if new is None or (old is not None and _same(old, new)):
        return None
    seen = _compare(series, before, old, new)
    telling = ~(seen.as_committed & seen.as_before)
    telling[1:] &= seen.covered[1:]
    if not telling.any():
        return _unproved(change, series, 0, _AS_BEFORE)
    at = int(telling.argmax())
    if seen.as_committed[at]:
        return None
    if seen.as_before[at] or (seen.steady and seen.covered[at]):
        return _finding("change-ineffective", "intervene", change, series, at)
    return _unproved(change, series, at, _SCHEDULED)


def _unproved(change: Change, series: Series, at: int, why: str) -> Finding:
    finding = _finding("change-unproved", "note", change, series, at)
    said = _UNPROVED.format(**finding.evidence, why=why)
    return replace(finding, evidence={**finding.evidence, "said": said})


def _finding(kind: str, severity: Severity, change: Change, series: Series, at: int) -> Finding:
    return Finding(
        kind=kind,
        tag=series.tag,
        first_step=int(series.steps[at]),
        last_step=int(series.steps[at]),
        severity=severity,
        onset=float(series.wall_times[at]),
        evidence={"key": change.key, "committed": change.new, "logged": float(series.values[at])},
    )


def _compare(series: Series, before: Series | None, old: float | None, new: float) -> _Seen:
    values, steps = series.values[:FIRST_VALUES], series.steps[:FIRST_VALUES]
    committed, nowhere = _same(values, new), np.zeros(len(values), bool)
    if before is None or not len(before):
        return _Seen(committed, nowhere, nowhere, steady=False)
    # what it had logged just before that step and just after it; beyond its ends, the nearest
    last = len(before) - 1
    left = before.values[np.clip(np.searchsorted(before.steps, steps, side="right") - 1, 0, last)]
    right = before.values[np.clip(np.searchsorted(before.steps, steps, side="left"), 0, last)]
    if old:
        with np.errstate(over="ignore", invalid="ignore"):  # it may have logged anything
            committed |= _between(values, left * (new / old), right * (new / old))
    covered = (before.steps[0] <= steps) & (steps <= before.steps[-1])
    steady = old is not None and bool(_same(before.values, old).all())
    return _Seen(committed, _between(values, left, right), covered, steady)


def _number(value: Scalar) -> float | None:
    """None for what is no number, or too large for one."""
    if isinstance(value, str | bool | None):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _same(values: ArrayLike, wanted: ArrayLike) -> NDArray[np.bool_]:
    return np.isclose(values, wanted, rtol=SAME_VALUE, atol=SAME_ZERO)


def _between(values: NDArray[np.float64], one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, high = np.minimum(one, other), np.maximum(one, other)
    return (values >= low) & (values <= high) | _same(values, low) | _same(values, high)
