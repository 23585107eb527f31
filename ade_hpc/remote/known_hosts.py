# SPDX-License-Identifier: Apache-2.0
"""Is this the host it was? known_hosts files by sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: pure, strict, never learning.

paramiko's own reader knows neither patterns nor @revoked, so we read the files ourselves.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ade_hpc.errors import RemoteError
from ade_hpc.remote.settings import matches


@dataclass(frozen=True)
class HostKey:
    """One line that is about the host that was asked for. where: file and line. blob: the key as SSH carries it."""

    where: str
    kind: str
    blob: bytes
    revoked: bool


def keys_of(name: str, files: Sequence[str]) -> list[HostKey]:
    """The keys that the files have for this name (``host``, or ``[host]:port`` where the port is not 22)."""
    found = []
    for file in files:
        try:
            text = Path(file).read_text(errors="replace")
        except OSError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            key = _parse(f"{file}:{number}", line, name)
            found += [key] if key else []
    return found


def verify(host: str, name: str, known: Iterable[HostKey], kind: str, blob: bytes) -> None:
    """Raises RemoteError, with what to do, unless this very key is known and not revoked.

    kind: of the key that the host has shown. It is asked for a kind that is known, where there is one, so another kind
    is another key.
    """
    of_it = list(known)
    said = f"it shows the {kind} key {fingerprint(blob)}"
    if any(key.revoked and key.blob == blob for key in of_it):
        raise RemoteError(f"{host}: refused: {said}, which is marked as revoked in {of_it[0].where}; ask your site")
    trusted = [key for key in of_it if not key.revoked]
    if any(key.blob == blob for key in trusted):
        return
    if not trusted:
        raise RemoteError(
            f"{host}: is not known to this machine; {said}. If that is what your site publishes, run `ssh {host} true` "
            "once, which asks you and remembers it"
        )
    file = trusted[0].where.rpartition(":")[0]
    raise RemoteError(
        f"{host}: refused: THE HOST KEY HAS CHANGED, so somebody may be listening; {said}, but {trusted[0].where} has "
        f"{fingerprint(trusted[0].blob)}. Only if your site says that this is meant, run `ssh-keygen -R '{name}' -f "
        f"'{file}'` and then `ssh {host} true`"
    )


def fingerprint(blob: bytes) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _parse(where: str, line: str, name: str) -> HostKey | None:
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if marker not in ("", "@revoked") or len(words) < 3 or not _matches(words[0], name):
        return None  # a certificate authority signs keys that we can't check, so it makes nothing known
    try:
        return HostKey(where, words[1], base64.b64decode(words[2], validate=True), marker == "@revoked")
    except binascii.Error:
        return None


def _matches(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        return _is_hash_of(patterns, name)
    said = [pattern for pattern in patterns.lower().split(",") if matches(name.lower(), pattern.lstrip("!"))]
    return bool(said) and not any(pattern.startswith("!") for pattern in said)


def _is_hash_of(pattern: str, name: str) -> bool:
    """``|1|salt|hash``: HMAC-SHA1 of the name, keyed with the salt."""
    try:
        salt, hashed = (base64.b64decode(part, validate=True) for part in pattern[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), "sha1").digest(), hashed)
