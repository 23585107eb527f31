# SPDX-License-Identifier: Apache-2.0
"""One sshd for the tests of a module, and a laptop for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot_run, missing
from tests.support.sshd import Laptop, LoginNode, login_node


@pytest.fixture(scope="module")
def login() -> Iterator[LoginNode]:
    if reason := missing("sshd"):
        cannot_run(reason)
    with login_node() as node:
        yield node


@pytest.fixture
def laptop(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    return Laptop.at(isolated, monkeypatch)
