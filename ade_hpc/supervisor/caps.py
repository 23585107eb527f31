# SPDX-License-Identifier: Apache-2.0
"""The caps of the site file, for a person who submits: the guard holds a tick to the same ones (invariant 3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ade_hpc.errors import UsageError
from ade_hpc.policy.guard import site_caps
from ade_hpc.policy.snapshot import Past
from ade_hpc.scheduler.base import Scheduler
from ade_hpc.spec.site import Site
from ade_hpc.store.registry import experiments
from ade_hpc.supervisor.experiment import known_experiment
from ade_hpc.supervisor.observe import look


def refuse_over_caps(registry: Path, site: Site, open_scheduler: Callable[[str], Scheduler]) -> None:
    """Raises UsageError where one more submission would be one too many for this user.

    Experiments that can't be read don't count: a person sits here, and sees in `status` what is wrong with them.
    """
    known = (
        [one for folder in experiments(registry) if (one := known_experiment(folder)) is not None]
        if registry.is_dir()
        else []
    )
    usage = look(known, open_scheduler, second_look=False).usage
    past = Past(live_attempts=usage.live_attempts, recent_submissions=usage.recent_submissions)
    for refusal in site_caps(past, site, more=1):
        raise UsageError(f"{refusal} (site.yaml); wait, or cancel what is not needed: see `ade-hpc status`")
