# SPDX-License-Identifier: Apache-2.0
"""A real sshd on loopback in front of a home of its own, and a laptop: an ssh configuration that knows it.

with login_node() as login:                     # or login_node(user="alice"), as root
    laptop = Laptop.at(isolated, monkeypatch)   # HOME, and an `ssh` on PATH that reads HOME/.ssh/config
    laptop.add("login", login)                  # from now on: ade-hpc --host login status
    with laptop.master("login"): ...            # an open ControlMaster
    login.drop()                                # every connection breaks
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from ade_hpc.scheduler.process import Process
from tests.support.account import account

SCRIPTS = Path(sys.executable).parent  # where the environment of the tests has `ade-hpc`
VENV = ".ade-hpc/venv"  # where bootstrap puts it, from the remote home
LOGIN = """#!/bin/sh
# What sshd starts for each session of the user whom the tests run as: another home than the real one, which bash must
# not read a .bashrc of either (SetEnv).
printf '%s\n' "$SSH_ORIGINAL_COMMAND" >> {root}/commands
env >> {root}/commands
export HOME={home} {environment}
cd "$HOME" || exit 1
exec /bin/sh -c "${{SSH_ORIGINAL_COMMAND:-true}}"
"""
SSHD = """ListenAddress 127.0.0.1
HostKey {root}/host_key
AuthorizedKeysFile {root}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
LogLevel VERBOSE
Subsystem sftp /usr/lib/openssh/sftp-server
ForceCommand {root}/login
SetEnv HOME={home}
"""


@dataclass(frozen=True)
class LoginNode:
    """A running sshd. root: its own folder; home: that of whoever logs in."""

    root: Path
    home: Path
    user: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def host_key(self) -> str:
        """Its public key, as in a known_hosts file: type and base64."""
        return " ".join((self.root / "host_key.pub").read_text().split()[:2])

    @property
    def said(self) -> str:
        return (self.root / "log").read_text()

    @property
    def told(self) -> str:
        """Every command line that came, and the environment that came with it."""
        return (self.root / "commands").read_text()

    def sessions(self) -> list[int]:
        """The processes of sshd that hold a connection."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def drop(self) -> None:
        """Break every connection, without a farewell; what runs in a session is not touched."""
        for pid in self.sessions():
            for one in (*_below(pid), pid):
                process = Process.current(one)
                with contextlib.suppress(OSError):  # it has just ended by itself
                    if process and b"sshd" in Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0")[0]:
                        process.send(9)

    def authorize(self, public_key: Path) -> None:
        with (self.root / "authorized_keys").open("a") as file:
            file.write(public_key.read_text())


@contextlib.contextmanager
def login_node(
    *, user: str | None = None, path: str = f"{SCRIPTS}:/usr/bin:/bin", settings: str = "", more: Mapping[str, str] = {}
) -> Iterator[LoginNode]:
    """An sshd that lets in whoever has a key in ``authorize``. settings: further lines of sshd_config, which win.

    user: an account that is made for it (needs root); default: whoever runs the tests. path, more: the environment of a
    session, which has nothing else of ours.
    """
    root = Path(tempfile.mkdtemp(prefix="ade-sshd-"))
    root.chmod(0o755)  # another user has to enter
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        home = root / "home"
        home.mkdir(mode=0o700)
        if user:
            stack.enter_context(account(user, home))
        _write_files(root, home, {"PATH": path, **more})
        process, port = stack.enter_context(_running(root, settings + SSHD.format(root=root, home=home)))
        yield LoginNode(root, home, user or pwd.getpwuid(os.getuid()).pw_name, port, process)


def _write_files(root: Path, home: Path, environment: Mapping[str, str]) -> None:
    keygen(root / "host_key")
    (root / "authorized_keys").touch(mode=0o644)
    words = " ".join(f"{name}='{value}'" for name, value in environment.items())
    (root / "commands").touch()
    (root / "commands").chmod(0o666)
    (root / "login").write_text(LOGIN.format(root=root, home=home, environment=words))
    (root / "login").chmod(0o755)


@contextlib.contextmanager
def _running(root: Path, config: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd(8): where its unprivileged part is locked in
    (root / "sshd_config").write_text(config)
    process, port = _start(root)
    try:
        yield process, port
    finally:
        children = [one for pid in _below(process.pid) if (one := Process.current(pid))]
        process.terminate()
        process.wait(30)
        for child in children:
            child.send(15)


def _start(root: Path) -> tuple[subprocess.Popen[bytes], int]:
    """It listens on a port that was free a moment ago; had somebody else taken it meanwhile, on another one."""
    sshd = shutil.which("sshd")
    assert sshd, "mark the test with pytest.mark.sshd"
    for _ in range(3):
        port = free_port()
        argv = [sshd, "-D", "-e", "-f", root / "sshd_config", "-p", str(port)]
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(argv, stderr=log, stdin=subprocess.DEVNULL)
        if _listens(port, process):
            return process, port
        process.kill()
        process.wait()
    raise AssertionError(f"sshd did not start: {(root / 'log').read_text()}")


def _below(pid: int) -> list[int]:
    """All processes under this one, deepest first."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in children for one in (*_below(int(child)), int(child))]


def make_offline_venv(home: Path) -> None:
    """A venv where bootstrap will look for one, which sees the packages of the tests' own environment.

    Nothing of the project is among them but what bootstrap brings, and pip is told, as one tells it, to ask no index.
    """
    (home / ".config/pip").mkdir(parents=True, mode=0o700)
    (home / ".config/pip/pip.conf").write_text("[global]\nno-index = true\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / VENV], timeout=120, check=True)
    packages = next((home / VENV).glob("lib/*/site-packages"))
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until it does, or has ended."""
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return process.poll() is None
        time.sleep(0.05)
    return False


def keygen(path: Path, *, kind: str = "ed25519", passphrase: str = "") -> None:
    _run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path)


def _run(*argv: str | Path) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


# --- the laptop -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Laptop:
    """Whoever sits before it: a home with .ssh/config, .ssh/known_hosts and one key."""

    ssh: Path

    @classmethod
    def at(cls, home: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
        """ssh(1) takes the home of the password file and not HOME, so a script on PATH names the configuration."""
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        ssh, programs = home / ".ssh", home / "programs"
        for folder in (ssh, programs):
            folder.mkdir(mode=0o700)
        (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {ssh}/config "$@"\n')
        (programs / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", str(programs), prepend=":")
        (ssh / "config").touch(mode=0o600)
        (ssh / "known_hosts").touch(mode=0o600)
        keygen(ssh / "id_ed25519")
        return cls(ssh)

    def add(self, name: str, login: LoginNode, *lines: str, trusted: bool = True, key: Path | None = None) -> None:
        """A ``Host`` block for it. lines: further ones, which win; trusted: its key is in known_hosts."""
        login.authorize(self.ssh / "id_ed25519.pub")
        block = [
            *lines,
            "HostName 127.0.0.1",
            f"Port {login.port}",
            f"User {login.user}",
            f"IdentityFile {key or self.ssh / 'id_ed25519'}",
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {self.ssh}/known_hosts",
            "GlobalKnownHostsFile /dev/null",
        ]
        with (self.ssh / "config").open("a") as file:
            file.write(f"Host {name}\n" + "".join(f"  {line}\n" for line in block))
        if trusted:
            self.trust(f"[127.0.0.1]:{login.port}", login.host_key)

    def trust(self, name: str, key: str) -> None:
        with (self.ssh / "known_hosts").open("a") as file:
            file.write(f"{name} {key}\n")

    @contextlib.contextmanager
    def master(self, name: str) -> Iterator[Path]:
        """While open, OpenSSH has a connection to this host that others may share. Its socket."""
        folder = Path(tempfile.mkdtemp(prefix="ade-cm-"))  # the path of a socket is short
        config = self.ssh / "config"
        before = config.read_text()
        config.write_text(f"Host {name}\n  ControlPath {folder}/s\n{before}")
        _run("ssh", "-MNf", "-o", "BatchMode=yes", name)
        try:
            yield folder / "s"
        finally:
            subprocess.run(["ssh", "-O", "exit", name], capture_output=True, timeout=30, check=False)
            config.write_text(before)
            shutil.rmtree(folder, ignore_errors=True)
