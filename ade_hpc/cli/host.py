# SPDX-License-Identifier: Apache-2.0
"""What a laptop does for a login node besides running commands there: bootstrap, and its part of doctor."""

from __future__ import annotations

import json
import sys

from pydantic import TypeAdapter

from ade_hpc import __version__
from ade_hpc.errors import AdeError, RemoteError, UsageError
from ade_hpc.remote.bootstrap import bootstrap as install
from ade_hpc.remote.bootstrap import version_there
from ade_hpc.remote.connect import connect
from ade_hpc.remote.installed import run_installed
from ade_hpc.remote.over_openssh import OpenSshTransport
from ade_hpc.remote.transport import Transport
from ade_hpc.report.checkup import Check

DOCTOR_S = 900.0  # --job waits for a compute node


def bootstrap(host: str | None, venv: str, python: str | None) -> None:
    if host is None:
        raise UsageError("bootstrap sets up another machine: ade-hpc --host LOGIN bootstrap")
    folder = venv.removeprefix("~/").rstrip("/")
    with connect(host) as connection:
        version = install(connection, folder, python, _announce, _pass_on)
    print(f"{host}: ade-hpc {version} in {folder}")
    print(f"next: ade-hpc --host {host} doctor")


def _pass_on(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _announce(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def examine_pair(host: str, *, job: bool) -> list[Check]:
    """This machine and that one, and then what that one says of its site."""
    try:
        with connect(host) as connection:
            return [_way(connection), *_far(connection, job=job)]
    except AdeError as error:
        return [Check("connection", "red", str(error), f"mend it until `ssh {host} true` works")]


def _way(connection: Transport) -> Check:
    if isinstance(connection, OpenSshTransport):
        return Check("connection", "green", f"to {connection.host}, by the one that ssh holds open")
    return Check("connection", "green", f"to {connection.host}, by paramiko")


def _far(connection: Transport, *, job: bool) -> list[Check]:
    try:
        version = version_there(connection)
    except RemoteError as error:
        return [Check("ade-hpc there", "red", str(error), f"run: ade-hpc --host {connection.host} bootstrap")]
    fits = Check("ade-hpc there", "green", f"is {version}, and {__version__} is here")
    words = ["doctor", "--json", *(["--job"] if job else [])]
    ran = run_installed(connection, words, timeout_s=DOCTOR_S)
    return [fits, *_checks(ran.stdout)]


def _checks(text: bytes) -> list[Check]:
    """Those in the JSON of a doctor; a greeting of the login shell may stand before it."""
    try:
        return TypeAdapter(list[Check]).validate_python(json.loads(text.splitlines()[-1])["checks"])
    except (ValueError, LookupError, TypeError):
        return [Check("doctor there", "red", "gave no answer that can be read", "run it there to see why")]
