# SPDX-License-Identifier: Apache-2.0
"""Twelve hours of the week that scripts/bench week lives through, with three experiments."""

from __future__ import annotations

from pathlib import Path

from ade_hpc.store.ledger import append
from benchmarks import week_oracle as oracle
from benchmarks.week import run_week
from benchmarks.week_cast import CAST, LIVE_CAP, SUBMISSIONS_CAP, Member
from benchmarks.week_oracle import JobLife
from benchmarks.week_watch import Life
from tests.metrics.event_files import NAME, scalar, write
from tests.support.lab import Lab

NAMES = ("steady", "explodes", "spotkill")
FAULTS = (
    "trainer killed",
    "slurmdbd down",
    "trainer stops",
    "two ticks",
    "slurmctld down",
    "preemption",
    "tick killed",
)


def test_twelve_hours_with_faults(lab: Lab, tmp_path: Path) -> None:
    """No overlap, no budget or cap exceeded, nobody forgotten, and the report says what accounting says."""
    members = [member for member in CAST if member.name in NAMES]
    result = run_week(tmp_path, lab, 12, 1, members, every_s=2.5, faults=("", "", *FAULTS))
    assert result["violations"] == []
    assert result["faults"] >= len(FAULTS)
    assert result["attempts"] > len(NAMES), "something was repaired"


def test_these_judges_would_notice(tmp_path: Path) -> None:
    """Each of them, on what must not be."""
    life = Life(1, "a", 1, 100.0, 130.0)
    assert len(list(oracle.overlaps([life, Life(2, "a", 2, 129.0, 140.0)]))) == 1
    assert list(oracle.overlaps([life, Life(2, "a", 2, 131.0, 140.0), Life(3, "b", 1, 100.0, 140.0)])) == []

    for start, first in (("0001", 0.0), ("0002", 50.0)):
        folder = tmp_path / "attempts" / start / "tensorboard" / "0"
        folder.mkdir(parents=True)
        write(folder / NAME, [scalar("x", step, 1.0, first + step) for step in range(60)])
    assert len(list(oracle.event_overlaps(tmp_path))) == 1

    def job(name: str, attempt: int, state: str = "RUNNING", hours: float = 0.0) -> JobLife:
        return JobLife(f"{name}-{attempt}", name, attempt, state, 0.0, 0.0, None, hours * 3600, 1)

    member = Member("a", limits={"max_attempts": 2, "gpu_hours": 1.0})
    assert len(list(oracle.budgets(member, [job("a", 1), job("a", 2), job("a", 3, hours=1.1)]))) == 2
    assert len(list(oracle.budgets(Member("a", limits={"mode": "observe"}), [job("a", 1), job("a", 2)]))) == 1
    crowd = [job(f"n{number}", 1) for number in range(LIVE_CAP + 1)]
    assert list(oracle.caps(crowd[:-1], [0.0])) == []
    assert len(list(oracle.caps(crowd, [0.0]))) == len(crowd)
    assert len(list(oracle.caps([], [float(number) for number in range(SUBMISSIONS_CAP + 1)]))) == 1

    failed, quiet = [job("a", 1, "FAILED")], oracle.Told("a", "Nothing needs a person.")
    assert len(list(oracle.left_alone(member, quiet, failed, cancelled=False))) == 1
    assert list(oracle.left_alone(member, oracle.Told("a", "Needs a person"), failed, cancelled=False)) == []
    assert len(list(oracle.brought_back("a", -5.0, failed))) == 1


def test_a_job_that_slurm_has_lost_is_told_from_one_that_was_made_up(tmp_path: Path) -> None:
    """Only a slurmctld that was killed just after the submission excuses a job that accounting does not know."""
    for attempt, job in ((1, "7"), (2, "8")):
        append(tmp_path / "ledger.jsonl", "submitted", {"attempt": attempt, "job_id": job}, now=100.0)
    known = [JobLife("7", tmp_path.name, 1, "CANCELLED", 0.0, 0.0, 50.0, 50.0, 1)]
    lives = [Life(3, tmp_path.name, 2, 101.0, 145.0)]

    (lost,) = oracle.lost_by_slurm(tmp_path, known, lives, [102.0])

    assert (lost.job, lost.attempt, lost.state, lost.elapsed_s) == ("8", 2, "LOST", 44.0)
    assert list(oracle.ledger_against_accounting(tmp_path, [*known, lost])) == []
    assert list(oracle.lost_by_slurm(tmp_path, known, lives, [99.0, 200.0])) == []
    assert len(list(oracle.ledger_against_accounting(tmp_path, known))) == 1
