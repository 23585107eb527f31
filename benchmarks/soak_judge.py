# SPDX-License-Identifier: Apache-2.0
"""What must hold after a story of the soak, by the witnesses that killing can't silence.

A killed payload leaves no exit record, so when a trainer lived is taken from all that there is: the wall times of its
own event records, the heartbeat of its start, its exit record, and accounting's rows.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ade_hpc.job.checkpoints import Checkpoint, is_valid, list_checkpoints, newest_valid
from ade_hpc.launch.lineage import job_of
from ade_hpc.launch.plan import Plan
from ade_hpc.metrics.collect import collect
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import load_attempt, load_exits, load_heartbeats
from benchmarks.soak_lab import SoakLab, payloads
from benchmarks.soak_story import EVERY, HOT_FROM, Story
from scripts.slurm_lab import processes
from tests.support.project import Project

PATTERN = "step-{step}.pt"
GONE_S = 20.0  # within which the last processes of an experiment that has ended must be gone
SLACK_S = 2.0  # between the look at the checkpoints and the intent


@dataclass(frozen=True)
class Life:
    """One start past the fence: when its trainer lived, and the steps that it logged (none: 0 and 0)."""

    attempt: int
    restart: int
    begin: float
    end: float
    first_step: int
    last_step: int

    def __str__(self) -> str:
        return f"start {self.attempt}.{self.restart}"


def judge(story: Story, lab: SoakLab) -> list[str]:
    """Everything that is wrong, one sentence each, which begins with its kind."""
    project = story.project
    lives = sorted(lives_of(project), key=lambda life: life.begin)
    return [
        *_overlaps(lives),
        *_overlaps_in_accounting(project, lab, lives),
        *_ledger(project),
        *_lost_checkpoints(project, lives),
        *_result(story),
        *_left_behind(project),
    ]


def lives_of(project: Project) -> Iterator[Life]:
    for attempt in project.folder.attempts():
        ended = {record.restart: record for record in load_exits(attempt) if record.trainer_started_at}
        beats = {beat.restart: beat for beat in load_heartbeats(attempt) if beat.trainer_started_at}
        logged = {int(folder.name): collect([folder]).series.get("lr") for folder in attempt.starts()}
        for restart in sorted({*ended, *beats, *logged}):
            series, record, beat = logged.get(restart), ended.get(restart), beats.get(restart)
            times = [float(series.wall_times.min()), float(series.wall_times.max())] if series is not None else []
            begins = times[:1] + [one.trainer_started_at for one in (record, beat) if one and one.trainer_started_at]
            ends = times[1:] + ([record.ended_at] if record and record.final and record.ended_at else [])
            ends += [beat.written_at] if beat and not (record and record.final) else []
            steps = (int(series.steps[0]), int(series.steps[-1])) if series is not None else (0, 0)
            if begins:
                yield Life(attempt.number, restart, min(begins), max([*ends, *begins]), *steps)


def _overlaps(lives: list[Life]) -> Iterator[str]:
    for one, other in itertools.combinations(lives, 2):
        if other.begin < one.end:
            yield f"overlap: {one} and {other} by {min(one.end, other.end) - other.begin:.2f} s"


def _overlaps_in_accounting(project: Project, lab: SoakLab, lives: list[Life]) -> Iterator[str]:
    trained = {life.attempt for life in lives}
    jobs = (job_of(project.folder, project.ledger, number) for number in sorted(trained))
    spans = sorted(span for job in jobs if job is not None for span in lab.lives(job.job_id))
    for (_, end), (start, _) in itertools.pairwise(spans):
        if end > start:
            yield f"overlap: in accounting: {spans}"


def _ledger(project: Project) -> Iterator[str]:
    ledger = project.ledger
    if ledger.two_writers:
        yield "ledger: two writers"
    if not ledger.entries:
        yield "ledger: can't be read"


def _lost_checkpoints(project: Project, lives: list[Life]) -> Iterator[str]:
    """Every start went on from the newest whole checkpoint that it could have had, and the last one could again."""
    for attempt in project.folder.attempts():
        if load_attempt(attempt) is not None:
            yield from _lost_between_attempts(project, attempt)
    for life in lives:
        had = _had(project.folder.attempt(life.attempt), life)
        if life.first_step and life.first_step <= had:
            yield f"checkpoint: {life} began at step {life.first_step}, though there was a checkpoint of step {had}"
    last = project.folder.attempts()[-1]
    trained = any(life.attempt == last.number for life in lives)
    if trained and not any(newest_valid(folder, PATTERN, None) for folder in (last.checkpoints, last.start)):
        yield f"checkpoint: attempt {last.number} can't be resumed: it has no whole checkpoint"


def _lost_between_attempts(project: Project, attempt: AttemptDir) -> Iterator[str]:
    """Was the parent the newest healthy checkpoint? A hot run's weights are spoilt from one save before it turns."""
    intent = next(entry for entry in project.ledger.of_kind("intent") if entry.data["attempt"] == attempt.number)
    plan = Plan.from_json(intent.data)
    if plan.replaces is None:
        return
    old = project.folder.attempt(plan.replaces)
    record = load_attempt(old)
    hot = record is not None and record.config["optimizer.lr"] == 0.5
    limit = HOT_FROM - 2 * EVERY if hot else float("inf")
    own = [one for one in list_checkpoints(old.checkpoints, PATTERN) if one.completed_at < intent.time - SLACK_S]
    steps = [_step(one) for one in [*own, *list_checkpoints(old.start, PATTERN)] if is_valid(one.path, None)]
    best = max((step for step in steps if step <= limit), default=0)
    got = (plan.parent.step or 0) if plan.parent else 0
    if got < best:
        yield f"checkpoint: attempt {attempt.number} began from step {got}, and attempt {old.number} had saved {best}"


def _had(attempt: AttemptDir, life: Life) -> int:
    own = [one for one in list_checkpoints(attempt.checkpoints, PATTERN) if one.completed_at < life.begin]
    own += list_checkpoints(attempt.start, PATTERN)
    return max((_step(one) for one in own if is_valid(one.path, None)), default=0)


def _step(checkpoint: Checkpoint) -> int:
    return checkpoint.step or 0


def _result(story: Story) -> Iterator[str]:
    """The change was made once for each submission by a person that ran hot, and the last attempt learnt with it."""
    project = story.project
    last = load_attempt(project.folder.attempts()[-1])
    if last is None or last.config["optimizer.lr"] != 0.05:
        yield f"result: the last attempt runs with {last.config if last else 'no config'}"
    changes = project.git("log", "--format=%s", "HEAD..ade/tiny").count("optimizer.lr: 0.5 -> 0.05")
    if changes > story.submissions:
        yield f"result: {changes} commits of a change that was needed {story.submissions} times at the most"


def _left_behind(project: Project) -> Iterator[str]:
    root = project.path.parent
    until = time.monotonic() + GONE_S
    while (left := [*payloads(root), *_trainers(root)]) and time.monotonic() < until:
        time.sleep(0.5)
    if left:
        yield f"left behind: processes: {left}"


def _trainers(root: Path) -> list[int]:
    mine = f"{root}/".encode()
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    commands = ((number, processes.read_proc(number, "cmdline")) for number in numbers)
    return [number for number, command in commands if b"train.py" in command and mine in command]
