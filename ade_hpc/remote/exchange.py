# SPDX-License-Identifier: Apache-2.0
"""Files that a command's options name are here; the command runs there. Which go over before it, which come back after.

They pass through a folder of their own in the remote home, which is removed again.
"""

from __future__ import annotations

import contextlib
import posixpath
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ade_hpc.errors import RemoteError, UsageError
from ade_hpc.remote.transport import Transport

OUTPUTS = {"plot": ("-o", "--output"), "report": ("-o", "--output")}
INPUTS = {"backtest": ("--preferences", "--against")}
FOLDER = ".ade-hpc/transit"
CALL_S = 60.0


@dataclass(frozen=True)
class File:
    """One value of an option: the local path as it was written, and its name there for a while."""

    local: str
    remote: str
    output: bool


@dataclass(frozen=True)
class Exchange:
    """A command line as it is run there, and its files. folder: where they pass through; "" where there are none."""

    words: tuple[str, ...]
    files: tuple[File, ...]
    folder: str

    @classmethod
    def of(cls, words: Sequence[str]) -> Exchange:
        command, folder = words[0] if words else "", f"{FOLDER}/{secrets.token_hex(8)}"
        outputs, inputs = OUTPUTS.get(command, ()), INPUTS.get(command, ())
        there, files, option = [], [], ""
        for number, word in enumerate(words):
            head, value = ("", word) if option else _split(word, (*outputs, *inputs))
            name = option or head.rstrip("=")
            if name and value is not None:
                files.append(File(value, posixpath.join(folder, str(number), Path(value).name), name in outputs))
                there.append(head + files[-1].remote)
            else:
                there.append(word)
            option = name if value is None else ""
        return cls(tuple(there), tuple(files), folder if files else "")

    @contextlib.contextmanager
    def over(self, connection: Transport) -> Iterator[Callable[[], None]]:
        """Bring inputs there; the caller calls what it gets to fetch the outputs; at the end nothing is left there."""
        self.check()
        if not self.files:
            yield lambda: None
            return
        try:
            self._prepare(connection)
            yield lambda: self._fetch(connection)
        finally:
            with contextlib.suppress(RemoteError):
                connection.run(["rm", "-rf", "--", self.folder], timeout_s=CALL_S)

    def check(self) -> None:
        """Raises UsageError before anything is done where a local file is not there, or has no folder to go to."""
        for file in self.files:
            if file.output and not Path(file.local).parent.is_dir():
                raise UsageError(f"{file.local}: its folder does not exist here")
            if not file.output and not Path(file.local).is_file():
                raise UsageError(f"{file.local}: no such file here")

    def named_here(self, text: bytes) -> bytes:
        """Output of the command with the files' own names."""
        for file in self.files:
            text = text.replace(file.remote.encode(), file.local.encode())
        return text

    def _prepare(self, connection: Transport) -> None:
        folders = [posixpath.dirname(file.remote) for file in self.files if file.output]
        if folders:
            connection.run(["sh", "-c", 'umask 077; mkdir -p -- "$@"', "mkdir", *folders], timeout_s=CALL_S)
        for file in self.files:
            if not file.output:
                connection.put(Path(file.local), file.remote)

    def _fetch(self, connection: Transport) -> None:
        for file in self.files:
            if file.output:
                connection.get(file.remote, Path(file.local))


def _split(word: str, options: Sequence[str]) -> tuple[str, str | None]:
    """What stands before the value, and the value: None where that is the next word. ("", word): no such option."""
    for option in options:
        if word == option:
            return option, None
        joined = f"{option}=" if option.startswith("--") else option
        if word.startswith(joined):
            return joined, word.removeprefix(joined)
    return "", word
