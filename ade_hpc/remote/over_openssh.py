# SPDX-License-Identifier: Apache-2.0
"""The transport for those who keep a connection open (ControlMaster): two-factor users log in once a day, by `ssh`."""

from __future__ import annotations

import _socket  # what `socket` is made of; its enumerations alone take longer to import than a connection here
import os

from ade_hpc.errors import HostSilent
from ade_hpc.remote.settings import Settings, matches
from ade_hpc.remote.spawn import TooLong, spawn
from ade_hpc.remote.stream import StreamTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from ade_hpc.remote.transport import Sink

# Quiet: what went wrong is said by us, once. Never a connection of its own that would ask for something.
OPTIONS = (
    "-q -T -a -x -o BatchMode=yes -o ControlMaster=no -o ClearAllForwardings=yes -o RemoteCommand=none "
    "-o PermitLocalCommand=no"
).split()


def is_open(control_path: str) -> bool:
    """Does a ControlMaster listen? What `ssh -O check` asks, without another process: its socket answers or not."""
    if not control_path:
        return False
    one = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    one.settimeout(5.0)
    try:
        one.connect(control_path)
    except OSError:  # no socket, or one that its master left behind
        return False
    finally:
        one.close()
    return True


class OpenSshTransport(StreamTransport):
    """Programs run through `ssh`, over the master's connection, which stays open when we leave."""

    def __init__(self, host: str, settings: Settings) -> None:
        super().__init__(host)
        self._control_path = settings.one("controlpath")
        self._send_env = [pattern for value in settings.all("sendenv") for pattern in value.split()]

    def stream(
        self,
        line: str,
        stdin: IO[bytes] | None,
        out: Sink,
        err: Sink,
        timeout_s: float | None,
        ticked: Callable[[], None],
    ) -> int:
        argv = ["ssh", *OPTIONS, "--", self.host, line]
        handle = stdin.fileno() if stdin else None
        try:
            code = spawn(argv, self._environment(), handle, out, err, timeout_s, ticked)
        except TooLong as error:
            raise HostSilent(f"{self.host}: no answer in {timeout_s:g} s; what was asked may go on there") from error
        if code == 255 and not is_open(self._control_path):
            raise HostSilent(f"{self.host}: the connection that `ssh` held open broke; log in again: ssh {self.host}")
        return code

    def _environment(self) -> dict[str, str]:
        """Ours, without what ``SendEnv`` would carry to the other side."""
        sent = self._send_env
        return {name: value for name, value in os.environ.items() if not any(matches(name, one) for one in sent)}

    def close(self) -> None:
        """The master is the user's: it stays."""
