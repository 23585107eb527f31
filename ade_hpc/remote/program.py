# SPDX-License-Identifier: Apache-2.0
"""A program over there: the one line that calls it, and how it ended.

This module and those that `ade-hpc --host LOGIN status` needs over an open ControlMaster import almost nothing, not
even `typing`: all that they do should be small beside what `ssh` itself takes.
"""

from __future__ import annotations

from ade_hpc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Ran:
    """How it ended, and what it wrote where no callback took it.

    returncode: its exit status; 255 where a signal ended it (as ssh(1) has it).
    """

    def __init__(self, returncode: int, stdout: bytes, stderr: bytes) -> None:
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


def command_line(argv: Sequence[str]) -> str:
    """The one string that SSH carries, from which a POSIX login shell makes ``argv`` again, whatever is in it.

    Raises UsageError for what no command line can hold (NUL) or UTF-8 can't say.
    """
    line = " ".join(map(_quoted, argv))
    if "\0" in line:
        raise UsageError("a NUL character can't be part of a remote command line")
    try:
        line.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{line!r}: is not valid UTF-8, so it can't go over SSH; rename it") from error
    return line


def _quoted(word: str) -> str:
    """In single quotes everything is itself (POSIX, Shell Command Language 2.2.2), but for the quote."""
    return "'" + word.replace("'", "'\\''") + "'"
