# SPDX-License-Identifier: Apache-2.0
"""The breaker: no start that would only repeat what got nowhere, whoever proposes it. Pure.

Progress is the measure. It counts the starts in a row that brought no new step, of attempts that had the same config
and asked for the same resources as the one that is about to be made: more memory is another try, another node is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from ade_hpc.job.breaker import FRUITLESS_DEATHS, STARTS_AN_HOUR, in_vain
from ade_hpc.model import Health
from ade_hpc.policy.health import trouble
from ade_hpc.policy.snapshot import Death, Snapshot
from ade_hpc.spec.request import Request


def tripped(snapshot: Snapshot, health: Health, wanted: Request) -> str:
    """Why there must be no further start with this config, asking for ``wanted``; empty where there may."""
    deaths = (*snapshot.past.deaths, death_of(snapshot, health))
    vain = in_vain(snapshot.exits) if wanted.fingerprint == snapshot.request.fingerprint else ""
    if vain:
        return f"{vain}: a person must look"
    count = fruitless([one for one in deaths if one.asked in (None, wanted.fingerprint)])
    if count >= FRUITLESS_DEATHS:
        return f"{count} starts in a row have brought no new step: a person must look"
    if snapshot.past.recent_starts >= STARTS_AN_HOUR:
        return f"it was started {snapshot.past.recent_starts} times within an hour: a person must look"
    return ""


def death_of(snapshot: Snapshot, health: Health) -> Death:
    """The end of the attempt in charge, as it will be remembered; without a cause where it is replaced in health."""
    truth = snapshot.truth
    nodes = truth.nodes or ",".join(sorted(beat.node for beat in snapshot.beats))
    asked = snapshot.request.fingerprint
    return Death(snapshot.attempt, trouble(health), nodes, snapshot.step, snapshot.signature, truth.restarts + 1, asked)


def fruitless(deaths: Sequence[Death]) -> int:
    """How many deaths in a row the run has not got any further: 1 where the last one brought new steps."""
    best, count = -1, 0
    for death in deaths:
        if death.step is not None and death.step > best:
            best, count = death.step, 1
        else:
            count += death.lives
    return count
