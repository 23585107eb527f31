# SPDX-License-Identifier: Apache-2.0
"""Getting in, against a real sshd: the user's own configuration, keys, jumps, a second factor; and being kept out."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ade_hpc import __version__
from ade_hpc.errors import HostSilent, RemoteError
from ade_hpc.remote.connect import connect
from ade_hpc.remote.installed import COMMAND
from tests.conftest import cannot_run
from tests.support.sshd import Laptop, LoginNode, keygen, login_node

pytestmark = pytest.mark.sshd
ALICE = f"ade-{os.getpid()}"
SECRET = "correct horse"


def who(host: str) -> str:
    with connect(host, attended=False) as connection:
        return connection.run(["sh", "-c", 'echo "$HOME"'], timeout_s=30).stdout.decode().strip()


@pytest.fixture(scope="module")
def inner() -> Iterator[LoginNode]:
    with login_node() as node:
        yield node


def test_an_unknown_and_a_changed_host_are_refused(laptop: Laptop, login: LoginNode, inner: LoginNode) -> None:
    laptop.add("login", login, trusted=False)
    with pytest.raises(RemoteError, match="login: is not known to this machine; it shows the ssh-ed25519 key SHA256:"):
        who("login")
    laptop.trust(f"[127.0.0.1]:{login.port}", inner.host_key)
    with pytest.raises(RemoteError, match="login: refused: THE HOST KEY HAS CHANGED"):
        who("login")
    assert "Accepted" not in login.said.rpartition("Connection from")[2]


def test_a_key_that_is_not_wanted_and_no_key_are_said(laptop: Laptop, login: LoginNode) -> None:
    keygen(laptop.ssh / "wrong")
    laptop.add("login", login, key=laptop.ssh / "wrong")
    laptop.add("keyless", login, key=laptop.ssh / "absent")
    with pytest.raises(RemoteError, match=r"login: \S+ refused \S+/wrong and accepts publickey"):
        who("login")
    with pytest.raises(RemoteError, match=r"keyless: \S+ was offered no key"):
        who("keyless")


def test_a_host_that_does_not_answer_is_silent(laptop: Laptop, login: LoginNode) -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        laptop.add("gone", login, f"Port {bound.getsockname()[1]}")
        with pytest.raises(HostSilent, match=r"gone: no SSH connection to 127.0.0.1 port"):
            who("gone")


def test_one_gets_through_jumps_and_proxies_as_ssh_does(laptop: Laptop, login: LoginNode, inner: LoginNode) -> None:
    """Each hop is checked like any host; a hop may have a jump of its own."""
    laptop.add("login", login)
    laptop.add("middle", inner, "ProxyJump login")
    laptop.add("inner", inner, "ProxyJump login,middle")
    laptop.add("proxied", inner, "ProxyCommand ssh -W %h:%p login")
    laptop.add("astray", inner, "ProxyJump astray")
    laptop.add("unnamed", inner, f"ProxyJump {login.user}@127.0.0.1:{login.port}")
    laptop.add("127.0.0.1", login, "UserKnownHostsFile /dev/null")
    before = login.said.count("Accepted publickey")
    assert who("inner") == who("proxied") == str(inner.home)
    assert login.said.count("Accepted publickey") == before + 2
    with pytest.raises(RemoteError, match="does a ProxyJump lead back to itself"):
        who("astray")
    hop = re.escape(f"ssh://{login.user}@[127.0.0.1]:{login.port}")
    with pytest.raises(RemoteError, match=f"{hop}: is not known to this machine.* run `ssh {hop} true`"):
        who("unnamed")
    (laptop.ssh / "known_hosts").write_text(f"[127.0.0.1]:{inner.port} {inner.host_key}\n")
    with pytest.raises(RemoteError, match="login: is not known to this machine"):
        who("inner")


def test_an_agent_answers_for_a_key_with_a_passphrase(
    laptop: Laptop, login: LoginNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without one such a key is of no use where nobody can type."""
    locked = laptop.ssh / "locked"
    keygen(locked, passphrase=SECRET)
    login.authorize(locked.with_suffix(".pub"))
    laptop.add("login", login, key=locked)
    with pytest.raises(RemoteError, match="login"):
        who("login")
    with agent(tmp_path, monkeypatch):
        add_key(locked, tmp_path)
        assert who("login") == str(login.home)


@contextlib.contextmanager
def agent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
    assert process.stdout
    try:
        assert process.stdout.readline(), "it listens before it says where"
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield
    finally:
        process.terminate()
        process.communicate(timeout=60)


def add_key(key: Path, folder: Path) -> None:
    """ssh-add asks a program for the passphrase."""
    ask = folder / "ask"
    ask.write_text(f"#!/bin/sh\necho '{SECRET}'\n")
    ask.chmod(0o700)
    env = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", key], env=env, stdin=subprocess.DEVNULL, timeout=30, check=True)


# --- a second factor ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_factors() -> Iterator[LoginNode]:
    """A key, and then what PAM asks; for an account that is made for it."""
    if os.geteuid() != 0:
        cannot_run("only root can make an account with a password")
    settings = "UsePAM yes\nKbdInteractiveAuthentication yes\nAuthenticationMethods publickey,keyboard-interactive\n"
    with login_node(user=ALICE, settings=settings) as node:
        subprocess.run(["chpasswd"], input=f"{ALICE}:{SECRET}\n", text=True, timeout=30, check=True)
        yield node


def test_a_second_factor_is_asked_once_at_a_terminal(laptop: Laptop, two_factors: LoginNode) -> None:
    """What is typed is not shown. What she runs there knows that somebody looks at its output."""
    laptop.add("alice", two_factors)
    command = two_factors.home / COMMAND
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\necho "$FORCE_COLOR" "$@"\n')
    command.chmod(0o755)
    subprocess.run(["chown", "-R", ALICE, two_factors.home], timeout=30, check=True)
    code, shown = at_a_terminal("assword:", f"{SECRET}\n", "--host", "alice", "status")
    assert (code, shown.split("\r\n")) == (0, ["Password: ", f"1 --client {__version__} alice status", ""])


def test_nobody_is_asked_where_nobody_can_answer(laptop: Laptop, two_factors: LoginNode) -> None:
    laptop.add("alice", two_factors)
    with pytest.raises(RemoteError, match=r"alice: asks 'Password:', and nobody is at a terminal.*ControlMaster"):
        who("alice")


def at_a_terminal(seen: str, typed: str, *words: str) -> tuple[int, str]:
    """What is shown to a person who runs this at a terminal of their own, and types that as soon as they see this."""
    master, slave = pty.openpty()  # which tells no size at all
    argv = ["setsid", "--ctty", "--wait", sys.executable, "-m", "ade_hpc.cli", *words]
    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that nobody has the terminal open any more
        while data := os.read(master, 4096):
            shown += data
            if seen.encode() in shown and typed:
                os.write(master, typed.encode())
                typed = ""
    os.close(master)
    return process.wait(60), shown.decode()
