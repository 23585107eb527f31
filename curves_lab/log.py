# SPDX-License-Identifier: Apache-2.0
"""Event files as torch's SummaryWriter writes them, on a simulated clock so that a run is the same every time."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

EPOCH = 1.7e9  # POSIX seconds at which every run begins
PACE_S = 0.5  # one training step takes this long


class Log:
    """Writes scalars of one run; ``clock`` is its POSIX time, which ``tick`` moves by one training step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = EPOCH
        self._writers: dict[str, SummaryWriter] = {}
        self._part = ""

    def restart(self, name: str, gap_s: float = 30.0) -> None:
        """Go on in a fresh sub-folder, as each start of a job does."""
        self._part = name
        self.clock += gap_s

    def tick(self, seconds: float = PACE_S) -> None:
        self.clock += seconds

    def scalar(self, tag: str, value: float, step: int) -> None:
        """``tag`` may begin with ``FOLDER:``; Keras writes ``train`` and ``validation`` into folders of their own."""
        folder, _, name = tag.rpartition(":")
        key = f"{folder}/{self._part}".strip("/")
        if key not in self._writers:
            self._writers[key] = SummaryWriter(str(self.folder / key))
        self._writers[key].add_scalar(name, value, step, walltime=self.clock)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
