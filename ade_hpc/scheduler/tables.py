# SPDX-License-Identifier: Apache-2.0
"""The user's scrontab and crontab behind one small interface: read the whole table, write the whole table."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ade_hpc.errors import SchedulerError
from ade_hpc.model import Source
from ade_hpc.scheduler.environment import clean_env
from ade_hpc.scheduler.run import run_bytes

if TYPE_CHECKING:
    from ade_hpc.scheduler.scrontab import Kind

PROGRAMS: dict[Kind, str] = {"scrontab": "scrontab", "cron": "crontab"}
TIMEOUT_S = 30.0
# Both end with 1 where there is no table; any other failure must never be taken for an empty table.
_NO_TABLE = re.compile(r"(?:crontab: )?no crontab for \S+\s*")
# Measured: "scrontab: fatal: scrontab is disabled on this cluster"; Debian's cron: "You (bob) are not allowed to ..."
_OFF = re.compile(r"is disabled on this cluster|not allowed to (?:use|access)", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """One of the two tables of this user. Text is surrogate-escaped, so that whatever bytes are there come back."""

    kind: Kind

    @property
    def program(self) -> str:
        return PROGRAMS[self.kind]

    def available(self) -> Source:
        """Can it be used here? ``off``: not installed, disabled or forbidden; ``failed``: it gave no answer."""
        if shutil.which(self.program, path=clean_env(os.environ)["PATH"]) is None:
            return Source("off", f"{self.program} is not in PATH")
        try:
            self.read()
        except SchedulerError as error:
            return Source("off" if _OFF.search(str(error)) else "failed", str(error))
        return Source("answered")

    def read(self) -> str:
        """The whole table; empty where there is none. Raises SchedulerError."""
        code, out, err = self._run("-l")
        if code == 0 and self.kind == "cron" and b"\\r" in out:
            # Debian's `crontab -l` shows a carriage return so; written back it would be another line
            raise SchedulerError(
                r"your crontab holds a carriage return, or \r, which `crontab -l` shows alike: remove it"
            )
        if code == 0:
            return _text(out)
        if _NO_TABLE.fullmatch(_text(out + err)):
            return ""
        raise SchedulerError(f"{self.program} -l: {_words(out + err)}")

    def write(self, text: str) -> None:
        """Replace the whole table; an empty text removes it. Raises SchedulerError where it is refused or differs."""
        with tempfile.TemporaryDirectory(prefix="ade-hpc-") as folder:
            path = Path(folder) / "table"
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
            code, out, err = self._run(str(path) if text else "-r")
        if code != 0:
            raise SchedulerError(f"{self.program} refused the table, which is as it was: {_words(out + err)}")
        if self.read() != text:
            raise SchedulerError(
                f"{self.program} took the table, but shows another one now: look with {self.program} -l"
            )

    def _run(self, argument: str) -> tuple[int, bytes, bytes]:
        return run_bytes([self.program, argument], timeout=TIMEOUT_S, env=clean_env(os.environ))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _words(data: bytes) -> str:
    """What it said, on one line: scrontab writes half of its complaints to stdout."""
    return " ".join(data.decode("utf-8", "replace").split())[:500]
