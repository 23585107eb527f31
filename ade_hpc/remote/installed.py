# SPDX-License-Identifier: Apache-2.0
"""The ade-hpc over there: where it is, how it is called, and whether it fits this one."""

from __future__ import annotations

import os

from ade_hpc import __version__
from ade_hpc.errors import RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ade_hpc.remote.program import Ran
    from ade_hpc.remote.transport import Sink, Transport

COMMAND = ".ade-hpc/venv/bin/ade-hpc"  # where `bootstrap` puts it, from the remote home
NOT_RUN = (126, 127)  # POSIX: the shell found no program, or could not start it
FIND = 'for one in "$@"; do command -v "$one" && exit; done; exit 127'


def run_installed(
    connection: Transport,
    words: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    stdout: Sink | None = None,
    stderr: Sink | None = None,
    timeout_s: float | None,
) -> Ran:
    """Run `ade-hpc WORDS` there; it compares its version with ours before it does anything.

    Raises RemoteError where it is not installed.
    """
    known = Known.here()
    command = known.command(connection.host) or known.remember(connection.host, find(connection))
    settings = ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
    argv = [*settings, command, "--client", __version__, connection.host, *words]
    ran = connection.run(argv, stdin=stdin, stdout=stdout, stderr=stderr, timeout_s=timeout_s)
    if ran.returncode in NOT_RUN:
        known.forget(connection.host)
        raise RemoteError(f"{connection.host}: {command} does not run; run: ade-hpc --host {connection.host} bootstrap")
    return ran


def find(connection: Transport) -> str:
    """Its path there: where `bootstrap` put it, else on PATH."""
    ran = connection.run(["sh", "-c", FIND, "find", COMMAND, "ade-hpc"], timeout_s=60.0)
    found = ran.stdout.decode(errors="replace").strip()
    if ran.returncode or not found:
        raise RemoteError(
            f"{connection.host}: ade-hpc is not installed there; run: ade-hpc --host {connection.host} bootstrap"
        )
    return found


class Known:
    """What this machine remembers of hosts, in one small file for each: it saves asking each time."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @classmethod
    def here(cls) -> Known:
        state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return cls(os.path.join(state, "ade-hpc", "remote"))

    def command(self, host: str) -> str:
        """Where its ade-hpc was last, or "" where that is not known."""
        try:
            with open(self._file(host), encoding="utf-8") as file:
                return file.read()
        except (OSError, ValueError):
            return ""

    def remember(self, host: str, command: str) -> str:
        from pathlib import Path

        from ade_hpc.store.files import private_dir, write_atomic

        private_dir(Path(self.folder))
        write_atomic(Path(self._file(host)), command.encode())
        return command

    def forget(self, host: str) -> None:
        self.remember(host, "")

    def _file(self, host: str) -> str:
        """A host may be written as ``ssh://user@host:port``."""
        return os.path.join(self.folder, "host-" + host.replace("%", "%25").replace("/", "%2F"))


def mismatch(ours: str, theirs: str, host: str) -> str:
    """What to do where two versions do not fit together, or "": they do where major and minor are the same.

    ours: of the login node, where this is asked; theirs: of the laptop that calls.
    """
    here, there = _series(ours), _series(theirs)
    if here == there:
        return ""
    newer = f"install ade-hpc {'.'.join(map(str, here))} on the laptop, or " if here > there else ""
    return f"{host} has ade-hpc {ours} and the laptop {theirs}; {newer}run: ade-hpc --host {host} bootstrap"


def _series(version: str) -> tuple[int, ...]:
    """Major and minor; what can't be read is older than everything."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()
