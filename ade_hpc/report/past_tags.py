# SPDX-License-Identifier: Apache-2.0
"""Which tags the past runs of an experiment have logged: what `ade-hpc check` holds its preferences against."""

from __future__ import annotations

from ade_hpc.errors import StoreError
from ade_hpc.spec.experiment import Experiment
from ade_hpc.store.layout import ExperimentDir

NEWEST = 3  # attempts; older ones may have been another trainer's


def tags_of(experiment: Experiment) -> frozenset[str]:
    """Every tag of the newest attempts' event files; empty where nothing has run yet, or nothing can be seen."""
    try:
        attempts = ExperimentDir(experiment.runs_dir / experiment.name).attempts()[-NEWEST:]
    except StoreError:
        return frozenset()
    from ade_hpc.metrics.collect import collect

    return frozenset(tag for attempt in attempts for tag in collect(attempt.starts(), None).series)
