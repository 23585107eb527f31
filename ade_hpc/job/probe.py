# SPDX-License-Identifier: Apache-2.0
"""What `ade-hpc doctor --job` runs on a compute node: python -m ade_hpc.job.probe FOLDER CONTAINER HOST:PORT

It says what it finds in ``hello.json``, waits for ``ping.json`` from the login node and answers in ``pong.json`` with
the two times of its own clock: from those four times the login node knows the clocks' offset and how long a file of one
machine takes to be seen by the other, as NTP does (RFC 5905, section 8).
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from ade_hpc import __version__
from ade_hpc.store.files import read_json, write_json

TIMEOUT_S = 10.0
PATIENCE_S = 45.0
POLL_S = 0.1


def main() -> int:
    folder, container, reach = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    write_json(
        folder / "hello.json",
        {
            "host": platform.node(),
            "python": platform.python_version(),
            "package": __version__,
            "container": _container(container),
            "namespaces": _said(["unshare", "--user", "--map-root-user", "true"]) is not None,
            "fuse": fuse_problem(),
            "gpus": [line for line in (_said(["nvidia-smi", "-L"]) or "").splitlines() if line.startswith("GPU ")],
            "reach": _reaches(reach),
        },
    )
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        os.listdir(folder)  # makes an NFS client ask its server again
        ping = read_json(folder / "ping.json")
        if ping is not None:
            seen = time.time()
            write_json(folder / "pong.json", {"seen": seen, "answered": time.time()})
            return 0
        time.sleep(POLL_S)
    return 1


def _container(named: str) -> str:
    """What the container program says of its version; empty where there is none that works."""
    found = next(
        (path for name in ([named] if named else ["apptainer", "singularity"]) if (path := shutil.which(name))), ""
    )
    return (_said([found, "--version"]) or "").strip() if found else ""


def fuse_problem() -> str:
    """Why a user can't mount an image here without root; empty where they can."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse: {error.strerror}"
    return "" if any(map(shutil.which, ("fusermount3", "fusermount"))) else "no fusermount3 on PATH"


def _said(argv: list[str]) -> str | None:
    """stdout of a command that worked, else None."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _reaches(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=TIMEOUT_S):
            return True
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(main())
