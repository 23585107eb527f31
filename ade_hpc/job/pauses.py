# SPDX-License-Identifier: Apache-2.0
"""How long may this run be silent? Learnt from its own pauses, never one time-out for all. Pure.

A pause is the time between two signs of progress. Those of the start (loading, staging data) and of the first step
(compilation) come once, so they are learnt from earlier starts. All others are learnt as the run goes on: evaluation,
checkpoints, a writer that holds back what it has. limit = max(floor, 3 x the 99th percentile); and because a rare pause
(an evaluation every thousand steps) is no percentile, whatever was survived once may come again, and half as long more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ade_hpc.model import Pauses

TIMES_USUAL = 3.0
TIMES_LONGEST = 1.5
TIMES_UNKNOWN = 10.0  # of the floor: a first start may stage data for long, and nobody has seen how long
REMEMBERED = 1000


@dataclass
class Learner:
    """The pauses of one start, on top of what earlier starts taught. All in seconds of one steady clock.

    floor_s: no pause below this means anything. before: what earlier starts of the experiment taught.
    """

    floor_s: float
    before: Pauses = field(default_factory=Pauses)
    seen: Pauses = field(default_factory=Pauses)
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def learn(self, pause_s: float) -> None:
        """Progress came after so long: that was healthy."""
        if self.seen.startup_s is None:
            self.seen = replace(self.seen, startup_s=pause_s)
        elif self.seen.first_step_s is None:
            self.seen = replace(self.seen, first_step_s=pause_s)
        else:
            self._recent.append(pause_s)
            longest = max(pause_s, self.seen.longest_s or 0.0)
            self.seen = replace(self.seen, usual_s=_percentile_99(self._recent), longest_s=longest)

    @property
    def limit_s(self) -> float:
        """The silence that makes a stall now."""
        known = merged([self.before, self.seen])
        if self.seen.startup_s is None:
            return self._once(known.startup_s)
        if self.seen.first_step_s is None:
            return self._once(known.first_step_s)
        return max(self.floor_s, TIMES_USUAL * (known.usual_s or 0.0), TIMES_LONGEST * (known.longest_s or 0.0))

    def _once(self, known_s: float | None) -> float:
        return self.floor_s * TIMES_UNKNOWN if known_s is None else max(self.floor_s, TIMES_USUAL * known_s)


def merged(every: Iterable[Pauses]) -> Pauses:
    """The longest of each: what was healthy once is healthy."""
    known = list(every)
    return Pauses(*(_longest(one) for one in zip(*(vars(pauses).values() for pauses in known), strict=True)))


def _longest(pauses: Iterable[float | None]) -> float | None:
    return max((pause for pause in pauses if pause is not None), default=None)


def _percentile_99(pauses: Iterable[float]) -> float:
    ordered = sorted(pauses)
    return ordered[math.ceil(0.99 * len(ordered)) - 1]
