# SPDX-License-Identifier: Apache-2.0
"""The ade-hpc on the login node, as the one on the laptop talks to it: JSON in, JSON out, or its own error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ade_hpc.errors import RemoteError
from ade_hpc.metrics.text import printable
from ade_hpc.remote.installed import run_installed
from ade_hpc.remote.program import Ran
from ade_hpc.remote.transport import Transport


class FarError(RemoteError):
    """What the ade-hpc over there had to say, with its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Far:
    """Over one connection."""

    transport: Transport

    def ask(self, *words: str, given: bytes = b"", timeout_s: float) -> dict[str, Any]:
        """Run one of its commands and return the JSON object that it prints.

        Raises HostSilent where the connection broke, FarError where the command failed.
        """
        ran = run_installed(self.transport, words, stdin=given, timeout_s=timeout_s)
        if ran.returncode != 0:
            raise FarError(_said(ran, self.transport.host), ran.returncode)
        try:
            value = json.loads(ran.stdout)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise RemoteError(f"{self.transport.host}: its ade-hpc answered with something else than JSON")
        return value


def _said(ran: Ran, host: str) -> str:
    """Its own sentences, without what could command a terminal; the last lines, for a login shell may greet first."""
    lines = [printable(line, 1000) for line in ran.stderr.decode(errors="replace").splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if line.startswith("ade-hpc: ")), None)
    said = [line.removeprefix("ade-hpc: ") for line in lines[first:]] if first is not None else lines[-1:]
    return "\n".join(said) or f"{host}: ade-hpc ended there with status {ran.returncode} and said nothing"
