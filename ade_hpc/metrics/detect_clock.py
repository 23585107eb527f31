# SPDX-License-Identifier: Apache-2.0
"""``stalled``, as far as a log can tell: a long silence between two of its own records.

A log has no now. Whether a run hangs *at its end* only a tick over a live job knows, by the clock; here a silence
counts that was followed by more records, and it is always a note: the run went on.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ade_hpc.metrics.detect_case import Case, finding
from ade_hpc.model import Finding


def stalled(case: Case) -> Iterator[Finding]:
    """The longest silence of the whole log, if it is long and unusual. Queueing between two starts looks the same."""
    every = list(case.curves.series.values())
    times = np.unique(np.concatenate([s.wall_times for s in every])) if every else np.zeros(0)
    times = times[np.isfinite(times)]
    gaps = np.diff(times)
    if len(gaps) < 5:
        return
    longest = int(np.argmax(gaps))
    usual = float(np.median(gaps))
    if gaps[longest] < max(case.limits.gap_s, case.limits.gap_factor * usual):
        return
    before, after = float(times[longest]), float(times[longest + 1])
    series = max(every, key=len)
    first = max(int(np.searchsorted(series.wall_times, before, side="right")) - 1, 0)
    last = min(int(np.searchsorted(series.wall_times, after)), len(series) - 1)
    yield finding("stalled", series, first, last, "note", before, silence_s=after - before, usual_s=usual)
