# SPDX-License-Identifier: Apache-2.0
"""Every path of an experiment in one place (docs/architecture.md, "On disk").

<runs_dir>/<experiment>/
  experiment.json  ledger.jsonl  memory.md  inbox/  lease  [HOLD]
  curves/  plots/  trees/<tree id>/
  attempts/0003/
    attempt.json  owner  [superseded]  trainer.json  code -> ../../trees/<tree id>
    start/  checkpoints/  scratch/  logs/
    heartbeat/<node>.json  exit/<restart>.<node>.json  exit/<restart>.<node>.txt  tensorboard/<restart>/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ade_hpc.errors import AttemptExists, StoreError
from ade_hpc.store.files import private_dir

ATTEMPT_NAME = re.compile(r"[0-9]{4,}")


@dataclass(frozen=True)
class AttemptDir:
    """The folder of one attempt; ``number`` counts from 1."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name)

    @property
    def experiment(self) -> ExperimentDir:
        return ExperimentDir(self.path.parent.parent)

    @property
    def record(self) -> Path:
        return self.path / "attempt.json"

    @property
    def owner(self) -> Path:
        return self.path / "owner"

    @property
    def superseded(self) -> Path:
        return self.path / "superseded"

    @property
    def trainer(self) -> Path:
        return self.path / "trainer.json"

    @property
    def code(self) -> Path:
        return self.path / "code"

    @property
    def start(self) -> Path:
        return self.path / "start"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def scratch(self) -> Path:
        return self.path / "scratch"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def heartbeats(self) -> Path:
        return self.path / "heartbeat"

    @property
    def exits(self) -> Path:
        return self.path / "exit"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def starts(self) -> list[Path]:
        """The TensorBoard folders of this attempt's starts, oldest first."""
        return sorted(
            (path for path in self.tensorboard.glob("*") if path.name.isdigit()), key=lambda path: int(path.name)
        )

    def make_folders(self) -> None:
        """Everything that a compute node writes into, made by the submitter so that modes are right everywhere."""
        for path in (
            self.start, self.checkpoints, self.scratch, self.logs, self.heartbeats, self.exits, self.tensorboard,
        ):  # fmt: skip
            private_dir(path)


@dataclass(frozen=True)
class ExperimentDir:
    """The folder of one experiment."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def record(self) -> Path:
        return self.path / "experiment.json"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.jsonl"

    @property
    def memory(self) -> Path:
        return self.path / "memory.md"

    @property
    def inbox(self) -> Path:
        return self.path / "inbox"

    @property
    def lease(self) -> Path:
        return self.path / "lease"

    @property
    def hold(self) -> Path:
        """Where this file exists, nothing is changed or submitted for the experiment, whoever made it."""
        return self.path / "HOLD"

    @property
    def curves(self) -> Path:
        return self.path / "curves"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def trees(self) -> Path:
        return self.path / "trees"

    @property
    def attempts_dir(self) -> Path:
        return self.path / "attempts"

    def attempt(self, number: int) -> AttemptDir:
        return AttemptDir(self.attempts_dir / f"{number:04d}")

    def attempts(self) -> list[AttemptDir]:
        """Every attempt that was ever claimed, oldest first.

        Raises StoreError where the folder can't be listed: blindness must not look like "no attempts".
        """
        try:
            names = [path.name for path in self.attempts_dir.iterdir()]
        except OSError as error:
            raise StoreError(f"{self.attempts_dir}: can't be read: {error.strerror}") from error
        return [self.attempt(number) for number in sorted(int(name) for name in names if ATTEMPT_NAME.fullmatch(name))]

    def claim_attempt(self, number: int) -> AttemptDir:
        """Make the attempt's folder: ``mkdir`` is the compare-and-swap (invariant 1a).

        Raises AttemptExists where somebody else made it first.
        """
        attempt = self.attempt(number)
        try:
            attempt.path.mkdir(mode=0o700)
        except FileExistsError as error:
            raise AttemptExists(f"attempt {number} of {self.name} was made by somebody else just now") from error
        except OSError as error:
            raise StoreError(f"{attempt.path}: can't be made: {error.strerror}") from error
        return attempt

    def make_folders(self) -> None:
        for path in (self.path, self.attempts_dir, self.inbox, self.curves, self.plots, self.trees):
            private_dir(path)
