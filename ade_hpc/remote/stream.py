# SPDX-License-Identifier: Apache-2.0
"""run, put and get, from the one thing in which the two transports differ: how a command line and its streams travel.

Files go through `cat`, not through SFTP: one way for both transports, and for sites that switch the subsystem off.
"""

from __future__ import annotations

import os
import posixpath
from abc import ABC, abstractmethod

from ade_hpc.errors import RemoteError
from ade_hpc.remote.program import Ran, command_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import IO, Self

    from ade_hpc.remote.transport import Progress, Sink

# A connection that breaks looks to `cat` like the end of the file: only the length tells, so it is compared before the
# file gets its name. $1 folder, $2 temporary name, $3 name, $4 length, $5 mode.
PUT = (
    'umask 077 && [ ! -d "$3" ] && mkdir -p -- "$1" && cat > "$2" && [ "$(wc -c < "$2")" -eq "$4" ]'
    ' && chmod "$5" "$2" && mv -f -- "$2" "$3" || { rm -f -- "$2"; exit 1; }'
)
GET = 'wc -c < "$1" && cat < "$1"'


class StreamTransport(ABC):
    """A transport whose subclass can carry one command line with its three streams."""

    def __init__(self, host: str) -> None:
        self.host = host

    @abstractmethod
    def stream(
        self,
        line: str,
        stdin: IO[bytes] | None,
        out: Sink,
        err: Sink,
        timeout_s: float | None,
        ticked: Callable[[], None],
    ) -> int:
        """Run ``line`` in the login shell and return its exit status (255: a signal ended it).

        stdin: a file that is read to its end; ``ticked`` is called several times a second. Raises HostSilent.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection; the second time nothing happens."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        timeout_s: float | None,
    ) -> Ran:
        line, out, err = command_line(argv), bytearray(), bytearray()

        def go(file: IO[bytes] | None) -> Ran:
            code = self.stream(line, file, stdout or out.extend, stderr or err.extend, timeout_s, _nothing)
            return Ran(code, bytes(out), bytes(err))

        if not stdin:
            return go(None)
        import tempfile

        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            return go(file)

    def put(self, local: Path, remote: str, progress: Progress | None = None) -> None:
        import secrets

        folder, name = posixpath.split(remote)
        part = posixpath.join(folder, f".{name[:200]}.{secrets.token_hex(8)}.part")
        with local.open("rb") as file:
            info = os.fstat(file.fileno())
            mode = "700" if info.st_mode & 0o100 else "600"
            argv = [
                "sh",
                "-c",
                PUT,
                "put",
                _plain(folder or "."),
                _plain(part),
                _plain(remote),
                str(info.st_size),
                mode,
            ]
            said = bytearray()

            def ticked() -> None:
                if progress:
                    progress(min(os.lseek(file.fileno(), 0, os.SEEK_CUR), info.st_size), info.st_size)

            code = self.stream(command_line(argv), file, _ignore, said.extend, None, ticked)
            if code != 0:
                raise RemoteError(f"{self.host}: {remote} could not be written: {_reason(said)}")
            ticked()

    def get(self, remote: str, local: Path, progress: Progress | None = None) -> None:
        import tempfile

        argv = ["sh", "-c", GET, "get", _plain(remote)]
        handle, name = tempfile.mkstemp(prefix=f".{local.name[:200]}.", dir=local.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                arrival, said = _Arrival(file, progress), bytearray()
                code = self.stream(command_line(argv), None, arrival.take, said.extend, None, _nothing)
            if code != 0 or arrival.taken != arrival.length:
                raise RemoteError(f"{self.host}: {remote} could not be read: {_reason(said)}")
            os.replace(name, local)
        except BaseException:
            os.unlink(name)
            raise


class _Arrival:
    """The output of GET: a line with the length, then the bytes."""

    def __init__(self, file: IO[bytes], progress: Progress | None) -> None:
        self.file, self.progress = file, progress
        self.head, self.length, self.taken = bytearray(), -1, 0

    def take(self, data: bytes) -> None:
        if self.length < 0:
            self.head.extend(data)
            line, found, data = bytes(self.head).partition(b"\n")
            if not found:
                return
            self.length = int(line)
        self.file.write(data)
        self.taken += len(data)
        if self.progress:
            self.progress(self.taken, self.length)


def _plain(path: str) -> str:
    """The same path where a program can't take it for an option."""
    return f"./{path}" if path.startswith("-") else path


def _reason(said: bytearray) -> str:
    lines = bytes(said).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "the file changed on its way, or a folder has this name"


def _nothing() -> None: ...


def _ignore(data: bytes) -> None: ...
