# SPDX-License-Identifier: Apache-2.0
"""The transport for those who keep a connection open (ControlMaster): two-factor users log in once a day, by `ssh`."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import time
from collections.abc import Callable
from typing import IO

from ade_hpc.errors import HostSilent
from ade_hpc.remote.config import Target, unsent
from ade_hpc.remote.stream import StreamTransport
from ade_hpc.remote.transport import Sink

PIECE = 65536
TICK_S = 0.2
# Quiet: what went wrong is said by us, once. Never a connection of its own that would ask for something.
OPTIONS = (
    "-q -T -a -x -o BatchMode=yes -o ControlMaster=no -o ClearAllForwardings=yes -o RemoteCommand=none "
    "-o PermitLocalCommand=no"
).split()


def is_open(target: Target) -> bool:
    """Does a ControlMaster listen? What `ssh -O check` asks, without another process: its socket answers or not."""
    if not target.control_path:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(5.0)
        try:
            one.connect(target.control_path)
        except OSError:  # no socket, or one that its master left behind
            return False
    return True


class OpenSshTransport(StreamTransport):
    """Programs run through `ssh`, over the master's connection, which stays open when we leave."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.host)
        self._target = target

    def stream(
        self,
        line: str,
        stdin: IO[bytes] | None,
        out: Sink,
        err: Sink,
        timeout_s: float | None,
        ticked: Callable[[], None],
    ) -> int:
        process = subprocess.Popen(
            ["ssh", *OPTIONS, "--", self.host, line],
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=unsent(os.environ, self._target.send_env),
        )
        with process:
            try:
                self._pump(process, out, err, timeout_s, ticked)
                code = process.wait(5.0)
            except BaseException:
                process.kill()
                raise
        if code == 255 and not is_open(self._target):
            raise HostSilent(f"{self.host}: the connection that `ssh` held open broke; log in again: ssh {self.host}")
        return code

    def _pump(
        self,
        process: subprocess.Popen[bytes],
        out: Sink,
        err: Sink,
        timeout_s: float | None,
        ticked: Callable[[], None],
    ) -> None:
        """Hand on what comes until both ends are closed."""
        ends = time.monotonic() + timeout_s if timeout_s is not None else None
        with selectors.DefaultSelector() as selector:
            for pipe, sink in ((process.stdout, out), (process.stderr, err)):
                if pipe is not None:  # for the type checker: both are PIPE
                    selector.register(pipe, selectors.EVENT_READ, sink)
            while selector.get_map():
                if ends is not None and time.monotonic() > ends:
                    raise HostSilent(f"{self.host}: no answer in {timeout_s:g} s; what was asked may go on there")
                for key, _ in selector.select(TICK_S):
                    data = os.read(key.fd, PIECE)
                    key.data(data) if data else selector.unregister(key.fileobj)
                ticked()

    def close(self) -> None:
        """The master is the user's: it stays."""
