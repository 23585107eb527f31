# SPDX-License-Identifier: Apache-2.0
"""The breaker against starts that come of themselves and get nowhere, by what the starts before have left on record."""

from __future__ import annotations

from collections.abc import Sequence

from ade_hpc.model import ExitRecord
from ade_hpc.spec.request import HOUR_S
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import load_exits

FRUITLESS_DEATHS = 3  # in a row, requeues included, without a new step
STARTS_AN_HOUR = 6


def in_vain(records: Sequence[ExitRecord]) -> str:
    """Why there must be no further start of an attempt, by the records of all its starts; empty where there may."""
    brought: dict[int, bool] = {}
    for record in records:  # a start has one on every node
        if record.further is not None:
            brought[record.restart] = brought.get(record.restart, False) or record.further
    latest = [brought[restart] for restart in sorted(brought)[-FRUITLESS_DEATHS:]]
    if len(latest) < FRUITLESS_DEATHS or any(latest):
        return ""
    return f"{FRUITLESS_DEATHS} starts in a row have brought no new step"


def storm(attempt: AttemptDir, records: Sequence[ExitRecord], now: float) -> str:
    """The same where nothing but Slurm's wish stands behind each start: `in_vain`, or too many of them within an hour.

    records: of this attempt. Of the others, too, those starts count that left a record. Raises AdeError or OSError
    where they can't be read.
    """
    others = [one for one in attempt.experiment.attempts() if one.number != attempt.number]
    every = [*records, *(record for one in others for record in load_exits(one))]
    recent = {(one.attempt, one.restart) for one in every if one.trainer_started_at and now - one.started_at < HOUR_S}
    if len(recent) >= STARTS_AN_HOUR:
        return f"it was started {len(recent)} times within an hour"
    return in_vain(records)
