# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc --host LOGIN COMMAND` over a real sshd: what one would see there, here."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ade_hpc import __version__
from ade_hpc.remote.exchange import FOLDER
from ade_hpc.remote.installed import Known
from ade_hpc.scheduler.process import Process
from ade_hpc.store.records import load_exits
from tests.conftest import GIT_CONFIG
from tests.remote.test_logging_in import at_a_terminal
from tests.support.project import PREFERENCES, Project, make_project, wait_for
from tests.support.sshd import Laptop, LoginNode

pytestmark = pytest.mark.sshd
SLOW = """#!/bin/sh
# An ade-hpc that is slow the first time.
[ -e once ] || { touch once; sleep 30; }
exec ade-hpc "$@"
"""
VARYING = re.compile(r"\b\d+(\.\d+)?[smh]\b|\"[a-z_]*age_s\": [\d.]+")


def start(*words: str, **options: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "ade_hpc.cli", *words]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(argv, text=True, **streams)  # type: ignore[call-overload,no-any-return]  # by keywords


def ade(*words: str) -> tuple[int, str, str]:
    with start(*words) as process:
        out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def ssh(*words: str) -> tuple[int, str, str]:
    done = subprocess.run(["ssh", "login", *words], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def submitted(login: LoginNode, name: str, **config: object) -> Iterator[Project]:
    """An experiment in the home there, submitted by a person who sits there."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in [one for one in os.environ if one.startswith(("XDG_", "ADE_", "GIT_"))]:
            patch.delenv(variable)
        patch.setenv("HOME", str(login.home))
        (login.home / ".gitconfig").write_text(GIT_CONFIG)
        made = make_project(login.home / name, mode="observe", config=config, experiment={"name": name})
        project = dataclasses.replace(made, registry=login.home / ".local/state/ade-hpc/experiments")
        project.submit()
        yield project


@pytest.fixture(scope="module")
def ended(login: LoginNode) -> Iterator[Project]:
    """Its trainer has ended, and a tick has looked at it."""
    with submitted(login, "tiny", steps=60) as project:
        project.wait_until_over(1)
        project.tick()
        yield project


@pytest.fixture
def there(laptop: Laptop, login: LoginNode, ended: Project) -> LoginNode:
    laptop.add("login", login)
    return login


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["status", "tiny", "--json"],
        ["history", "tiny", "-v"],
        ["logs", "tiny"],
        ["history", "nobody's; $(exit 1)"],
        ["logs", "--attempt", "x"],
        ["history", "tiny", "--json"],
        ["tick", "tiny", "--no-llm", "--dry-run"],
        ["tick", "--no-llm", "--json"],
        ["tick", "nobody"],
        ["pause", "tiny"],
        ["resume", "tiny"],
        ["approve", "tiny"],
        ["reject", "tiny"],
        ["revert", "tiny"],
        ["cancel", "nobody"],
        ["diagnose", "tiny/project/.ade/tiny/attempts/0001/tensorboard", "--json"],
        ["diagnose", "nowhere"],
        ["watch", "1", "--logdir", "nowhere"],
        ["schedule", "status"],
        ["report", "-o"],
        ["no-such-command"],
        ["--version"],
    ],
    ids=" ".join,
)
def test_output_errors_and_exit_code_are_those_of_the_command_there(there: LoginNode, words: list[str]) -> None:
    here = ade("--host", "login", *words)
    directly = ssh(shlex.join(["ade-hpc", *words]))
    assert here[0] == directly[0]
    assert [VARYING.sub("-", text) for text in here[1:]] == [VARYING.sub("-", text) for text in directly[1:]]
    assert "".join(here[1:]).strip()


def test_over_an_open_control_master_next_to_nothing_is_imported(there: LoginNode, laptop: Laptop) -> None:
    """So that it is hardly slower than ssh itself: scripts/bench remote."""
    ade("--host", "login", "status")  # from now on it is known where ade-hpc is
    argv = [sys.executable, "-X", "importtime", "-m", "ade_hpc.cli", "--host", "login", "status"]
    with laptop.master("login"):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert "tiny" in done.stdout
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "ade_hpc.remote.over_openssh" in modules
    assert not modules & {"typing", "dataclasses", "re", "subprocess", "json", "paramiko", "typer"}


def test_files_that_options_name_are_here(there: LoginNode, ended: Project, tmp_path: Path) -> None:
    """A page and a picture come back, preferences go over; nothing of them stays there."""
    page, picture, wishes = tmp_path / "night page.html", tmp_path / "curves.png", tmp_path / "new.md"
    code, out, err = ade("--host", "login", "report", f"--output={page}")
    assert (code, out, err) == (0, f"{page}: tiny\n", "")
    assert "tiny" in page.read_text()
    logdir = str(ended.folder.attempt(1).tensorboard)
    code, out, _ = ade("--host", "login", "plot", logdir, "-o", str(picture))
    assert code == 0
    assert out.startswith(f"{picture}: ")
    assert picture.read_bytes().startswith(b"\x89PNG")
    wishes.write_text(PREFERENCES.replace("MODE", "auto"))
    wishes.chmod(0o600)
    code, out, err = ade("--host", "login", "backtest", "tiny", "--preferences", str(wishes))
    assert (code, err) == (0, "")
    assert FOLDER not in out
    assert os.listdir(there.home / FOLDER) == []


def test_commands_about_files_here_and_files_that_are_not_there_are_refused(there: LoginNode, tmp_path: Path) -> None:
    for command in ("init", "check", "demo"):
        assert ade("--host", "login", command)[0] == 2
    said = ade("--host", "login", "report", "-o", "no/such/folder/page.html")
    assert said == (2, "", "ade-hpc: no/such/folder/page.html: its folder does not exist here\n")
    assert ade("--host", "-oProxyCommand=true", "status")[0] == 2


@pytest.fixture(scope="module")
def running(login: LoginNode) -> Iterator[Project]:
    """Its trainer says one line, and then nothing for as long as the tests last."""
    with submitted(login, "long", steps=1_000_000) as project:
        yield project
        project.end()


def followers(login: LoginNode) -> list[Process]:
    """The processes there of `logs --follow`."""
    home = f"HOME={login.home}".encode()
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            settings = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if home in settings and b"--client" in words and (one := Process.current(pid)):
                found.append(one)
    return found


def test_a_follower_streams_and_ctrl_c_ends_it_and_not_the_job(there: LoginNode, running: Project) -> None:
    with start("--host", "login", "logs", "long", "-f") as follower:
        assert follower.stdout
        assert "starts at step" in follower.stdout.readline()
        beside = followers(there)
        assert beside
        follower.send_signal(signal.SIGINT)
        out, err = follower.communicate(timeout=60)
    assert (follower.returncode, out, err) == (130, "", "")
    wait_for(lambda: not any(one.is_alive() for one in beside), 60, "the follower there stayed")
    assert not load_exits(running.folder.attempt(1))


def test_watch_is_renewed_at_this_terminal_until_ctrl_c(there: LoginNode, running: Project) -> None:
    code, shown = at_a_terminal("long", "\x03", "--host", "login", "status", "--watch")
    assert code == 130
    assert "experiment" in shown
    wait_for(lambda: not followers(there), 60, "it goes on there")
    said = ade("--host", "login", "status", "--watch")
    assert said == (2, "", ssh("ade-hpc", "status", "--watch")[2])
    assert "--watch needs a terminal" in said[2]


def test_a_follower_whose_connection_breaks_says_how_to_go_on(there: LoginNode, running: Project) -> None:
    with start("--host", "login", "logs", "long", "-f") as follower:
        assert follower.stdout
        assert "starts at step" in follower.stdout.readline()
        there.drop()
        out, err = follower.communicate(timeout=60)
    assert (follower.returncode, out) == (3, "")
    assert err.count("\n") == 1
    assert err.endswith("jobs there run on; go on with: ade-hpc --host login logs long -f\n")


def test_a_command_that_only_reads_is_tried_again_where_the_connection_breaks(
    there: LoginNode, laptop: Laptop, ended: Project
) -> None:
    """What acts is not: whether it was done is said to be unknown."""
    assert ade("--host", "login", "history", "tiny")[0] == 0  # it is known now where ade-hpc is
    slow = there.home / "slow"
    slow.write_text(SLOW)
    slow.chmod(0o755)
    Known.here().remember("login", str(slow))
    for words, code in ((["history", "tiny"], 0), (["pause", "tiny"], 3)):
        (there.home / "once").unlink(missing_ok=True)
        with start("--host", "login", *words) as process:
            wait_for((there.home / "once").exists, 60, "it did not begin")
            there.drop()
            out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert ("attempt" in out) == (code == 0)
    assert err.count("\n") == 1
    assert "whether `pause` was done is not known; look with: ade-hpc --host login status" in err


def test_a_version_that_does_not_fit_is_one_line(there: LoginNode) -> None:
    assert ade("--client", "0.0.9", "login", "status") == (
        1,
        "",
        (
            f"ade-hpc: login has ade-hpc {__version__} and the laptop 0.0.9; install ade-hpc "
            f"{'.'.join(__version__.split('.')[:2])} on the laptop, or run: ade-hpc --host login bootstrap\n"
        ),
    )
