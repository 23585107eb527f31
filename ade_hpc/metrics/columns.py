# SPDX-License-Identifier: Apache-2.0
"""Numbers of one tag as columns, and the two rules by which later writing replaces earlier. Pure.

* Within one file: a step lower than the one written before it takes back everything from that step on (a trainer
  that went back to a checkpoint). Equal steps in a row stand as written (several episodes end at one step).
* Between files and starts: a later writer wins from its first step on, tag by tag. A declared restart
  (SessionLog.START, what torch's ``purge_step`` writes) takes back every tag of its folder from its step on.

This is what TensorBoard calls purging; its own rule for files without a declared restart is to show both tails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_NEVER = np.iinfo(np.int64).max


class Columns(NamedTuple):
    """Logged numbers of one tag: three arrays of shape (n,)."""

    steps: NDArray[np.int64]
    wall_times: NDArray[np.float64]
    values: NDArray[np.float64]


EMPTY = Columns(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


def pick(columns: Columns, which: slice | NDArray[np.bool_] | NDArray[np.intp]) -> Columns:
    """Some rows of all three columns."""
    return Columns(columns.steps[which], columns.wall_times[which], columns.values[which])


def joined(parts: Sequence[Columns]) -> Columns:
    """The parts one after another; a single part is not copied."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return EMPTY
    steps, walls, values = zip(*parts, strict=True)
    return Columns(np.concatenate(steps), np.concatenate(walls), np.concatenate(values))


def settled(new: Columns, last: int | None) -> tuple[int | None, Columns]:
    """What stands of ``new``, written to a file after a row with step ``last`` (None: after none).

    Returns the step from which the earlier rows of that file no longer stand (None: all do), and the rows of ``new``
    that do; their steps never decrease.
    """
    before = np.append(new.steps[:1] if last is None else np.int64(last), new.steps[:-1])
    back = new.steps < before
    if not back.any():
        return None, new
    levels = np.where(back, new.steps, _NEVER)
    later = np.append(np.minimum.accumulate(levels[::-1])[::-1], _NEVER)
    return int(later[0]), pick(new, new.steps < later[1:])


class Writer(NamedTuple):
    """What one file says of one tag, and the step at which that file declared a restart, or None."""

    columns: Columns
    restart: int | None = None


def stitched(writers: Sequence[Writer]) -> Columns:
    """One series from the files that wrote it, oldest first; a later one wins from its first step on."""
    parts: list[Columns] = []
    limit = _NEVER
    for columns, restart in reversed(writers):
        count = int(np.searchsorted(columns.steps, limit)) if limit < _NEVER else len(columns.steps)
        if count:
            parts.append(pick(columns, slice(count)))
        if len(columns.steps):
            limit = min(limit, int(columns.steps[0]))
        if restart is not None:
            limit = min(limit, restart)
    return joined(parts[::-1])
