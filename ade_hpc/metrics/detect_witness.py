# SPDX-License-Identifier: Apache-2.0
"""What a trainer may log of its own health: gradient norm, share of dead units, size of the updates.

These explain and never decide: networks learn with half of their units dead, and a gradient that vanishes at the end
is what converging means. So they are notes; ``starved`` lets ``never-learns`` be sure of itself earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ade_hpc.metrics.detect_case import Case, Detector, finding
from ade_hpc.metrics.detect_trace import Trace
from ade_hpc.metrics.smooth import trailing
from ade_hpc.model import Finding


def vanishing_gradient(case: Case) -> Iterator[Finding]:
    """A gradient norm of nearly nothing."""
    limit = case.limits.gradient_gone
    return _lasting(case, "vanishing-gradient", "gradient", limit, lambda level: level < limit)


def exploding_gradient(case: Case) -> Iterator[Finding]:
    """A gradient norm a hundred times what it was in the first quarter of the run."""
    norms = case.witness("gradient")
    if norms is None:
        return iter(())
    limit = case.limits.gradient_grown * float(np.median(norms.cost[: max(1, len(norms) // 4)]))
    return _lasting(case, "exploding-gradient", "gradient", limit, lambda level: level > max(limit, 1.0))


def dead_units(case: Case) -> Iterator[Finding]:
    """More than half of the units answer nothing any more."""
    limit = case.limits.units_dead
    return _lasting(case, "dead-units", "dead", limit, lambda level: level > limit)


def update_size(case: Case) -> Iterator[Finding]:
    """Updates far too large or far too small for the weights that they update."""
    small, large = case.limits.update_small, case.limits.update_large
    yield from _lasting(case, "update-size", "update", small, lambda level: level < small)
    yield from _lasting(case, "update-size", "update", large, lambda level: level > large)


def starved(case: Case) -> bool:
    """Can nothing be learned, because no gradient arrives?"""
    return any((*vanishing_gradient(case), *dead_units(case)))


def _lasting(
    case: Case, kind: str, family: str, limit: float, odd: Callable[[np.ndarray], np.ndarray]
) -> Iterator[Finding]:
    """A note where the witness of ``family`` has been ``odd`` for long, and still is."""
    seen: Trace | None = case.witness(family)
    run = trailing(odd(seen.smooth)) if seen is not None else 0
    if seen is None or run < case.limits.witness_points:
        return
    first = len(seen) - run
    onset = float(seen.times[first])
    yield finding(kind, seen, first, len(seen) - 1, "note", onset, now=seen.end, limit=limit, points=run)


DETECTORS = (
    Detector("vanishing-gradient", vanishing_gradient),
    Detector("exploding-gradient", exploding_gradient),
    Detector("dead-units", dead_units),
    Detector("update-size", update_size),
)
