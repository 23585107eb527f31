# SPDX-License-Identifier: Apache-2.0
"""The dead man's switch and the log of the scheduled tick."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ade_hpc.store.service import GRACE_S, LOG_KEEPS, Installed, Service


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "registry")


def test_a_tick_is_missed_only_where_one_is_scheduled(service: Service) -> None:
    now = time.time()
    assert service.overdue_s(now) is None
    service.record_install(Installed("cron", 3600.0, "block", now))
    assert service.overdue_s(now + 3600) is None
    late = now + 2 * 3600 + GRACE_S + 1
    assert service.overdue_s(late) == pytest.approx(3600 + GRACE_S + 1)
    service.record_tick(0)
    assert service.overdue_s(time.time() + 3600) is None
    service.forget_install()
    assert service.overdue_s(late) is None


def test_the_last_tick_says_who_and_how(service: Service) -> None:
    assert service.last_tick() is None
    service.record_tick(3)
    last = service.last_tick()
    assert last is not None
    assert last.exit_code == 3
    assert last.time == pytest.approx(time.time(), abs=5)
    service.last_tick_path.write_text('{"time": "yesterday"}')
    assert service.last_tick() is None


def test_the_log_stays_bounded_and_keeps_its_end_while_it_is_open(service: Service) -> None:
    """The scheduler holds the file open for appending: what it writes after the cut must follow the kept lines."""
    with service.log.open("ab", buffering=0) as held:
        held.write(b"".join(b"line %d\n" % number for number in range(300_000)))
        service.trim_log()
        held.write(b"after\n")
    lines = service.log.read_bytes().split(b"\n")
    assert service.log.stat().st_size <= LOG_KEEPS + 10
    assert lines[-3:] == [b"line 299999", b"after", b""]
    assert lines[0].startswith(b"line ")


def test_a_short_log_is_left_alone(service: Service) -> None:
    service.log.write_text("one line\n")
    service.trim_log()
    assert service.log.read_text() == "one line\n"
