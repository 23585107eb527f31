# SPDX-License-Identifier: Apache-2.0
"""What the laptop can do on a login node: run a program, put a file there, get one from there. Three methods.

Two classes implement it: one over an OpenSSH connection that is already open (ControlMaster), one that connects by
itself. Whoever uses a transport can't tell which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ade_hpc.remote.program import Ran

Sink = Callable[[bytes], None]
Progress = Callable[[int, int], None]


class Transport(Protocol):
    """One connection to one login node, for a whole command; ``with`` closes it.

    Relative remote paths start at the remote home; no ``~``, variable or pattern is expanded.
    Every method raises HostSilent where the connection broke or nothing came in time: what the remote program did by
    then is unknown. It is not ended by us, but it finds its output closed.
    """

    host: str
    """As the user wrote it: an alias of ~/.ssh/config, or user@host."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        timeout_s: float | None,
    ) -> Ran:
        """Run a program, without a terminal and with nothing of our environment, to its end.

        stdin: all that it gets to read (default: nothing). stdout, stderr: called with each piece as it comes; what
        they took is not in the result. timeout_s: for the whole of it; None where it may stay, as a follower does.
        A program that fails is no error: look at ``returncode`` (127: the login shell did not find it).
        """
        ...

    def put(self, local: Path, remote: str, progress: Progress | None = None) -> None:
        """Copy a file there: whole or not at all, mode 0700 where the local one may be executed, else 0600.

        Folders on the way are made, 0700. progress: called with (bytes sent, bytes in all).
        Raises RemoteError where the far side refuses (no space, quota, permissions).
        """
        ...

    def get(self, remote: str, local: Path, progress: Progress | None = None) -> None:
        """Copy a file here: whole or not at all, mode 0600. Raises RemoteError where it can't be read there."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
