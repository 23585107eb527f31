# SPDX-License-Identifier: Apache-2.0
"""Has the run lost its numbers for good? Pure.

Healthy runs log NaN too: a loss scaler skips a step, an auxiliary loss is NaN beside a perfect policy. So this says
less than the detector of a tick (metrics/detect_blowup.py), and never what that would not say: the node ends a run only
where the tick that follows agrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from ade_hpc.store.records import FastPath

Values = Sequence[tuple[float, float]]
OBJECTIVE_RUN = 3  # as Thresholds.nan_run
OBJECTIVE_ALONE = 10  # as Thresholds.nan_alone
LOSS_RUN = 20  # as Thresholds.nan_loss_run
LOST_GAIN = 0.7  # more than Thresholds.lost_gain: both judge by other medians
AFTER = 3  # values of the objective since then, to say that it was lost
# The loss that is trained, by the names that trainers and frameworks give it
COMMON_LOSSES = (
    "loss/train", "train/loss", "Loss/train", "train_loss", "train/train_loss", "training_loss", "loss", "Loss",
    "train/total_loss", "train/epoch_loss", "epoch_loss", "train_loss_step", "train_loss_epoch", "train/loss_step",
)  # fmt: skip


def since_when(values: Mapping[str, Values], fast: FastPath) -> tuple[str, float] | None:
    """The tag that is no number any more, and when that began (POSIX seconds, by the trainer's clock), or None."""
    objective = values.get(fast.objective, ())
    run = _run(objective)
    if run >= (OBJECTIVE_RUN if run < len(objective) and not fast.by_return else OBJECTIVE_ALONE):
        return fast.objective, objective[-run][0]
    if fast.by_return or not fast.objective:
        return None
    losses = [(tag, found, _run(found)) for tag, found in values.items() if tag in COMMON_LOSSES]
    for tag, found, run in losses:
        if run >= OBJECTIVE_RUN and _lost(objective, found[-run][0], run, fast.goal):
            return tag, found[-run][0]
    return None


def _lost(objective: Values, onset: float, run: int, goal: str) -> bool:
    """Is the objective gone with the loss, or has it not been heard of since?"""
    sign = -1.0 if goal == "max" else 1.0
    finite = [(at, sign * value) for at, value in objective if math.isfinite(value)]
    before, after = [cost for at, cost in finite if at <= onset], [cost for at, cost in finite if at > onset]
    if not after:
        return run >= LOSS_RUN
    if len(before) < 2 * AFTER or len(after) < AFTER:
        return False
    start = median(before[:AFTER])
    best = min(median(before[at : at + AFTER]) for at in range(len(before) - AFTER + 1))
    return start > best and median(after[-AFTER:]) >= best + LOST_GAIN * (start - best)


def _run(values: Values) -> int:
    """How many of the newest values in a row are not finite."""
    count = 0
    for _, value in reversed(values):
        if math.isfinite(value):
            break
        count += 1
    return count
