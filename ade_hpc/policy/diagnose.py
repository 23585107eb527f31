# SPDX-License-Identifier: Apache-2.0
"""Diagnose: from a snapshot to the health of the process and the findings on its curves. Pure."""

from __future__ import annotations

import math

from ade_hpc.metrics.detect import find
from ade_hpc.model import Change, Finding, Health
from ade_hpc.policy.health import judge_health
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.preferences import Preferences

# Event files hold 32-bit floats: one written from a double differs by up to 6e-8 of its value.
SAME_VALUE = 1e-5


def diagnose(snapshot: Snapshot, preferences: Preferences) -> tuple[Health, tuple[Finding, ...]]:
    """The verdict on the process and everything worth knowing about its curves, interventions first."""
    curves = find(snapshot.curves, preferences.objective)
    return judge_health(snapshot), (*prove(snapshot, preferences), *curves)


def prove(snapshot: Snapshot, preferences: Preferences) -> tuple[Finding, ...]:
    """Did the change take effect? (invariant 4)

    Resuming an optimizer restores its *old* learning rate, so a change of config can be a no-op in torch, Lightning
    and Hugging Face alike. The first logged value of the tunable's tag must be what was committed.
    """
    return tuple(
        finding for change in snapshot.changes if (finding := _compare(change, snapshot, preferences)) is not None
    )


def _compare(change: Change, snapshot: Snapshot, preferences: Preferences) -> Finding | None:
    tunable = preferences.tunables.get(change.key)
    series = snapshot.curves.series.get(tunable.tag) if tunable and tunable.tag else None
    if series is None or not len(series) or isinstance(change.new, str | bool | None):
        return None
    logged = float(series.values[0])
    if math.isclose(logged, change.new, rel_tol=SAME_VALUE, abs_tol=1e-12):
        return None
    return Finding(
        kind="change-ineffective",
        tag=series.tag,
        first_step=int(series.steps[0]),
        last_step=int(series.steps[0]),
        severity="intervene",
        onset=float(series.wall_times[0]),
        evidence={"key": change.key, "committed": change.new, "logged": logged},
    )
