# SPDX-License-Identifier: Apache-2.0
"""Files, registry, inbox and lease: private, atomic, and never healthy by blindness."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ade_hpc.errors import AttemptExists, StoreError, UsageError
from ade_hpc.model import Heartbeat
from ade_hpc.store.files import create_exclusive, private_dir, read_json, write_json
from ade_hpc.store.inbox import drop, messages
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.lease import lease
from ade_hpc.store.records import (
    claim_owner,
    load_exits,
    load_heartbeats,
    owner_of,
    save_heartbeat,
    supersede,
    superseded_by,
)
from ade_hpc.store.registry import experiments, register


@pytest.fixture
def folder(tmp_path: Path) -> ExperimentDir:
    made = ExperimentDir(tmp_path / "runs" / "tiny")
    made.make_folders()
    return made


def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    """Everything from runs_dir down is the user's alone (invariant 10)."""
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(StoreError, match="chmod 700"):
        private_dir(tmp_path / "open")


def test_what_is_made_is_the_user_s_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_dir(tmp_path / "runs")
        write_json(tmp_path / "runs" / "x.json", {"a": 1})
    finally:
        os.umask(before)
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "runs" / "x.json").stat().st_mode & 0o777 == 0o600


def test_an_exclusive_file_is_created_once_and_whole(tmp_path: Path) -> None:
    assert create_exclusive(tmp_path / "x", b"first")
    assert not create_exclusive(tmp_path / "x", b"second")
    assert (tmp_path / "x").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"a": ' * 100_000, b"\xff\xfe", b"null"])
def test_damaged_records_count_as_not_there(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert read_json(tmp_path / "x.json") is None


def test_records_that_are_no_regular_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "real.json")
    assert read_json(tmp_path / "fifo") is None
    assert read_json(tmp_path / "link") is None


def test_an_attempt_is_made_once(folder: ExperimentDir) -> None:
    """`mkdir` is the compare-and-swap (invariant 1a)."""
    folder.claim_attempt(1)
    with pytest.raises(AttemptExists):
        folder.claim_attempt(1)
    assert [attempt.number for attempt in folder.attempts()] == [1]


def test_the_fence_lets_one_job_through_and_the_same_job_again(folder: ExperimentDir) -> None:
    attempt = folder.claim_attempt(1)
    assert claim_owner(attempt, "11")
    assert not claim_owner(attempt, "12")
    assert claim_owner(attempt, "11")
    assert owner_of(attempt) == "11"


def test_a_tombstone_stays_what_it_was_first(folder: ExperimentDir) -> None:
    attempt = folder.claim_attempt(1)
    assert superseded_by(attempt) is None
    supersede(attempt, "attempt 2")
    supersede(attempt, "cancel")
    assert superseded_by(attempt) == "attempt 2"


def test_a_tombstone_that_can_t_be_read_still_stands(folder: ExperimentDir) -> None:
    attempt = folder.claim_attempt(1)
    attempt.superseded.write_bytes(b"")
    assert superseded_by(attempt) == ""


@pytest.mark.parametrize("content", ['{"schema": 1}', '{"schema": "x", "counter": 1}', "[]", '{"counter": 1e999}'])
def test_foreign_heartbeats_and_exit_records_are_left_out(folder: ExperimentDir, content: str) -> None:
    attempt = folder.claim_attempt(1)
    attempt.make_folders()
    (attempt.heartbeats / "n1.json").write_text(content)
    (attempt.exits / "0.n1.json").write_text(content)
    assert load_heartbeats(attempt) == []
    assert load_exits(attempt) == []


def test_a_missing_registry_is_not_an_empty_one(tmp_path: Path) -> None:
    """A supervisor that is blind must not look healthy (invariant 2)."""
    with pytest.raises(StoreError, match="no registry") as error:
        experiments(tmp_path / "none")
    assert error.value.exit_code == 3


def test_a_name_belongs_to_one_run_folder(tmp_path: Path, folder: ExperimentDir) -> None:
    register(tmp_path / "registry", folder)
    register(tmp_path / "registry", folder)
    assert experiments(tmp_path / "registry") == [folder]
    with pytest.raises(UsageError, match="is taken"):
        register(tmp_path / "registry", ExperimentDir(tmp_path / "elsewhere" / "tiny"))
    with pytest.raises(UsageError, match="known: tiny"):
        experiments(tmp_path / "registry", ("other",))


def test_the_heartbeat_of_another_job_says_nothing(folder: ExperimentDir) -> None:
    """A restored backup, a folder that was copied: only the job that passed the fence speaks for its attempt."""
    attempt = folder.claim_attempt(1)
    attempt.make_folders()
    for node, job_id in (("n1", "7"), ("n2", "8")):
        save_heartbeat(attempt, Heartbeat(1, job_id, 1, 0, node, 5, 30.0, 990.0))
    claim_owner(attempt, "7")
    assert [beat.node for beat in load_heartbeats(attempt)] == ["n1"]


def test_messages_wait_in_order_and_foreign_files_stay(folder: ExperimentDir) -> None:
    drop(folder, "cancel", {"by": "me"}, now=2.0)
    drop(folder, "pause", {}, now=1.0)
    (folder.inbox / "notes.json").write_text("[]")
    assert [message.kind for message in messages(folder)] == ["pause", "cancel"]


def test_one_tick_holds_the_lease_and_a_dead_one_does_not(folder: ExperimentDir) -> None:
    now = time.time()
    with lease(folder, now=now) as first, lease(folder, now=now) as second:
        assert first
        assert not second
    assert not folder.lease.exists()
    write_json(folder.lease, {"host": os.uname().nodename, "pid": 2**22 + 1, "until": now + 1000})
    with lease(folder, now=now) as held:
        assert held
    mine = {"host": os.uname().nodename, "pid": os.getpid(), "until": now + 1000}
    write_json(folder.lease, {**mine, "boot": "before the host went down, and that number was another's"})
    with lease(folder, now=now) as held:
        assert held
    write_json(folder.lease, {"host": "elsewhere", "pid": 1, "until": now - 1})
    with lease(folder, now=now) as held:
        assert held
    write_json(folder.lease, {"host": "elsewhere", "pid": 1, "until": now + 1000})
    with lease(folder, now=now) as held:
        assert not held


def test_a_run_folder_that_is_gone_is_said_and_is_no_health(folder: ExperimentDir) -> None:
    folder.path.rename(folder.path.with_name("elsewhere"))
    with pytest.raises(StoreError, match="mounted"), lease(folder, now=time.time()):
        pass
