# SPDX-License-Identifier: Apache-2.0
"""What the user's own ~/.ssh/config says of a host, as `ssh -G` reads it.

ssh_config(5) has Include, Match, exec, canonical names and defaults: the program that owns the file reads it best.
"""

from __future__ import annotations

import os

from ade_hpc.errors import RemoteError, UsageError
from ade_hpc.remote.spawn import TooLong, spawn

TIMEOUT_S = 30.0  # `Match exec` may ask a directory service
PUNCTUATION = frozenset("_.@:/[]%+-")
NONE = frozenset({"", "none"})


class Settings:
    """One keyword in lower case and its value a line; some keywords come again."""

    def __init__(self, text: str) -> None:
        self._found: dict[str, list[str]] = {}
        for line in text.splitlines():
            keyword, _, value = line.partition(" ")
            self._found.setdefault(keyword, []).append(value)

    def one(self, keyword: str, default: str = "") -> str:
        """Its first value; ``default`` where it has none, or ``none``."""
        value = self._found.get(keyword, [default])[0]
        return default if value in NONE else value

    def all(self, keyword: str) -> list[str]:
        return self._found.get(keyword, [])


def settings_of(host: str) -> Settings:
    """Ask ssh. Raises UsageError where ``host`` can't be one, RemoteError where ssh can't say."""
    check_host(host)
    said, complaint = bytearray(), bytearray()
    try:
        code = spawn(["ssh", "-G", "--", host], os.environ, None, said.extend, complaint.extend, TIMEOUT_S)
    except FileNotFoundError as error:
        raise RemoteError("`ssh` is not on PATH: install the OpenSSH client, which reads your ~/.ssh/config") from error
    except TooLong as error:
        raise RemoteError(f"`ssh -G {host}` gave no answer in {TIMEOUT_S:.0f} s: look at `Match exec` there") from error
    if code:
        reason = complaint.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {code}"]
        raise RemoteError(f"ssh can't read its configuration for {host}: {reason[0]}")
    return Settings(said.decode(errors="replace"))


def check_host(host: str) -> None:
    """It becomes an argument of ssh, so no option and no blank."""
    if not host or host.startswith("-") or not all(one.isalnum() or one in PUNCTUATION for one in host):
        raise UsageError(f"--host {host!r}: write an alias of your ~/.ssh/config, or user@host")


def matches(name: str, pattern: str) -> bool:
    """ssh_config(5), PATTERNS: ``*`` and ``?`` are all that there is; brackets are meant as they are."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return matches(name, pattern[1:]) or (bool(name) and matches(name[1:], pattern))
    return bool(name) and pattern[0] in ("?", name[0]) and matches(name[1:], pattern[1:])
