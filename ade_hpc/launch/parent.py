# SPDX-License-Identifier: Apache-2.0
"""Where an attempt starts from: the checkpoint is chosen by when it was complete, then pinned (invariant 5)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import numpy as np

from ade_hpc.errors import StoreError
from ade_hpc.job.checkpoints import Checkpoint, is_valid, list_checkpoints, newest_valid
from ade_hpc.metrics.series import Series
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import ParentRecord, load_attempt


def last_healthy(attempt: AttemptDir, pattern: str, complete: str | None, onset: float | None) -> ParentRecord | None:
    """The newest whole checkpoint that was complete one save interval before ``onset`` (POSIX seconds).

    Without an onset the newest whole one counts. One save interval, because a fault is in the weights before it
    shows in a curve. Falls back on the attempt's own pinned parent, and None means: start afresh.
    """
    own = list_checkpoints(attempt.checkpoints, pattern)
    limit = float("inf") if onset is None else onset - _save_interval(own)
    for checkpoint in reversed([one for one in own if one.completed_at <= limit]):
        if is_valid(checkpoint.path, complete):
            return ParentRecord(attempt.number, str(checkpoint.path.relative_to(attempt.checkpoints)), checkpoint.step)
    return _pinned(attempt, pattern, complete)


def _pinned(attempt: AttemptDir, pattern: str, complete: str | None) -> ParentRecord | None:
    """The attempt's own parent once more, and as much of it as the attempt took."""
    checkpoint = newest_valid(attempt.start, pattern, complete)
    if checkpoint is None:
        return None
    record = load_attempt(attempt)
    weights_only = record is not None and record.parent is not None and record.parent.weights_only
    name = str(checkpoint.path.relative_to(attempt.start))
    return ParentRecord(attempt.number, name, checkpoint.step, weights_only)


def best(attempt: AttemptDir, pattern: str, complete: str | None, objective: Series, goal: str) -> ParentRecord | None:
    """The whole checkpoint that was complete nearest to the best finite value of the objective."""
    finite = np.where(np.isfinite(objective.values), objective.values, np.inf if goal == "min" else -np.inf)
    when = float(objective.wall_times[int(finite.argmin() if goal == "min" else finite.argmax())])
    nearest = sorted(list_checkpoints(attempt.checkpoints, pattern), key=lambda one: abs(one.completed_at - when))
    chosen = next((one for one in nearest if is_valid(one.path, complete)), None)
    if chosen is None:
        return last_healthy(attempt, pattern, complete, None)
    return ParentRecord(attempt.number, str(chosen.path.relative_to(attempt.checkpoints)), chosen.step)


def _save_interval(checkpoints: Sequence[Checkpoint]) -> float:
    gaps = [later.completed_at - earlier.completed_at for earlier, later in pairwise(checkpoints)]
    return median(gaps) if gaps else 0.0


def pin(parent: ParentRecord, source: AttemptDir, target: AttemptDir) -> None:
    """Hard-link (else copy) the parent into ``start/``, so that the old attempt may prune or go on writing.

    Idempotent. Raises StoreError where the checkpoint is gone or there is no space.
    """
    destination = target.start / parent.name
    if destination.exists():
        return
    origin = next(
        (path for path in (source.checkpoints / parent.name, source.start / parent.name) if path.exists()), None
    )
    if origin is None:
        raise StoreError(f"checkpoint {parent.name} of attempt {source.number} is gone; nothing was submitted")
    partial = target.start / f".{destination.name}.partial"
    try:
        destination.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(origin, partial, copy_function=_link_or_copy)
        else:
            partial.unlink(missing_ok=True)
            _link_or_copy(str(origin), str(partial))
        os.rename(partial, destination)
    except OSError as error:
        raise StoreError(f"checkpoint {parent.name} can't be pinned: {error.strerror}") from error


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another filesystem, or one without hard links
        shutil.copy2(source, target)
    return target
