# SPDX-License-Identifier: Apache-2.0
"""What holds for both transports, over a real sshd: run, put, get, and what happens when the connection breaks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ade_hpc.errors import HostSilent, RemoteError
from ade_hpc.remote.connect import connect
from ade_hpc.remote.over_openssh import OpenSshTransport
from ade_hpc.remote.over_paramiko import ParamikoTransport, _ctrl_c_held
from ade_hpc.remote.transport import Transport
from tests.remote.test_logging_in import agent
from tests.support.project import wait_for
from tests.support.sshd import Laptop, LoginNode

pytestmark = pytest.mark.sshd
HOSTILE = "a 'b' $(touch gone) `id` \\ \"c\"\n-é;&*~!"
KINDS = {"openssh": OpenSshTransport, "paramiko": ParamikoTransport}


@pytest.fixture(params=KINDS)
def connection(request: pytest.FixtureRequest, laptop: Laptop, login: LoginNode) -> Iterator[Transport]:
    laptop.add("login", login)
    master = laptop.master("login") if request.param == "openssh" else contextlib.nullcontext()
    with master, connect("login") as one:
        assert type(one) is KINDS[request.param]  # an open ControlMaster is used, and only then
        yield one


def test_a_program_gets_its_arguments_and_input_and_gives_its_output_and_status(connection: Transport) -> None:
    script = 'cat; printf "%s" "$1"; printf "%s" "$2" >&2; exit 3'
    ran = connection.run(["sh", "-c", script, "sh", HOSTILE, "-rf"], stdin=b"in\0\xff" * 100_000, timeout_s=30)
    assert ran.returncode == 3
    assert ran.stdout == b"in\0\xff" * 100_000 + HOSTILE.encode()
    assert ran.stderr == b"-rf"
    assert connection.run(["no-such-program"], timeout_s=30).returncode == 127
    assert connection.run(["sh", "-c", "kill -9 $$"], timeout_s=30).returncode in (137, 255)


def test_nothing_of_our_environment_goes_there(
    connection: Transport, laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("LC_SECRET", "canary")
    config = laptop.ssh / "config"
    config.write_text(config.read_text() + "Host *\n  SendEnv LC_* OPENAI_API_KEY\n")
    assert b"canary" not in connection.run(["env"], timeout_s=30).stdout


@pytest.mark.parametrize("kind", KINDS)
def test_no_agent_is_forwarded(
    kind: str, laptop: Laptop, login: LoginNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    laptop.add("login", login, "ForwardAgent yes")
    with contextlib.ExitStack() as stack:
        stack.enter_context(agent(tmp_path, monkeypatch))
        if kind == "openssh":
            stack.enter_context(laptop.master("login"))
        seen = stack.enter_context(connect("login")).run(["env"], timeout_s=30).stdout
        beside = subprocess.run(["ssh", "login", "env"], capture_output=True, timeout=30, check=True).stdout
    assert b"SSH_AUTH_SOCK" not in seen
    assert b"SSH_AUTH_SOCK" in beside, "ssh itself would have forwarded it"


def test_output_streams_while_the_program_runs(connection: Transport, login: LoginNode) -> None:
    """It says its second word when its first one was heard here."""
    came: list[bytes] = []

    def heard(data: bytes) -> None:
        came.append(data)
        (login.home / "heard").touch()

    script = "rm -f heard; echo one; until [ -e heard ]; do sleep 0.1; done; echo two"
    ran = connection.run(["sh", "-c", script], stdout=heard, timeout_s=60)
    assert (ran.stdout, b"".join(came)) == (b"", b"one\ntwo\n")


def test_no_answer_in_time_is_said(connection: Transport) -> None:
    began = time.monotonic()
    with pytest.raises(HostSilent, match="no answer in 1 s"):
        connection.run(["sleep", "30"], timeout_s=1)
    assert time.monotonic() - began < 25


def test_a_file_arrives_whole_private_and_under_any_name(
    connection: Transport, login: LoginNode, tmp_path: Path
) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "here").write_bytes(data)
    there, seen = f"new folder/-{HOSTILE}", []
    connection.put(tmp_path / "here", there, lambda done, whole: seen.append((done, whole)))
    arrived = login.home / there
    assert arrived.read_bytes() == data
    assert (arrived.stat().st_mode & 0o777, arrived.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert os.listdir(arrived.parent) == [arrived.name]
    assert seen[-1] == (3_000_000, 3_000_000)
    connection.get(there, tmp_path / "back", lambda done, whole: seen.append((done, whole)))
    assert (tmp_path / "back").read_bytes() == data
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o600
    assert seen[-1] == (3_000_000, 3_000_000)
    (tmp_path / "here").chmod(0o755)
    connection.put(tmp_path / "here", "-x")
    assert (login.home / "-x").stat().st_mode & 0o777 == 0o700


def test_what_cannot_be_written_or_read_there_is_said_and_leaves_nothing(
    connection: Transport, login: LoginNode, tmp_path: Path
) -> None:
    (tmp_path / "here").write_bytes(b"x")
    (login.home / "folder").mkdir(exist_ok=True)
    with pytest.raises(RemoteError, match="login: folder could not be written"):
        connection.put(tmp_path / "here", "folder")
    with pytest.raises(RemoteError, match=r"login: nowhere could not be read: (.*)[Nn]o such file"):
        connection.get("nowhere", tmp_path / "new")
    assert os.listdir(tmp_path) == ["here"]
    assert os.listdir(login.home / "folder") == []


def test_a_connection_that_breaks_during_a_copy_leaves_no_file(
    connection: Transport, login: LoginNode, tmp_path: Path
) -> None:
    """The far side sees the end of its input then, which must not count as the end of the file."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate(2_000_000_000)
    there = login.home / "copies"

    def in_the_middle(done: int, whole: int) -> None:
        if there.is_dir() and os.listdir(there):
            login.drop()

    with pytest.raises(HostSilent):
        connection.put(tmp_path / "big", "copies/big", in_the_middle)
    wait_for(lambda: os.listdir(there) == [], 60, "half of it stayed there")


def test_a_connection_that_breaks_is_said_at_once(connection: Transport, login: LoginNode) -> None:
    """While the program runs: before that, `ssh` would have found no master and made a connection of its own."""
    began = login.home / "began"
    began.unlink(missing_ok=True)
    broken: list[float] = []

    def break_it() -> None:
        wait_for(began.exists, 60, "it did not begin")
        broken.append(time.monotonic())
        login.drop()

    breaker = threading.Thread(target=break_it)
    breaker.start()
    with pytest.raises(HostSilent, match="login: the connection"):
        connection.run(["sh", "-c", "touch began; exec sleep 30"], timeout_s=None)
    breaker.join()
    assert time.monotonic() - broken[0] < 25


def test_ctrl_c_leaves_none_of_paramikos_locks_taken() -> None:
    """It comes when the lock has just been taken. As an exception there it would have kept whoever closes for ever."""
    lock, reached = threading.Lock(), []

    def stream() -> None:
        with _ctrl_c_held() as interrupted:
            lock.acquire()
            signal.raise_signal(signal.SIGINT)
            lock.release()
            reached.append("released")
            interrupted()
            reached.append("too far")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            stream()
        assert reached == ["released"]
        with pytest.raises(KeyboardInterrupt), _ctrl_c_held():
            signal.raise_signal(signal.SIGINT)  # and nobody asks: it comes at the end
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
