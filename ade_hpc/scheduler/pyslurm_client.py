# SPDX-License-Identifier: Apache-2.0
"""Slurm asked through pyslurm, where a site says so: the same records, and ``squeue`` and ``sacct`` where it can't.

pyslurm can't tell the earlier lives of a requeued job (it has no ``sacct -D``) nor, by one question, the steps of some
jobs, and it looks for no job by name: those questions, and every submission, go to Slurm's own programs.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ade_hpc.errors import SchedulerError
from ade_hpc.model import Source
from ade_hpc.scheduler.pyslurm_rows import accounting_rows, queue_rows
from ade_hpc.scheduler.slurm import SlurmScheduler, noted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ade_hpc.model import AccountingRow, QueueRow

PROGRAM = "ade_hpc.scheduler.pyslurm_source"


def ask_argv(python: str, slurm: str, what: str, ids: Collection[str] = ()) -> Sequence[str]:
    """The command that asks pyslurm. slurm: what ``sbatch --version`` said; what: ``queue`` or ``accounting``."""
    return [python, "-P", "-m", PROGRAM, slurm, what, *ids]


class PyslurmScheduler(SlurmScheduler):
    """As ``SlurmScheduler``. Whatever pyslurm does not answer, for whatever reason, Slurm's programs are asked."""

    def _queued(self, asked: Mapping[str, str]) -> tuple[Source, dict[str, QueueRow]]:
        try:
            return Source("answered"), queue_rows(self._ask("queue", asked), asked, asked)
        except (SchedulerError, ValueError) as error:
            source, rows = super()._queued(asked)
            return _instead(error, source), rows

    def _lives(self, asked: Mapping[str, str]) -> tuple[Source, dict[str, tuple[AccountingRow, ...]]]:
        try:
            rows, unsure = accounting_rows(self._ask("accounting", asked), asked, asked)
        except (SchedulerError, ValueError) as error:
            source, lives = super()._lives(asked)
            return _instead(error, source), lives
        if not unsure:
            return Source("answered"), rows
        source, whole = super()._lives({job_id: asked[job_id] for job_id in unsure})
        return source, {**rows, **whole}

    def _ask(self, what: str, asked: Collection[str]) -> str:
        answer = self._query(*ask_argv(self._python, self._version, what, asked))
        if answer.returncode != 0:
            raise SchedulerError(answer.words or f"pyslurm ended with {answer.returncode}")
        return answer.stdout

    @cached_property
    def _version(self) -> str:
        return self._query("sbatch", "--version").words


def _instead(error: Exception, source: Source) -> Source:
    return noted(source, [f"not by pyslurm: {error}"])
