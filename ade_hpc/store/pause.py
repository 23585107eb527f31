# SPDX-License-Identifier: Apache-2.0
"""Does anybody want nothing to be done to an experiment? Asked by ticks, and by the node before it ends a trainer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ade_hpc.store.inbox import messages
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import Ledger, read_ledger


def paused_by(folder: ExperimentDir, holds: Sequence[Path] = (), ledger: Ledger | None = None) -> str:
    """Who wants nothing to be done to it, as of this moment; empty where nobody does.

    A HOLD file, the experiment's own or one of ``holds``, counts by its existence alone, and a `pause` in the inbox
    before a tick has recorded it. ledger: as read before, else it is read now.
    """
    for path in (folder.hold, *holds):
        if os.path.lexists(path):
            return f"the file {path}"
    known = read_ledger(folder.ledger) if ledger is None else ledger
    said = [(entry.kind, entry.data) for entry in known.of_kind("pause", "resume")]
    said += [(one.kind, one.data) for one in messages(folder) if one.kind in ("pause", "resume")]
    return str(said[-1][1].get("by") or "somebody") if said and said[-1][0] == "pause" else ""
