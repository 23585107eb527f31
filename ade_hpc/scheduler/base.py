# SPDX-License-Identifier: Apache-2.0
"""What every scheduler can do. The rest of the house knows this Protocol and no scheduler by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ade_hpc.model import JobRef, Lookup, Observation, StepRow, Submission


class Observer(Protocol):
    """Says what became of jobs."""

    def observe(self, jobs: Sequence[JobRef]) -> Observation:
        """All that is known of these jobs, with one queue query and one accounting query (none for no jobs).

        Never raises: a source that gave no answer says so.
        """

    def steps(self, jobs: Sequence[JobRef]) -> Mapping[str, tuple[StepRow, ...]]:
        """The steps of jobs that failed, by job id, with one accounting query: some ends show on a step only.

        Never raises: whoever knows nothing of steps has none.
        """


class Scheduler(Observer, Protocol):
    """Submits attempts, finds them again, says what became of them, and ends them."""

    @property
    def kind(self) -> Literal["slurm", "local"]:
        """Which one it is, as it stands in the attempt's record."""

    @property
    def settle_s(self) -> float:
        """Seconds from the beginning of an unclear submission until an empty lookup proves that there is no job."""

    def script(self, job: Submission) -> str:
        """The exact text that would be submitted. Asks nobody, changes nothing.

        Raises SubmitRefused where the request can't be put into a script.
        """

    def submit(self, job: Submission) -> str:
        """Submit the attempt and return its job id. May be repeated for the same attempt.

        Raises SubmitRefused (there is no job), SubmitUnclear (there may be one: look with ``find`` before trying
        again) or another SchedulerError (nothing was submitted).
        """

    def find(self, name: str, since: float) -> Lookup:
        """The admitted jobs of this unique name that were submitted after ``since`` (POSIX seconds).

        Never raises: where the queue gave no answer, ``answered`` is False.
        """

    def glance(self, jobs: Sequence[JobRef], before: Observation | None, turn: int) -> Observation:
        """As ``observe``, for who looks on for hours: by one query at the most, and not to be acted upon.

        before: what the last glance gave, None the first time. turn: how many glances there were.
        """

    def cancel(self, job: JobRef) -> None:
        """Ask the job to end. A job that ended already, or that nobody knows, is fine.

        Raises SchedulerSilent (no answer: it may live on) or SchedulerError (not allowed).
        """
