# SPDX-License-Identifier: Apache-2.0
"""Was it right? Judged by `sacct -D`, the machine's list of processes, event files, git and exit records.

What ade-hpc says of itself (its ledger, its report) is what is judged here, never what judges.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from benchmarks.week_cast import LIVE_CAP, SUBMISSIONS_CAP, Member
from benchmarks.week_watch import Life
from tests.support.lab import Lab

LIVE = ("PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "COMPLETING")
HOUR_S = 3600.0
COLUMNS = "JobID,JobName,State,Submit,Start,End,ElapsedRaw,AllocTRES,NodeList"
UNSAVED_S = 15.0  # slurmctld saves every five seconds, and the machine is busy
SAMPLING_S = 1.0  # how far two looks at the list of processes may be apart on a busy machine


@dataclass(frozen=True)
class JobLife:
    """One row of `sacct -D -X`: one life of a job. Times are POSIX seconds, None where there is none."""

    job: str
    experiment: str
    attempt: int
    state: str
    submit: float
    start: float | None
    end: float | None
    elapsed_s: float
    gpus: int


def accounting(lab: Lab) -> list[JobLife]:
    """Every life of every job of ours, oldest first; of those whose names accounting has not heard, as the queue has
    them."""
    argv = ["env", "SLURM_TIME_FORMAT=%s", "sacct", "-D", "-X", "-n", "-P", "-S", "now-1days", "-o", COLUMNS]
    rows = (line.split("|") for line in lab.run(argv, timeout=120).stdout.splitlines())
    found = [life for row in rows if (life := _job_life(row)) is not None]
    known = {life.job for life in found}
    return [*found, *(life for life in _queued(lab) if life.job not in known)]


def _queued(lab: Lab) -> Iterator[JobLife]:
    argv = ["env", "SLURM_TIME_FORMAT=%s", "squeue", "-h", "-t", "all", "-o", "%i|%j|%T|%V|%S|%b|%M"]
    for job, name, state, submit, start, gres, used in (
        line.split("|") for line in lab.run(argv, timeout=120).stdout.splitlines()
    ):
        *_, minutes, seconds = f"0:{used}".split(":")
        elapsed = str(60 * int(minutes) + int(seconds))
        row = (job, name, state, submit, start, "", elapsed, f"gres/gpu={gres.rpartition(':')[2]}", "")
        if (life := _job_life(row)) is not None:
            yield life


def _job_life(row: Sequence[str]) -> JobLife | None:
    job, name, state, submit, start, end, elapsed, tres, nodes = row
    token = re.fullmatch(r"ade-(.+)-(\d{4})-[0-9a-f]{8}", name)
    if token is None or (state == "FAILED" and nodes == "None assigned"):  # the trace of an sbatch that was refused
        return None
    gpus = re.search(r"gres/gpu=(\d+)", tres)
    moment = [float(text) if text.isdigit() else None for text in (start, end)]
    used = int(gpus[1]) if gpus else 0
    return JobLife(job, token[1], int(token[2]), state.split()[0], float(submit), *moment, float(elapsed or 0), used)


def lost_by_slurm(
    folder: Path, rows: Sequence[JobLife], lives: Sequence[Life], killed: Sequence[float]
) -> Iterator[JobLife]:
    """Jobs that were submitted just before slurmctld was killed, and that neither it nor accounting has heard of since:
    seen by the list of processes and by their exit records alone."""
    known = {(row.attempt, row.job) for row in rows}
    for entry in _entries(folder / "ledger.jsonl"):
        if entry["kind"] != "submitted" or not any(0 <= moment - entry["time"] < UNSAVED_S for moment in killed):
            continue
        attempt, job = int(entry["data"]["attempt"]), str(entry["data"]["job_id"])
        if (attempt, job) not in known:
            mine = [life for life in lives if (life.experiment, life.attempt) == (folder.name, attempt)]
            seen_s = sum(life.last - life.first for life in mine)
            state = "COMPLETED" if _completed(folder, attempt) else "LOST"
            yield JobLife(job, folder.name, attempt, state, entry["time"], None, None, seen_s, rows[-1].gpus)


def _completed(folder: Path, attempt: int) -> bool:
    records = [json.loads(path.read_text()) for path in folder.glob(f"attempts/{attempt:04d}/exits/[0-9]*.json")]
    return any(record["final"] and record["cause"] == "completed" for record in records)


def of(rows: Sequence[JobLife], name: str) -> list[JobLife]:
    return [row for row in rows if row.experiment == name]


# --- one life at a time ---------------------------------------------------------------------------------------------


def overlaps(lives: Sequence[Life]) -> Iterator[str]:
    """Two trainers of one experiment at once, by the list of processes."""
    mine = defaultdict(list)
    for life in lives:
        mine[life.experiment].append(life)
    for name, found in mine.items():
        for one, other in itertools.combinations(sorted(found, key=lambda life: life.first), 2):
            shared = min(one.last, other.last) - other.first
            if shared > 0:
                which = f"{one.attempt} (pid {one.pid}) and {other.attempt} (pid {other.pid})"
                yield f"{name}: trainers of attempts {which} lived at once for {shared:.1f} s"


def event_overlaps(folder: Path) -> Iterator[str]:
    """Two starts that wrote events at the same time, by the events' own times."""
    spans = [(*span, start) for start in sorted(folder.glob("attempts/*/tensorboard/*")) if (span := _span(start))]
    for (_, until, one), (begin, _, other) in itertools.pairwise(sorted(spans)):
        if begin < until:
            yield f"{folder.name}: {one.relative_to(folder)} wrote until {until - begin:.1f} s after {other} began"


def _span(start: Path) -> tuple[float, float] | None:
    times = [event.wall_time for file in sorted(start.glob("events.*")) for event in EventFileLoader(str(file)).Load()]
    return (min(times), max(times)) if times else None


# --- budgets and caps -----------------------------------------------------------------------------------------------


def budgets(member: Member, rows: Sequence[JobLife]) -> Iterator[str]:
    """Attempts and GPU-hours by accounting; what only watches or proposes makes no attempt of its own."""
    attempts = len({row.attempt for row in rows})
    hours = sum(row.elapsed_s * row.gpus for row in rows) / HOUR_S
    if attempts > member.bounds["max_attempts"]:
        yield f"{member.name}: {attempts} attempts of {member.bounds['max_attempts']}"
    if hours > member.bounds["gpu_hours"]:
        yield f"{member.name}: {hours:.3f} GPU-hours of {member.bounds['gpu_hours']}"
    if member.bounds["mode"] != "auto" and attempts > 1:
        yield f"{member.name}: {attempts} attempts in mode {member.bounds['mode']}"


def caps(rows: Sequence[JobLife], sbatched: Sequence[float]) -> Iterator[str]:
    """Experiments alive at once (one attempt and its successor in the queue count once), and submissions an hour."""
    for row in rows:
        alive = {one.experiment for one in rows if one.submit <= row.submit < (one.end or time.time())}
        if len(alive) > LIVE_CAP:
            yield f"{len(alive)} were alive when job {row.job} was submitted, the cap is {LIVE_CAP}: {sorted(alive)}"
    for moment in sbatched:
        count = sum(1 for one in sbatched if moment - HOUR_S < one <= moment)
        if count > SUBMISSIONS_CAP:
            yield f"{count} calls of sbatch within an hour; the cap is {SUBMISSIONS_CAP}"
            return


# --- the ledger and git ---------------------------------------------------------------------------------------------


def ledger_against_accounting(folder: Path, rows: Sequence[JobLife]) -> Iterator[str]:
    """Every job that the ledger has is one of accounting, and the other way round."""
    entries = list(_entries(folder / "ledger.jsonl"))
    told = {
        (entry["data"]["attempt"], str(entry["data"]["job_id"])) for entry in entries if entry["kind"] == "submitted"
    }
    real = {(row.attempt, row.job) for row in rows}
    if told != real:
        yield f"{folder.name}: only in the ledger {sorted(told - real)}, only in accounting {sorted(real - told)}"
    numbers = [entry["seq"] for entry in entries]
    if numbers != sorted(set(numbers)):
        yield f"{folder.name}: numbers of the ledger come twice or out of order"


def _entries(ledger: Path) -> Iterator[dict[str, Any]]:
    """Its lines: a checksum and an object each. A tick that was killed may leave half a line."""
    for line in ledger.read_text().splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line.partition(" ")[2])


def git(project: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(project), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout


def commits(project: Path, name: str) -> list[str]:
    """The changes that were committed on the experiment's branch: one unified diff each, oldest first."""
    made = git(project, "rev-list", "--reverse", f"main..ade/{name}").split()
    return [git(project, "show", "--format=", "-U0", commit) for commit in made]


def repository(member: Member, project: Path) -> Iterator[str]:
    """The user's checkout is as it was, and one changed scalar is one changed line, within its range."""
    if git(project, "status", "--porcelain") or git(project, "rev-parse", "--abbrev-ref", "HEAD").strip() != "main":
        yield f"{member.name}: the checkout of the user is not as it was"
    for diff in commits(project, member.name):
        lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        values = [float(line.split(":")[1]) for line in lines if line.startswith("+") and "lr:" in line]
        if len(lines) != 2 or len(values) != 1 or not 1e-4 <= values[0] <= 1.0:
            yield f"{member.name}: a commit changes {lines}"


# --- the report -----------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """What the report says of one experiment."""

    name: str = ""
    text: str = ""
    numbers: dict[str, str] | None = None
    added: tuple[str, ...] = ()

    @property
    def needs_a_person(self) -> bool:
        return "Needs a person" in self.text

    @property
    def jobs(self) -> set[str]:
        return set(re.findall(r"\bjob (\d+)", self.text.partition("Attempts")[2].partition("What happened")[0]))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sections: list[Told] = []
        self._where: tuple[str, str] = ("", "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "section":
            self.sections.append(Told(numbers={}))
        self._where = (given.get("data-is", ""), f"{tag} {given.get('class', '')}")

    def handle_data(self, data: str) -> None:
        if not self.sections:
            return
        one, (key, where) = self.sections[-1], self._where
        one.text += data + " "
        if key and one.numbers is not None:
            one.numbers.setdefault(key, data)
        if where == "h2 ":
            one.name = one.name or data
        if where == "span plus":
            one.added = (*one.added, data)


def read_report(page: str) -> dict[str, Told]:
    reader = _Reader()
    reader.feed(page)
    return {one.name: one for one in reader.sections}


def report(member: Member, told: Told | None, rows: Sequence[JobLife], project: Path, tokens: int) -> Iterator[str]:
    """Its numbers against accounting, its diffs against git, its tokens against what the server gave."""
    if told is None or told.numbers is None:
        yield f"{member.name}: is not in the report"
        return
    jobs, numbers = {row.job for row in rows}, told.numbers
    hours = sum(row.elapsed_s * row.gpus for row in rows) / HOUR_S
    said = float(numbers.get("gpu-hours-used", "nan"))
    moving = 30 / HOUR_S if any(row.state in LIVE for row in rows) else 3 / HOUR_S
    if not abs(said - hours) <= moving + 0.005:
        yield f"{member.name}: the report says {said} GPU-hours used, accounting {hours:.4f}"
    if told.jobs != jobs:
        yield f"{member.name}: the report names jobs {sorted(told.jobs)}, accounting {sorted(jobs)}"
    added = [
        line[1:].strip() for diff in commits(project, member.name) for line in diff.splitlines() if line[:1] == "+"
    ]
    real = sorted(line for line in added if "lr:" in line)
    if sorted(line[1:].strip() for line in told.added) != real:
        yield f"{member.name}: the report shows {told.added}, git has {real}"
    if int(numbers.get("tokens", 0)) != tokens:
        yield f"{member.name}: the report says {numbers.get('tokens')} tokens, the server gave {tokens}"


def left_alone(member: Member, told: Told | None, rows: Sequence[JobLife], *, cancelled: bool) -> Iterator[str]:
    """Nobody's run is dead without a word: it lives, is done, was cancelled by its user, or a person is called."""
    last = max(rows, key=lambda row: (row.attempt, row.submit), default=None)
    if last is None or last.state in LIVE or last.state == "COMPLETED" or (cancelled and last.state == "CANCELLED"):
        return
    if told is None or not (told.needs_a_person or "Only watched" in told.text):
        yield f"{member.name}: its last job {last.job} is {last.state}, and nobody is called"


def brought_back(name: str, at: float, rows: Sequence[JobLife]) -> Iterator[str]:
    """What its user has cancelled is never submitted again."""
    late = [row.job for row in rows if row.submit > at + 1]
    if late:
        yield f"{name}: was cancelled by its user, and jobs {late} came after"
