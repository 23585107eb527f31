# SPDX-License-Identifier: Apache-2.0
"""Diagnose: from a snapshot to the health of the process and the findings on its curves. Pure."""

from __future__ import annotations

from ade_hpc.metrics.detect import find
from ade_hpc.model import Finding, Health
from ade_hpc.policy.health import judge_health
from ade_hpc.policy.proof import prove
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.preferences import Preferences


def diagnose(snapshot: Snapshot, preferences: Preferences) -> tuple[Health, tuple[Finding, ...]]:
    """The verdict on the process and everything worth knowing about its curves, interventions first."""
    found = (*prove(snapshot, preferences), *find(snapshot.curves, preferences.objective))
    return judge_health(snapshot), tuple(sorted(found, key=lambda one: one.severity != "intervene"))
