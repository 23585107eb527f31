# SPDX-License-Identifier: Apache-2.0
"""Series: one scalar tag over the steps of a run, as the reader delivers it and the detectors judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the words are light: `status` speaks them without NumPy
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Series:
    """One tag. All three arrays have shape (n,); ``steps`` never decreases; ``values`` may hold NaN and infinities.

    wall_times: POSIX seconds at which the trainer wrote the event.
    """

    tag: str
    steps: NDArray[np.int64]
    wall_times: NDArray[np.float64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, eq=False)
class Curves:
    """All series of one run by tag, and ``notes``: what was lost or odd on the way, one sentence each."""

    series: Mapping[str, Series] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
