# SPDX-License-Identifier: Apache-2.0
"""An account of its own on this machine, made for a test and removed after it: root only."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# Where the interpreter lies in root's own home: they may read what root may, and write only what is theirs.
READS = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
PROGRAM = [os.path.realpath(path) for path in (sys.executable, sys.prefix, __file__)]


@dataclass(frozen=True)
class Account:
    """name, and the home that the password file has, which is what ssh(1) goes by."""

    name: str
    home: Path

    def starts(
        self, argv: list[str], env: Mapping[str, str], cwd: Path | None = None, timeout: float = 240
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, with exactly this environment and its home."""
        who = pwd.getpwnam(self.name)
        may_read = [] if all(_open_to_all(Path(path)) for path in PROGRAM) else READS
        prefix = ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups", *may_read]
        return subprocess.run(
            [*prefix, *argv],
            env={"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name, **env},
            cwd=cwd or self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def owns(self, *paths: Path) -> None:
        """Give them to this user, with all that is in them."""
        for top in paths:
            for path in [top, *top.rglob("*")]:
                shutil.chown(path, self.name, self.name)


@contextlib.contextmanager
def account(name: str, home: Path) -> Iterator[Account]:
    """Not locked ("*" and not "!"), since sshd lets no locked account in."""
    _run("useradd", "--home-dir", home, "--no-create-home", "--shell", "/bin/sh", "--password", "*", name)
    try:
        shutil.chown(home, name, name)
        yield Account(name, home)
    finally:
        for _ in range(300):  # refused as long as a process of theirs lives
            if subprocess.run(["userdel", name], capture_output=True, timeout=30, check=False).returncode == 0:
                break
            time.sleep(0.1)


def _open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in path.parents)


def _run(*argv: str | Path) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
