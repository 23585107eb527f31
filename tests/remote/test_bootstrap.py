# SPDX-License-Identifier: Apache-2.0
"""bootstrap and doctor: the ade-hpc of this machine in a venv of that one, and whether the two fit."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ade_hpc import __version__
from ade_hpc.remote.installed import COMMAND, Known
from ade_hpc.remote.wheel import pack
from tests.remote.test_commands import ade
from tests.support.sshd import VENV, Laptop, LoginNode, login_node, make_offline_venv

pytestmark = pytest.mark.sshd


@pytest.fixture(scope="module")
def bare() -> Iterator[LoginNode]:
    """A login node without ade-hpc, where pip finds what ours requires without a network."""
    with login_node(path="/usr/local/bin:/usr/bin:/bin") as node:
        make_offline_venv(node.home)
        yield node


def test_bootstrap_installs_this_very_code_and_doctor_says_that_it_fits(laptop: Laptop, bare: LoginNode) -> None:
    laptop.add("login", bare)
    code, _, err = ade("--host", "login", "status")
    assert (code, err) == (1, "ade-hpc: login: ade-hpc is not installed there; run: ade-hpc --host login bootstrap\n")
    code, out, err = ade("--host", "login", "bootstrap")
    assert (code, out) == (0, f"login: ade-hpc {__version__} in {VENV}\nnext: ade-hpc --host login doctor\n"), err
    module = next((bare.home / VENV).glob("lib/*/site-packages/ade_hpc/remote/wheel.py"))
    assert module.read_text() == Path(pack.__code__.co_filename).read_text()
    assert list((bare.home / ".ade-hpc/transit").iterdir()) == []
    assert ade("--host", "login", "bootstrap")[2] == f"login: {VENV} has this very ade-hpc already\n"
    code, out, _ = ade("--host", "login", "doctor", "--json")
    checks = {one["name"]: one for one in json.loads(out)["checks"]}
    assert checks["connection"]["level"] == checks["ade-hpc there"]["level"] == "green"
    assert "registry" in str(checks)  # and those of the site, as seen there


def test_doctor_says_what_keeps_the_two_apart(laptop: Laptop, bare: LoginNode) -> None:
    laptop.add("stranger", bare, trusted=False)
    code, out, _ = ade("--host", "stranger", "doctor", "--json")
    assert (code, [one["name"] for one in json.loads(out)["checks"]]) == (1, ["connection"])
    laptop.add("old", bare)
    command = bare.home / "old-ade-hpc"
    command.write_text("#!/bin/sh\necho 'ade-hpc: old has ade-hpc 0.0.1' >&2\nexit 1\n")
    command.chmod(0o755)
    Known.here().remember("old", str(command))
    code, out, _ = ade("--host", "old", "doctor")
    assert code == 1
    assert "ade-hpc there: old has ade-hpc 0.0.1" in out
    assert "-> run: ade-hpc --host old bootstrap" in out


def test_a_wheel_is_what_pip_takes_and_always_the_same(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    wheel, again = pack(tmp_path), pack(tmp_path / "again")
    assert wheel.read_bytes() == again.read_bytes()
    target = tmp_path / "target"
    argv = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", target, wheel]
    subprocess.run(argv, timeout=100, check=True)
    assert {"ade_hpc", "bin", f"ade_hpc-{__version__}.dist-info"} <= {path.name for path in target.iterdir()}
    with zipfile.ZipFile(wheel) as archive:
        assert "ade_hpc/report/style.css" in archive.namelist()
        assert not [name for name in archive.namelist() if "__pycache__" in name]
    assert f"{VENV}/bin/ade-hpc" == COMMAND
