# SPDX-License-Identifier: Apache-2.0
"""The transport that connects by itself, with paramiko: one connection, through any jumps, for a whole command."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType
from typing import IO, Any

import paramiko

from ade_hpc.errors import HostSilent, RemoteError
from ade_hpc.remote.ask import Person
from ade_hpc.remote.config import Target, resolve
from ade_hpc.remote.known_hosts import keys_of, verify
from ade_hpc.remote.login import authenticate
from ade_hpc.remote.stream import StreamTransport
from ade_hpc.remote.transport import Sink

PIECE = 65536
TICK_S = 0.2
MAX_JUMPS = 8
KEEP_ALIVE_S = 15
DEAD_AFTER_MS = 60_000  # keep-alives that are not even acknowledged
RSA = ("rsa-sha2-512", "rsa-sha2-256")  # RFC 8332: signatures by a key whose own type is ssh-rsa


class ParamikoTransport(StreamTransport):
    """Asks nobody twice: ``attended`` False (default: no terminal) refuses where a person would have to answer.

    Raises HostSilent where there is no connection, RemoteError where the host is not trusted or does not let us in.
    """

    def __init__(self, target: Target, *, attended: bool | None = None) -> None:
        super().__init__(target.host)
        self._open = contextlib.ExitStack()
        try:
            self._transport = self._connect(target, attended, depth=0)
        except BaseException:
            self.close()
            raise

    def _connect(self, target: Target, attended: bool | None, depth: int) -> paramiko.Transport:
        if depth > MAX_JUMPS:
            raise RemoteError(f"{target.host}: more than {MAX_JUMPS} jumps; does a ProxyJump lead back to itself?")
        try:
            transport = paramiko.Transport(self._way(target, attended, depth))
            self._open.callback(transport.close)
            known = keys_of(target.known_as, target.known_hosts)
            _prefer(transport, {key.kind for key in known if not key.revoked})
            transport.start_client(timeout=target.connect_timeout_s)
            key = transport.get_remote_server_key()
            verify(target.host, target.known_as, known, key.get_name(), key.asbytes())
            authenticate(transport, target, Person(target.host, attended=attended))
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostSilent(
                f"{target.host}: no SSH connection to {target.address} port {target.port}: {said(error)}"
            ) from error
        transport.set_keepalive(KEEP_ALIVE_S)
        return transport

    def _way(self, target: Target, attended: bool | None, depth: int) -> Any:
        """What the connection runs over: a socket, a proxy's pipe, or a channel of the connection to the last jump."""
        if target.proxy_jump:
            *before, last = target.proxy_jump
            name = last if "://" in last or ":" not in last else f"ssh://{last}"  # as a person would give it to ssh
            hop = resolve(name)
            hop = replace(hop, proxy_jump=tuple(before)) if before else hop
            jump = self._connect(hop, attended, depth + 1)
            return jump.open_channel("direct-tcpip", (target.address, target.port), ("", 0), timeout=30.0)
        if target.proxy_command:
            return self._proxy(target.proxy_command)
        one = socket.create_connection((target.address, target.port), timeout=target.connect_timeout_s)
        self._open.callback(one.close)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)
        return one

    def _proxy(self, command: str) -> socket.socket:
        """ssh_config(5), ProxyCommand: by the user's own shell, with the connection as its standard streams."""
        ours, theirs = socket.socketpair()
        self._open.callback(ours.close)
        shell = os.environ.get("SHELL") or "/bin/sh"
        with theirs:
            process = subprocess.Popen([shell, "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno())
        self._open.callback(process.wait)
        self._open.callback(process.terminate)
        return ours

    def stream(
        self,
        line: str,
        stdin: IO[bytes] | None,
        out: Sink,
        err: Sink,
        timeout_s: float | None,
        ticked: Callable[[], None],
    ) -> int:
        try:
            with _ctrl_c_held() as interrupted, self._transport.open_session(timeout=30.0) as channel:
                channel.exec_command(line)
                _feed(channel, stdin)
                self._pump(channel, out, err, timeout_s, ticked, interrupted)
                return self._status(channel)
        except (OSError, EOFError, paramiko.SSHException) as error:
            if self._transport.is_active() and not isinstance(error, paramiko.SSHException):
                raise  # ours: a local file, or a sink
            raise HostSilent(f"{self.host}: the connection broke: {said(error)}") from error

    def _pump(
        self,
        channel: paramiko.Channel,
        out: Sink,
        err: Sink,
        timeout_s: float | None,
        ticked: Callable[[], None],
        interrupted: Callable[[], None],
    ) -> None:
        """Hand on what comes until the other side has closed both streams and said how it ended."""
        ends = time.monotonic() + timeout_s if timeout_s is not None else None
        while True:
            over = channel.closed or (channel.eof_received and channel.exit_status_ready())
            while channel.recv_ready():
                out(channel.recv(PIECE))
            while channel.recv_stderr_ready():
                err(channel.recv_stderr(PIECE))
            if over:
                return
            if ends is not None and time.monotonic() > ends:
                raise HostSilent(f"{self.host}: no answer in {timeout_s:g} s; what was asked may go on there")
            select.select([channel], [], [], TICK_S)
            interrupted()
            ticked()

    def _status(self, channel: paramiko.Channel) -> int:
        if channel.exit_status_ready() and channel.exit_status >= 0:
            return channel.exit_status
        if not self._transport.is_active():
            raise HostSilent(f"{self.host}: the connection broke before the command there had ended")
        return 255

    def close(self) -> None:
        self._open.close()


@contextlib.contextmanager
def _ctrl_c_held() -> Iterator[Callable[[], None]]:
    """Ctrl-C comes only where what is given is called, or at the end of this; a second one comes at once.

    Between the taking of one of paramiko's locks and its release it would leave the lock taken, and to close the
    channel would last for ever.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    def interrupted() -> None:
        if came:
            raise KeyboardInterrupt

    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ours = ours and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupted()


def said(error: Exception) -> str:
    """EOFError and some others say nothing."""
    return str(error) or "it was closed"


def _prefer(transport: paramiko.Transport, kinds: set[str]) -> None:
    """Ask for a kind of host key that is known: another one could not be compared."""
    algorithms = {*kinds, *(RSA if "ssh-rsa" in kinds else ())}
    options = transport.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda name: name not in algorithms)


def _feed(channel: paramiko.Channel, stdin: IO[bytes] | None) -> None:
    """Send the file from a thread: the other side may want to write before it has read all."""
    if stdin is None:
        channel.shutdown_write()
        return

    def send() -> None:
        with contextlib.suppress(OSError):  # gone, or it wanted no more: its exit status says which
            while data := stdin.read(PIECE):
                channel.sendall(data)
            channel.shutdown_write()

    threading.Thread(target=send, daemon=True).start()
