# SPDX-License-Identifier: Apache-2.0
"""Ask the person at this terminal, or say that there is none: an unattended run never waits for an answer."""

from __future__ import annotations

import getpass
import sys

from ade_hpc.errors import RemoteError
from ade_hpc.metrics.text import printable


class Person:
    """Whoever sits at the terminal. attended: may be asked at all."""

    def __init__(self, host: str, *, attended: bool | None = None) -> None:
        self.host = host
        self.attended = sys.stdin.isatty() if attended is None else attended

    def tell(self, text: str) -> None:
        for line in text.splitlines():
            print(printable(line, 300), file=sys.stderr)

    def answer(self, prompt: str, *, echo: bool) -> str:
        """What they type. The prompt comes from the other side: it is shown without what could command a terminal.

        Raises RemoteError where nobody can be asked.
        """
        shown = f"{printable(prompt, 300)} "
        if not self.attended:
            raise RemoteError(
                f"{self.host}: asks {shown.strip()!r}, and nobody is at a terminal to answer; set ControlMaster in "
                f"~/.ssh/config and log in once with `ssh {self.host}`: that connection is used then (docs/laptop.md)"
            )
        try:
            return _typed(shown) if echo else getpass.getpass(shown)
        except EOFError as error:
            raise RemoteError(f"{self.host}: no answer to {shown.strip()!r}") from error


def _typed(prompt: str) -> str:
    """On stderr, where ``input`` would use stdout, which is for the output of the command."""
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")
