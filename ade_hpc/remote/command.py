# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc --host LOGIN COMMAND`: the same command line over there, with its output, errors and exit code here."""

from __future__ import annotations

import os
import sys

from ade_hpc.errors import HostSilent, RemoteError, UsageError
from ade_hpc.remote.connect import connect
from ade_hpc.remote.installed import run_installed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from ade_hpc.remote.transport import Transport

HERE = {
    "init": "writes files into a project here",
    "check": "reads the files of a project here",
    "demo": "shows the story on this machine",
}
WITH_FILES = frozenset({"plot", "report", "backtest"})
READING = frozenset({"status", "history", "logs", "report", "backtest", "diagnose", "plot", "doctor"})
FOLLOWING = frozenset({"--follow", "-f", "--watch"})
READING_S = 300.0  # they ask a scheduler that may be slow, and draw
ENDED_BY_SIGNAL = 255


def run_there(host: str, words: Sequence[str]) -> int:
    """Run it, and return its exit code. Raises UsageError for a command that makes no sense there.

    A command that only reads is tried once more where the connection breaks; for another one it is said how to look.
    """
    if words and words[0] in HERE:
        raise UsageError(f"`{words[0]}` {HERE[words[0]]}: run it without --host")
    reads = bool(words) and words[0] in READING
    with connect(host) as connection:
        if FOLLOWING.intersection(words):
            return follow(connection, words)
        try:
            return _once(connection, words, READING_S if reads else None)
        except HostSilent as error:
            if not reads:
                advice = f"whether `{words[0]}` was done is not known; look with: ade-hpc --host {host} status"
                raise HostSilent(f"{error}; {advice}") from error
            lost = error
    try:
        with connect(host, attended=False) as connection:
            return _once(connection, words, READING_S)
    except RemoteError:
        raise HostSilent(f"{lost}; try again") from lost


def follow(connection: Transport, words: Sequence[str]) -> int:
    """Show what comes as it comes, for as long as it comes. Raises HostSilent, which says how to go on."""
    try:
        ran = run_installed(
            connection,
            words,
            env=_terminal(),
            stdout=lambda data: _show(sys.stdout, data),
            stderr=lambda data: _show(sys.stderr, data),
            timeout_s=None,
        )
    except HostSilent as error:
        again = f"ade-hpc --host {connection.host} {' '.join(words)}"
        raise HostSilent(f"{error}; jobs there run on; go on with: {again}") from error
    return _code(connection, ran.returncode)


def _once(connection: Transport, words: Sequence[str], timeout_s: float | None) -> int:
    """Output is shown when all of it is here: so a second try shows nothing twice."""
    if words and words[0] in WITH_FILES:
        return _with_files(connection, words, timeout_s)
    ran = run_installed(connection, words, env=_terminal(), timeout_s=timeout_s)
    _show(sys.stdout, ran.stdout)
    _show(sys.stderr, ran.stderr)
    return _code(connection, ran.returncode)


def _with_files(connection: Transport, words: Sequence[str], timeout_s: float | None) -> int:
    from ade_hpc.remote.exchange import Exchange

    exchange = Exchange.of(words)
    with exchange.over(connection) as fetch:
        ran = run_installed(connection, exchange.words, env=_terminal(), timeout_s=timeout_s)
        if ran.returncode == 0:
            fetch()
    _show(sys.stdout, exchange.named_here(ran.stdout))
    _show(sys.stderr, exchange.named_here(ran.stderr))
    return _code(connection, ran.returncode)


def _code(connection: Transport, code: int) -> int:
    if code == ENDED_BY_SIGNAL:
        raise RemoteError(f"{connection.host}: ade-hpc was ended there by a signal; is there a limit on that node?")
    return code


def _show(stream: TextIO, data: bytes) -> None:
    """Bytes as they came."""
    stream.buffer.write(data)
    stream.buffer.flush()


def _terminal() -> dict[str, str]:
    """What a terminal here means for a program there, which has none: its size, and that somebody looks at it."""
    wanted = _size() | {name: os.environ[name] for name in ("COLUMNS", "LINES") if os.environ.get(name)}
    if sys.stdout.isatty():
        wanted["FORCE_COLOR"] = "1"
        if os.environ.get("NO_COLOR"):
            wanted["NO_COLOR"] = "1"
    return wanted


def _size() -> dict[str, str]:
    for handle in (0, 1, 2):
        try:
            size = os.get_terminal_size(handle)
        except OSError:
            continue
        if size.columns and size.lines:  # some terminals tell none, and into no lines nothing is drawn
            return {"COLUMNS": str(size.columns), "LINES": str(size.lines)}
    return {}
