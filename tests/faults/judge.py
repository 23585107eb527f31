# SPDX-License-Identifier: Apache-2.0
"""Run one row or one twin of the matrix and say what came of it.

``python -m tests.faults.judge NAME --lab ROOT --in FOLDER [--image SIF] [--fast]``: a process of its
own, because a row may lie to itself (PATH, SLURM_CONF); its last line is the outcome as JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ade_hpc.errors import AdeError
from ade_hpc.launch.lineage import job_of
from ade_hpc.launch.plan import open_plans
from ade_hpc.model import Health
from ade_hpc.policy.health import trouble
from ade_hpc.store.ledger import Entry
from ade_hpc.store.records import load_exits
from ade_hpc.supervisor.tick import DEGRADED, PERSON_NEEDED, Report
from tests.faults.run import Run, make_run, steps_of
from tests.faults.table import FAULTS, TWINS, Fault, Twin
from tests.support.lab import lab_in
from tests.support.project import assert_no_overlap, wait_for

PATIENCE_S = 100.0
TICK_EVERY_S = 0.5
LOOKS = 3  # where nothing is to be done, so many ticks must look and do nothing


@dataclass(frozen=True)
class Outcome:
    """What was seen and done. Seconds count from the moment of the trouble; None where there is no such thing.

    said: the word for it, and whose fault it is. named_s: until a tick said that. running_s: until the next job
    RUNNING. gpu_s: for each GPU of the job, allocated and of no use: until the old job had ended, and then until the
    new one was as far. steps_lost: trained twice.
    """

    name: str
    passed: bool
    why: str = ""
    said: str = ""
    did: str = ""
    named_s: float | None = None
    running_s: float | None = None
    gpu_s: float | None = None
    steps_lost: int | None = None


# --- one row ----------------------------------------------------------------------------------------------------


def judge_fault(fault: Fault, run: Run, *, fast: bool = False) -> Outcome:
    """Let it happen, and hold what comes of it against the row. fast: nobody ticks but the job itself."""
    fault.prepare(run)
    if not fault.submits:
        run.submit()
    fault.inject(run)
    outcome = _JUDGES[fault.does](fault, run, (lambda: None) if fast else run.tick)
    assert_sound(run)
    return outcome


def judge_twin(twin: Twin, run: Run) -> Outcome:
    """Let it happen, and see that nobody minds."""
    if not twin.submits:
        run.submit()
    twin.inject(run)
    said = _looked_on(run, lambda health: health.verdict == twin.verdict or health.cause == twin.verdict)
    assert_sound(run)
    return Outcome(twin.name, True, said=said, did="nothing")


def assert_sound(run: Run) -> None:
    """What holds whatever has happened: no overlap, by records and by the trainers' own logs, and one writer."""
    assert_no_overlap(run.project)
    for (one, (_, until)), (other, (begun, _)) in itertools.pairwise(run.logged().items()):
        assert until <= begun, f"{other} logs since {begun}, {one} until {until}"
    ledger = run.project.ledger
    assert not ledger.two_writers, "two writers were at the ledger"


# --- what must come of it ---------------------------------------------------------------------------------------

Tick = Callable[[], Report | None]


def _goes_on_as_new_attempt(fault: Fault, run: Run, tick: Tick) -> Outcome:
    job = _until(lambda: job_of(run.project.folder, run.project.ledger, 2), tick, "nothing was submitted")
    _until(lambda: run.lab.queued(job.job_id) == "RUNNING", lambda: None, "the next job does not run")
    begun = [start for start, _ in _lives(run, job.job_id) if start > run.struck_at - 1]  # the id may be a lost job's
    running_at = min([time.time(), *(start + 1 for start in begun)])
    entry = _named(fault, run)
    author = _author_of(run, 2).partition(":")[0]
    expected = {"restart": "answer", "change": "rule"}[fault.does]
    assert author == expected, f"attempt 2 was made by {author}, not by {expected}"
    _until(lambda: not open_plans(run.project.ledger), tick, "the submission was not finished")
    assert len(run.project.folder.attempts()) == 2, "more than one attempt was made"
    outcome = Outcome(
        fault.name, True, said=_said(entry), did=f"{fault.does}: {_author_of(run, 2)}",
        named_s=_since(run, entry.time), running_s=_since(run, running_at),
    )  # fmt: skip
    return _costs(fault, run, outcome)


def _goes_on_as_requeue(fault: Fault, run: Run, tick: Tick) -> Outcome:
    def looks_on() -> None:
        report = tick()
        assert report is None or report.decision is None, f"{report.health}: {report.decision}"

    _until(lambda: run.beat.restart >= 1 and run.beat.trainer_started_at, looks_on, "it was not queued again")
    assert len(run.project.folder.attempts()) == 1, "a new attempt was made"
    running_at = _lives(run, run.job)[-1][0]
    outcome = Outcome(fault.name, True, said="queued again by Slurm", did="requeue", running_s=_since(run, running_at))
    return _costs(fault, run, outcome)


def _asks(fault: Fault, run: Run, tick: Tick) -> Outcome:
    def asked() -> Report | None:
        report = tick()
        decision = report.decision if report else None
        return report if decision is not None and decision.proposal.action == "ask" else None

    report = _until(asked, lambda: None, "nobody was asked")
    named_at = time.time()
    assert report.code == PERSON_NEEDED, f"a person is asked, and the exit code is {report.code}"
    attempts = len(run.project.folder.attempts())
    for _ in range(LOOKS):
        tick()
    assert len(run.project.folder.attempts()) == attempts <= 2, "it was started again"
    said = _said(_named(fault, run)) if fault.cause else f"{report.health.verdict} ({report.health.cause})"
    return Outcome(fault.name, True, said=said, did="ask", named_s=_since(run, named_at))


def _stays(fault: Fault, run: Run, tick: Tick) -> Outcome:
    said = _looked_on(run, lambda health: health.cause == fault.cause if fault.cause else health.verdict != "ended")
    return Outcome(fault.name, True, said=said, did="nothing")


_JUDGES: Mapping[str, Callable[[Fault, Run, Tick], Outcome]] = {
    "restart": _goes_on_as_new_attempt,
    "change": _goes_on_as_new_attempt,
    "requeue": _goes_on_as_requeue,
    "ask": _asks,
    "nothing": _stays,
}


# --- looking ----------------------------------------------------------------------------------------------------


def _until(condition: Callable[[], Any], meanwhile: Tick, message: str) -> Any:
    until = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        report = meanwhile()
        assert time.monotonic() < until, f"{message} in {PATIENCE_S:.0f} s: {report}"
        time.sleep(TICK_EVERY_S)
    return result


def _looked_on(run: Run, well: Callable[[Health], bool]) -> str:
    """Ticks that do nothing, ask nobody and are clean in the end; returns what they say."""
    attempts = len(run.project.folder.attempts())

    def look() -> Report:
        report = run.tick()
        assert report.decision is None, f"{report.health}: {report.decision}"
        assert report.code in (0, DEGRADED), f"exit code {report.code}: {report.problems}"
        return report

    _until(lambda: well(look().health), lambda: None, "it was not called what it is")
    reports = [look() for _ in range(LOOKS)]
    assert len(run.project.folder.attempts()) == attempts, "a new attempt was made"
    assert reports[-1].code == 0, f"exit code {reports[-1].code}: {reports[-1].problems}"
    health = reports[-1].health
    return f"{health.verdict} ({health.cause})" if health.cause else health.verdict


def _named(fault: Fault, run: Run) -> Entry:
    """The first tick that called it by its name."""
    looks = [entry for entry in run.project.ledger.of_kind("observed") if entry.time >= run.struck_at - 1]
    named = [entry for entry in looks if _is_named(fault, entry)]
    assert named, f"no tick said {fault.finding or fault.cause}, but {[_said(entry) for entry in looks]}"
    return named[0]


def _is_named(fault: Fault, entry: Entry) -> bool:
    word, domain = _word(entry), str(entry.data["health"].get("domain", ""))
    if fault.finding and any(finding["kind"] == fault.finding for finding in entry.data["findings"]):
        return True
    return bool(fault.cause) and (word, domain) == (fault.cause, fault.domain)


def _said(entry: Entry) -> str:
    kinds = [str(finding["kind"]) for finding in entry.data["findings"] if finding["severity"] == "intervene"]
    health = entry.data["health"]
    return ", ".join([f"{_word(entry)} ({health.get('domain')})"] if _word(entry) else kinds or [health["verdict"]])


def _word(entry: Entry) -> str:
    health = entry.data["health"]
    return trouble(Health(health["verdict"], str(health.get("cause", ""))))


def _author_of(run: Run, attempt: int) -> str:
    plans = [entry.data for entry in run.project.ledger.of_kind("intent") if entry.data.get("attempt") == attempt]
    return str(plans[-1]["author"])


# --- what it cost -----------------------------------------------------------------------------------------------


def _costs(fault: Fault, run: Run, outcome: Outcome) -> Outcome:
    """Wait until the new start has come further than the old one."""
    began = time.monotonic()
    old, new = _old_and_new_start(run)
    before = max(steps_of(old), default=0)
    wait_for(lambda: max(steps_of(new), default=0) > before, 60, f"the next start does not get beyond step {before}")
    again = time.monotonic() - began
    lost = before + 1 - steps_of(new)[0]
    assert lost <= fault.lost, f"{lost} steps were lost, more than {fault.lost}"
    return replace(outcome, steps_lost=max(0, lost), gpu_s=round(_burnt(run) + again, 1))


def _old_and_new_start(run: Run) -> tuple[Path, Path]:
    """The TensorBoard folders of the start that was struck, and of the one that goes on."""

    wait_for(lambda: len(run.starts()) > 1, 30, "no second start has begun to train")
    return run.starts()[0], run.starts()[1]


def _burnt(run: Run) -> float:
    """For how long the allocation that was struck was still held; what accounting has forgotten, its record tells."""
    job = job_of(run.project.folder, run.project.ledger, 1)
    lives = _lives(run, job.job_id) if job else []
    records = [record.ended_at for record in load_exits(run.project.folder.attempt(1)) if record.ended_at]
    ended = lives[0][1] if lives else min(records, default=run.struck_at)
    return max(0.0, (ended or time.time()) - run.struck_at)


def _lives(run: Run, job: str) -> list[tuple[float, float | None]]:
    """(start, end) of all lives of a job that accounting remembers, oldest first."""
    argv = ["env", "SLURM_TIME_FORMAT=%s", "sacct", "-D", "-X", "-n", "-P", "-j", job, "-o", "Start,End"]
    rows = [row.split("|") for row in run.lab.run(argv).stdout.split()]
    return [(float(start), float(end) if end.isdigit() else None) for start, end in rows if start.isdigit()]


def _since(run: Run, moment: float) -> float:
    return round(max(0.0, moment - run.struck_at), 1)


# --- as a process -----------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--lab", type=Path, required=True)
    parser.add_argument("--in", type=Path, required=True, dest="folder")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--image", type=Path)
    options = parser.parse_args()
    rows: dict[str, Fault | Twin] = {row.name: row for row in (*FAULTS, *TWINS)}
    row = rows[options.name]
    setup = row.steady if isinstance(row, Twin) else row.setup
    run = make_run(options.folder, lab_in(options.lab), setup, fast=options.fast, base_image=options.image)
    os.environ["ADE_SITE"], os.environ["ADE_REGISTRY"] = str(run.site_file), str(run.project.registry)
    try:
        outcome = judge_twin(row, run) if isinstance(row, Twin) else judge_fault(row, run, fast=options.fast)
    except (AssertionError, AdeError) as error:
        outcome = Outcome(row.name, False, why=str(error))
    finally:
        run.end()
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
