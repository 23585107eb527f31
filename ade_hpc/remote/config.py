# SPDX-License-Identifier: Apache-2.0
"""Where a host is and how to get there, from the user's own ~/.ssh/config, as `ssh -G` reads it.

ssh_config(5) has Include, Match, exec, canonical names and defaults: the program that owns the file reads it best.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ade_hpc.errors import RemoteError, UsageError

HOST = re.compile(r"(?!-)[\w.@:/\[\]%+-]+")  # it becomes an argument of ssh, so no option and no blank
TIMEOUT_S = 30.0  # `Match exec` may ask a directory service
NONE = frozenset({"", "none"})


@dataclass(frozen=True)
class Target:
    """One host as ssh would reach it. Paths are absolute; tokens and ``~`` are expanded.

    host: what the user wrote; known_as: its name in known_hosts. proxy_jump: the hops before it, first one first.
    agent: the agent's socket, or "" where none shall be asked. send_env: patterns of variables that ssh would send.
    """

    host: str
    address: str
    port: int
    user: str
    known_as: str
    known_hosts: tuple[str, ...]
    identities: tuple[str, ...]
    identities_only: bool
    agent: str
    proxy_jump: tuple[str, ...]
    proxy_command: str
    control_path: str
    connect_timeout_s: float
    send_env: tuple[str, ...]


def resolve(host: str, environ: Mapping[str, str] = os.environ) -> Target:
    """Ask ssh. Raises UsageError where ``host`` can't be one, RemoteError where ssh can't say."""
    if not HOST.fullmatch(host):
        raise UsageError(f"--host {host!r}: write an alias of your ~/.ssh/config, or user@host")
    try:
        done = subprocess.run(
            ["ssh", "-G", "--", host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise RemoteError("`ssh` is not on PATH: install the OpenSSH client, which reads your ~/.ssh/config") from error
    except subprocess.TimeoutExpired as error:
        raise RemoteError(f"`ssh -G {host}` gave no answer in {TIMEOUT_S:.0f} s: look at `Match exec` there") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RemoteError(f"ssh can't read its configuration for {host}: {reason[0]}")
    return parse(host, done.stdout, environ)


def parse(host: str, text: str, environ: Mapping[str, str]) -> Target:
    """The output of `ssh -G`: one keyword in lower case and its value a line; some keywords come again."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)

    def one(keyword: str, default: str = "") -> str:
        value = found.get(keyword, [default])[0]
        return default if value in NONE else value

    address, port, user = one("hostname", host), one("port", "22"), one("user")
    expand = _Tokens({"h": address, "n": host, "p": port, "r": user, "u": user, "d": os.path.expanduser("~")})
    alias = one("hostkeyalias")
    files = f"{one('userknownhostsfile')} {one('globalknownhostsfile')}".split()
    return Target(
        host=host,
        address=address,
        port=int(port),
        user=user,
        known_as=alias or (address if port == "22" else f"[{address}]:{port}"),
        known_hosts=tuple(expand(name) for name in files),
        identities=tuple(expand(name) for name in found.get("identityfile", []) if name not in NONE),
        identities_only=one("identitiesonly") == "yes",
        agent=_agent(found.get("identityagent", ["SSH_AUTH_SOCK"])[0], expand, environ),
        proxy_jump=tuple(one("proxyjump").split(",")) if one("proxyjump") else (),
        proxy_command=expand(one("proxycommand"), path=False),
        control_path=one("controlpath"),
        connect_timeout_s=float(one("connecttimeout", "30")),
        send_env=tuple(name for value in found.get("sendenv", []) for name in value.split()),
    )


@dataclass(frozen=True)
class _Tokens:
    """ssh_config(5), TOKENS: those that `ssh -G` leaves as they are."""

    values: Mapping[str, str]

    def __call__(self, text: str, *, path: bool = True) -> str:
        known = re.sub(r"%([%hnprud])", lambda found: self.values.get(found[1], "%"), text)
        return os.path.expanduser(known) if path else known


def _agent(value: str, expand: _Tokens, environ: Mapping[str, str]) -> str:
    if value == "none":
        return ""
    if value == "SSH_AUTH_SOCK":
        return environ.get("SSH_AUTH_SOCK", "")
    return environ.get(value[1:], "") if value.startswith("$") else expand(value)


def unsent(environ: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """The environment for ssh itself, without what its ``SendEnv`` would carry to the other side."""
    from fnmatch import fnmatchcase

    return {name: value for name, value in environ.items() if not any(fnmatchcase(name, one) for one in patterns)}
