# SPDX-License-Identifier: Apache-2.0
"""The exceptions of ade-hpc: one small tree. A class says what the user should conclude.

    AdeError                  the command failed; the message is one clear sentence
    ├── UsageError            the command line was wrong: nothing was done
    ├── SpecError             one of the three files is wrong: every problem with file and line
    ├── StoreError            the run folder, ledger or registry can't be read or trusted
    ├── RepoError             git said no, or the tree can't be frozen
    ├── AttemptExists         somebody else made this attempt first: the compare-and-swap was lost
    ├── RemoteError           the login node said no, or can't be trusted
    │   └── HostSilent        no connection to it, or it broke: what was under way there is unknown
    └── SchedulerError        Slurm (or the local scheduler) said no
        ├── SubmitRefused     the job was refused and does not exist: mend the request
        ├── SubmitUnclear     the job may or may not exist: look before you try again
        └── SchedulerSilent   no answer: everything that depends on it is unknown

``exit_code`` is what a command that ends with this error returns: 1 the command failed, 2 wrong usage,
3 a source that should have answered did not, 4 a person is needed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # nothing is imported here: a command for another machine has no time for it
    from collections.abc import Sequence


class AdeError(Exception):
    """The command failed; ``str(error)`` is the one sentence its user reads."""

    exit_code = 1


class UsageError(AdeError):
    """The command line was wrong; nothing was done."""

    exit_code = 2


class Problem:
    """One thing wrong in a user's file: where it is, and what would be right."""

    def __init__(self, file: str, line: int, message: str, warning: bool = False) -> None:
        self.file, self.line, self.message, self.warning = file, line, message, warning

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.file, self.line, self.message, self.warning))

    def __str__(self) -> str:
        kind = "warning: " if self.warning else ""
        return f"{self.file}:{self.line}: {kind}{self.message}"


class SpecError(AdeError):
    """One of the user's files is wrong; carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StoreError(AdeError):
    """The run folder, the ledger or the registry can't be read or trusted."""

    exit_code = 3


class RepoError(AdeError):
    """git said no, or the committed tree can't be frozen into a snapshot."""


class AttemptExists(AdeError):
    """Somebody else made this attempt first: the compare-and-swap was lost."""


class RemoteError(AdeError):
    """The login node said no, or can't be trusted."""


class HostSilent(RemoteError):
    """No connection to the login node, or it broke: whatever was under way there is unknown."""

    exit_code = 3


class SchedulerError(AdeError):
    """The scheduler said no."""


class SubmitRefused(SchedulerError):
    """The scheduler refused the job, which therefore does not exist: mend the request."""


class SubmitUnclear(SchedulerError):
    """The submission timed out or broke off: the job may exist. Look by name before trying again."""

    exit_code = 3


class SchedulerSilent(SchedulerError):
    """The scheduler gave no answer: whatever depends on it is unknown."""

    exit_code = 3
