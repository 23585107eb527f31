# SPDX-License-Identifier: Apache-2.0
"""Whether a start has got the run any further, and the breaker that counts those that have not."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ade_hpc.job.breaker import in_vain, storm
from ade_hpc.job.checkpoints import newest_valid
from ade_hpc.job.further import Standing
from ade_hpc.job.identity import JobIdentity
from ade_hpc.model import ExitRecord
from ade_hpc.spec.experiment import Experiment
from ade_hpc.spec.experiment_fields import Checkpoint as Declared
from ade_hpc.store.layout import AttemptDir, ExperimentDir
from ade_hpc.store.records import save_exit

RECORD = ExitRecord(1, "7", 1, 0, "n1", "preempted", 1, True, time.time(), time.time(), time.time())
VAIN = "3 starts in a row have brought no new step"


@dataclass
class Looks:
    """What a sidecar has seen."""

    last_step: int | None = None
    progressed: bool = True


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDir:
    folder = ExperimentDir(tmp_path / "tiny")
    folder.make_folders()
    made = folder.claim_attempt(1)
    made.make_folders()
    return made


def save(folder: Path, name: str, *, whole: bool = True) -> None:
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("data.pkl", f"{time.monotonic_ns()}" * 100)
    if not whole:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])


def begin(attempt: AttemptDir, pattern: str, looks: Looks, restart: int = 0, complete: str | None = None) -> Standing:
    """A start, from the newest checkpoint as the launch line takes it."""
    declared = Declared(pattern=pattern, complete=complete)
    experiment = Experiment.model_construct(checkpoint=declared)
    job = JobIdentity("7", restart, "n1", True, 1, True)
    standing = Standing(attempt, job, experiment, looks)  # type: ignore[arg-type]  # a stand-in that tells steps
    found = newest_valid(attempt.checkpoints, pattern, complete) or newest_valid(attempt.start, pattern, complete)
    standing.begin(found)
    return standing


def against(standing: Standing, restart: int = 1) -> str:
    return standing.against_one_more(replace(RECORD, cause="time-limit", restart=restart))


def test_a_save_counts_although_the_writer_still_holds_its_steps_back(attempt: AttemptDir) -> None:
    """The start before had logged up to 900 and saved at 800; this one logs nothing, or less, and saves at 1000."""
    save_exit(attempt, replace(RECORD, last_step=900))
    save(attempt.checkpoints, "step-800.pt")
    for logged in (None, 850):
        standing = begin(attempt, "step-{step}.pt", Looks(logged), restart=1)
        save(attempt.checkpoints, "step-1000.pt")
        assert standing.further()
        assert against(standing) == ""
        (attempt.checkpoints / "step-1000.pt").unlink()


def test_the_same_steps_saved_again_are_no_progress(attempt: AttemptDir) -> None:
    """A trainer that begins anew whatever it is told."""
    save_exit(attempt, replace(RECORD, last_step=150))
    save(attempt.checkpoints, "step-100.pt")
    standing = begin(attempt, "step-{step}.pt", Looks(140), restart=1)
    time.sleep(0.01)
    save(attempt.checkpoints, "step-100.pt")
    assert standing.further() is False
    assert "begin where this one began" in against(standing)


def test_a_truncated_save_is_none(attempt: AttemptDir) -> None:
    standing = begin(attempt, "step-{step}.pt", Looks(30))
    save(attempt.checkpoints, "step-20.pt", whole=False)
    assert "begin where this one began" in against(standing)


def test_steps_of_a_parent_say_nothing_about_the_attempt_s_own(attempt: AttemptDir) -> None:
    """With the weights alone of its parent it has begun to count anew."""
    save(attempt.start, "step-5000.pt")
    standing = begin(attempt, "step-{step}.pt", Looks(120))
    save(attempt.checkpoints, "step-100.pt")
    assert against(standing) == ""


def test_a_checkpoint_that_is_replaced_each_time_counts(attempt: AttemptDir) -> None:
    save(attempt.checkpoints, "last.pt")
    standing = begin(attempt, "last.pt", Looks(None), restart=1)
    assert "begin where this one began" in against(standing)
    time.sleep(0.01)
    save(attempt.checkpoints, "last.pt")
    assert standing.further()
    assert against(standing) == ""


def test_so_does_a_folder_that_is_filled_anew(attempt: AttemptDir) -> None:
    """Files replaced in a folder inside leave the folder's own time as it was."""
    folder = attempt.checkpoints / "last" / "shards"
    folder.mkdir(parents=True)
    (folder / "0.bin").write_bytes(b"old")
    (folder.parent / "done").touch()
    standing = begin(attempt, "last", Looks(None), complete="done")
    time.sleep(0.01)
    (folder / "0.bin").write_bytes(b"new")
    assert against(standing) == ""


def test_what_is_saved_under_one_name_and_logs_no_new_step_goes_on_for_three_starts(attempt: AttemptDir) -> None:
    """Its writer may hold steps back once; a trainer that never resumes would go on for ever."""
    for restart in range(3):
        standing = begin(attempt, "last.pt", Looks(100), restart)
        time.sleep(0.01)
        save(attempt.checkpoints, "last.pt")
        save_exit(attempt, replace(RECORD, restart=restart, last_step=100, further=standing.further()))
        assert against(standing, restart) == ""

    standing = begin(attempt, "last.pt", Looks(100), restart=3)
    time.sleep(0.01)
    save(attempt.checkpoints, "last.pt")
    assert against(standing, 3) == VAIN


def records(*further: bool | None) -> Sequence[ExitRecord]:
    return [replace(RECORD, restart=restart, further=one) for restart, one in enumerate(further)]


@pytest.mark.parametrize(
    ("further", "why"),
    [
        ((False, False), ""),
        ((False, False, False), VAIN),
        ((True, False, False, False), VAIN),
        ((False, False, True), ""),
        ((False, True, False, False), ""),
        ((False, False, None, False), VAIN),  # the one without a trainer says nothing
    ],
)
def test_the_breaker_counts_starts_in_vain(further: tuple[bool | None, ...], why: str) -> None:
    assert in_vain(records(*further)) == why


def test_one_node_that_got_further_is_enough() -> None:
    every = [replace(one, node=node) for one in records(False, False, False) for node in ("n1", "n2")]
    assert in_vain(every) == VAIN
    assert in_vain([*every[:-1], replace(every[-1], further=True)]) == ""


def test_six_starts_within_an_hour_are_a_storm(attempt: AttemptDir) -> None:
    made = records(*[True] * 6)
    assert storm(attempt, made[:5], RECORD.started_at + 60) == ""
    assert storm(attempt, made, RECORD.started_at + 60) == "it was started 6 times within an hour"
    assert storm(attempt, made, RECORD.started_at + 3700) == ""
