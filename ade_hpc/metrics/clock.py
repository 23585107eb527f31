# SPDX-License-Identifier: Apache-2.0
"""Which record came before which: by the clock, and by the steps where the clock says nothing.

Tags count in units of their own (steps, epochs), so curves are related by their wall times. But a log that was
converted from another format, or written tag after tag, has times that only tell when it was written.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ade_hpc.metrics.series import Curves, Series


def ordered(curves: Curves) -> Curves:
    """``curves`` with times by which they can be related; the same object where their clock already does that.

    A tag whose times lie wholly before or after those of the tag with most points, though both logged the same
    steps, takes its times from that one, by its steps.
    """
    if not curves.series:
        return curves
    base = _ticking(max(curves.series.values(), key=len))
    series = {tag: base if tag == base.tag else _beside(one, base) for tag, one in curves.series.items()}
    changed = any(series[tag] is not one for tag, one in curves.series.items())
    return replace(curves, series=series) if changed else curves


def _ticking(one: Series) -> Series:
    """``one``, its steps taken for seconds if all its records bear the same time."""
    if not _stands_still(one):
        return one
    return replace(one, wall_times=one.wall_times[0] + (one.steps - one.steps[0]).astype(np.float64))


def _stands_still(one: Series) -> bool:
    return len(one) > 2 and bool((one.wall_times == one.wall_times[0]).all())


def _beside(one: Series, base: Series) -> Series:
    """``one`` as it is, or with the times at which ``base`` passed its steps."""
    if len(one) < 3 or (_overlap(one.wall_times, base.wall_times) and not _stands_still(one)):
        return one
    steps = one.steps.astype(np.float64)
    if 2 * one.steps[-1] < base.steps[-1]:  # it counts epochs: their share of the run
        steps *= base.steps[-1] / max(float(one.steps[-1]), 1.0)
    elif one.steps[-1] <= base.steps[0] or one.steps[0] >= base.steps[-1]:
        return one
    return replace(one, wall_times=np.interp(steps, base.steps, base.wall_times))


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool(a[-1] >= b[0] and a[0] <= b[-1])
