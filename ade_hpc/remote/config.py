# SPDX-License-Identifier: Apache-2.0
"""Where a host is and how to get there, for a connection of our own: what ssh_config(5) says, made plain."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ade_hpc.remote.settings import NONE, Settings, settings_of


@dataclass(frozen=True)
class Target:
    """One host as ssh would reach it. Paths are absolute; tokens and ``~`` are expanded.

    host: what the user wrote; known_as: its name in known_hosts. proxy_jump: the hops before it, first one first.
    agent: the agent's socket, or "" where none shall be asked.
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
    connect_timeout_s: float


def resolve(host: str, environ: Mapping[str, str] = os.environ) -> Target:
    """Ask ssh. Raises UsageError where ``host`` can't be one, RemoteError where ssh can't say."""
    return target(host, settings_of(host), environ)


def target(host: str, settings: Settings, environ: Mapping[str, str]) -> Target:
    one = settings.one
    address, port, user = one("hostname", host), one("port", "22"), one("user")
    expand = _Tokens({"h": address, "n": host, "p": port, "r": user, "u": user, "d": os.path.expanduser("~")})
    files = f"{one('userknownhostsfile')} {one('globalknownhostsfile')}".split()
    return Target(
        host=host,
        address=address,
        port=int(port),
        user=user,
        known_as=one("hostkeyalias") or (address if port == "22" else f"[{address}]:{port}"),
        known_hosts=tuple(expand(name) for name in files),
        identities=tuple(expand(name) for name in settings.all("identityfile") if name not in NONE),
        identities_only=one("identitiesonly") == "yes",
        agent=_agent((settings.all("identityagent") or ["SSH_AUTH_SOCK"])[0], expand, environ),
        proxy_jump=tuple(one("proxyjump").split(",")) if one("proxyjump") else (),
        proxy_command=expand(one("proxycommand"), path=False),
        connect_timeout_s=float(one("connecttimeout", "30")),
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
