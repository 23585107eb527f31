# SPDX-License-Identifier: Apache-2.0
"""Whom we trust: known_hosts in every form that ssh writes or people write."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from ade_hpc.errors import RemoteError
from ade_hpc.remote.known_hosts import fingerprint, keys_of, verify
from tests.support.sshd import keygen

KEY, OTHER = b"\0\0\0\x0bssh-ed25519" + b"k" * 36, b"\0\0\0\x0bssh-ed25519" + b"o" * 36


def known(tmp_path: Path, text: str, name: str = "login.example.org") -> None:
    """Raises unless the host that shows KEY is the one that ``text`` knows."""
    file = tmp_path / "known_hosts"
    file.write_text(
        text.replace("KEY", base64.b64encode(KEY).decode()).replace("OTHER", base64.b64encode(OTHER).decode())
    )
    verify("login", name, keys_of(name, [str(tmp_path / "absent"), str(file)]), "ssh-ed25519", KEY)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("login.example.org ssh-ed25519 KEY", "login.example.org"),
        ("other,LOGIN.example.org ssh-ed25519 KEY a comment", "login.example.org"),
        ("*.example.org,!bad.example.org ssh-ed25519 KEY", "login.example.org"),
        ("[login.example.org]:2222 ssh-ed25519 KEY", "[login.example.org]:2222"),
        ("login.example.org ssh-ed25519 OTHER\nlogin.example.org ssh-ed25519 KEY", "login.example.org"),
        ("# a comment\n\nlogin.example.org\nlogin.example.org ssh-ed25519 KEY", "login.example.org"),
    ],
)
def test_a_known_key_is_trusted(tmp_path: Path, line: str, name: str) -> None:
    known(tmp_path, line + "\n", name)


def test_a_name_that_ssh_keygen_has_hashed_is_known(tmp_path: Path) -> None:
    keygen(tmp_path / "key")
    kind, key = (tmp_path / "key.pub").read_text().split()[:2]
    file = tmp_path / "known_hosts"
    file.write_text(f"[login.example.org]:2222 {kind} {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], capture_output=True, timeout=30, check=True)
    assert "login" not in file.read_text()
    blob = base64.b64decode(key)
    name = "[login.example.org]:2222"
    verify("login", name, keys_of(name, [str(file)]), kind, blob)
    assert keys_of("login.example.org", [str(file)]) == []
    said = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "key"], capture_output=True, text=True, timeout=30, check=True
    )
    assert fingerprint(blob) in said.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"login: is not known .* ssh-ed25519 key SHA256:\S+\. .* run `ssh login true` once"),
        ("elsewhere ssh-ed25519 KEY\n", "is not known"),
        ("[login.example.org]:2222 ssh-ed25519 KEY\n", "is not known"),
        ("*.example.org,!login.example.org ssh-ed25519 KEY\n", "is not known"),
        ("@cert-authority login.example.org ssh-ed25519 KEY\n", "is not known"),
        ("login.example.org ssh-ed25519 not-base64!\n", "is not known"),
        (
            "login.example.org ssh-ed25519 OTHER\n",
            r"CHANGED.*known_hosts:1 has SHA256:.*ssh-keygen -R 'login.example.org'",
        ),
        ("login.example.org ssh-ed25519 KEY\n@revoked * ssh-ed25519 KEY\n", "marked as revoked"),
    ],
)
def test_any_other_host_is_refused_with_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RemoteError, match=said):
        known(tmp_path, text)
