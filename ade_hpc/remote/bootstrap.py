# SPDX-License-Identifier: Apache-2.0
"""Set up ade-hpc on a login node: a venv there, this very code as a wheel, and what it requires by the pip there."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import secrets
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ade_hpc.errors import RemoteError
from ade_hpc.remote.exchange import FOLDER
from ade_hpc.remote.installed import Known, run_installed
from ade_hpc.remote.program import Ran
from ade_hpc.remote.transport import Sink, Transport
from ade_hpc.remote.wheel import pack

CALL_S = 60.0
PIP_S = 1800.0  # a slow mirror, and a home on a busy filesystem
STAMP = "ade-hpc.sha256"  # in the venv: of the wheel that it holds, written when all is done
PYTHONS = ("python3", *(f"python3.{minor}" for minor in range(15, 10, -1)))
PRIVATE = 'umask 077 && mkdir -p -- "$1" && chmod 700 -- "$(dirname -- "$1")" "$1"'
FIND_PYTHON = (
    'for one in "$@"; do "$one" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))" 2>/dev/null'
    ' && command -v "$one" && exit; done; exit 1'
)


def bootstrap(connection: Transport, venv: str, python: str | None, announce: Callable[[str], None], said: Sink) -> str:
    """Install, or bring up to date; the second time nothing is left to do. Returns the version that answers there.

    venv: its folder, from the remote home. python: with which to make it; default: the first that will do. said: gets
    what pip says. Raises RemoteError where a step fails, with its last words.
    """
    host, command = connection.host, f"{venv}/bin/ade-hpc"
    with tempfile.TemporaryDirectory() as folder:
        wheel = pack(Path(folder))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if _stamp(connection, venv) == digest:
            announce(f"{host}: {venv} has this very ade-hpc already")
        else:
            announce(f"{host}: a virtual environment in {venv}")
            _make_venv(connection, venv, python)
            announce(f"{host}: {wheel.name}, and what it requires (minutes, the first time)")
            _install(connection, venv, wheel, said)
            (Path(folder) / STAMP).write_text(digest)
            connection.put(Path(folder) / STAMP, f"{venv}/{STAMP}")
    Known.here().remember(host, command)
    return version_there(connection)


def version_there(connection: Transport) -> str:
    """The version that answers when it is called. Raises RemoteError where none does, or one that does not fit."""
    ran = run_installed(connection, ["--version"], timeout_s=CALL_S)
    if ran.returncode:
        raise RemoteError(_last_words(ran).removeprefix("ade-hpc: "))
    return ran.stdout.decode(errors="replace").split()[-1]


def _stamp(connection: Transport, venv: str) -> str:
    ran = connection.run(["cat", f"{venv}/{STAMP}"], timeout_s=CALL_S)
    return ran.stdout.decode(errors="replace").strip()


def _make_venv(connection: Transport, venv: str, python: str | None) -> None:
    """One that is there is kept: it may hold more than ours. The folder of ade-hpc is the user's alone."""
    _must(connection, ["sh", "-c", PRIVATE, "private", FOLDER], CALL_S)
    if connection.run([f"{venv}/bin/python", "-c", "import pip"], timeout_s=CALL_S).returncode == 0:
        return
    wanted = (python,) if python else PYTHONS
    found = connection.run(["sh", "-c", FIND_PYTHON, "find", *wanted], timeout_s=CALL_S)
    if found.returncode:
        raise RemoteError(
            f"{connection.host}: {python or 'no python3 on PATH there'} will not do: Python 3.11 or newer with venv is "
            "needed; name one with --python PATH (`module avail python` shows what the site has)"
        )
    _must(connection, [found.stdout.decode().strip(), "-m", "venv", "--", venv], CALL_S * 5)


def _install(connection: Transport, venv: str, wheel: Path, said: Sink) -> None:
    """The wheel first, whatever version is there: a version that is the same may be other code."""
    pip = [f"{venv}/bin/python", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    folder = posixpath.join(FOLDER, secrets.token_hex(8))
    there = posixpath.join(folder, wheel.name)
    try:
        connection.put(wheel, there)
        _must(connection, [*pip, "--no-deps", "--force-reinstall", there], PIP_S, said)
        _must(connection, [*pip, there], PIP_S, said)
    finally:
        with contextlib.suppress(RemoteError):
            connection.run(["rm", "-rf", "--", folder], timeout_s=CALL_S)


def _must(connection: Transport, argv: Sequence[str], timeout_s: float, said: Sink | None = None) -> None:
    ran = connection.run(argv, stdout=said, timeout_s=timeout_s)
    if ran.returncode:
        raise RemoteError(f"{connection.host}: `{' '.join(argv[:4])} ...` failed there: {_last_words(ran)}")


def _last_words(ran: Ran) -> str:
    lines = (ran.stderr or ran.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {ran.returncode}"
