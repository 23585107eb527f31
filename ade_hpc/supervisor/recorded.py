# SPDX-License-Identifier: Apache-2.0
"""Past ticks as snapshots again: from the ledger and the event files of an experiment, or from any TensorBoard folder.

What a tick saw of its job, its health and its budget stands in its `observed` line (``record.py``). Its curves are cut
out of the event files at the last record that the tick had seen, and counted: where the count is another one than the
tick's, the moment says that it is not exact. Files are read once, nothing is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ade_hpc.errors import SpecError, StoreError
from ade_hpc.metrics.collect import Logs, gather
from ade_hpc.metrics.series import Curves
from ade_hpc.model import Health, JobTruth, Scalar
from ade_hpc.policy.snapshot import Past, Snapshot
from ade_hpc.spec.preferences import Preferences
from ade_hpc.spec.request import HOUR_S, Request
from ade_hpc.store.layout import ExperimentDir
from ade_hpc.store.ledger import Entry, Ledger, read_ledger
from ade_hpc.store.records import AttemptRecord, load_attempt
from ade_hpc.supervisor.past import changed_from

LEAST_TICKS, MOST_TICKS = 20, 1000


@dataclass(frozen=True, eq=False)
class Moment:
    """One tick of the past.

    before: the ledger as the tick found it. happened: the decision that was taken, as the ledger has it; None: none.
    answers: what a model proposed in this tick. preferences_sha256: of the wishes that held. exact: nothing of the
    snapshot had to be guessed.
    """

    snapshot: Snapshot
    health: Health
    before: Ledger = field(default_factory=lambda: Ledger(()))
    happened: Mapping[str, Any] | None = None
    answers: tuple[Mapping[str, Any], ...] = ()
    preferences_sha256: str = ""
    exact: bool = True


@dataclass(frozen=True, eq=False)
class Recorded:
    """The past ticks of an experiment, with everything that they saw. ``notes``: what is damaged, a sentence each."""

    name: str
    ledger: Ledger
    attempts: Mapping[int, AttemptRecord]
    logs: Mapping[int, Logs]

    @property
    def notes(self) -> tuple[str, ...]:
        return self.ledger.notes

    @cached_property
    def _requests(self) -> Mapping[int, Request]:
        """What each attempt asked of Slurm; read once, for there may be thousands of ticks."""
        return {number: record.request() for number, record in self.attempts.items()}

    def moments(self, preferences: Preferences) -> Iterator[Moment]:
        """The ticks in order; which wishes are replayed makes no difference to what was seen."""
        for index, entry in enumerate(self.ledger.entries):
            if entry.kind == "observed":
                yield self._moment(entry, replace(self.ledger, entries=self.ledger.entries[:index]))

    def _moment(self, entry: Entry, before: Ledger) -> Moment:
        data = entry.data
        try:
            snapshot, health, points = self._snapshot(entry), _load(Health, data["health"]), data["seen"]["points"]
        except (KeyError, TypeError, ValueError, ValidationError, SpecError) as error:
            raise StoreError(
                f"{self.name}: ledger line {entry.seq} can't be replayed: another version wrote it, or its attempt's "
                "folder is gone"
            ) from error
        answers = self._answers(data.get("tick"))
        happened = data.get("decision") or (answers[-1] if answers else None)
        exact = sum(len(series) for series in snapshot.curves.series.values()) == points
        return Moment(snapshot, health, before, happened, answers, str(data.get("preferences_sha256")), exact)

    def _snapshot(self, entry: Entry) -> Snapshot:
        data = entry.data
        record, until = self.attempts[data["attempt"]], data["seen"]["until"]
        changed = changed_from(self.ledger, record.number) if record.changes else None
        return Snapshot(
            experiment=self.name,
            now=entry.time,
            attempt=record.number,
            truth=_load(JobTruth, data["job"]),
            superseded_by=data["superseded_by"],
            paused_by=data["paused_by"],
            curves=self._curves(record.number, until),
            config=record.config,
            changes=record.changes,
            before=self._curves(changed, until),
            past=_load(Past, {key: _number(value) for key, value in data["past"].items()}),
            degraded=tuple(data["degraded"]),
            step=data["seen"].get("step"),
            signature=str(data["seen"].get("signature", "")),
            resumable=bool(data["seen"].get("resumable")),
            takes_weights=bool(data["seen"].get("takes_weights")),
            request=self._requests[record.number],
        )

    def _curves(self, attempt: int | None, until: Any) -> Curves:
        """As far as the tick had read. until: None where it had seen no event."""
        if attempt is None or attempt not in self.logs or until is None:
            return Curves()
        return self.logs[attempt].until(float(until))

    def _answers(self, tick: object) -> tuple[Mapping[str, Any], ...]:
        """What a model proposed in this tick, after the deterministic pass."""
        said = [entry for entry in self.ledger.of_kind("answered") if entry.data.get("tick") == tick]
        return tuple(one for entry in said for one in entry.data.get("decisions", ()))


def recorded(folder: ExperimentDir) -> Recorded:
    """Read the past of an experiment. Raises StoreError where its run folder can't be read."""
    ledger = read_ledger(folder.ledger)
    numbers = {entry.data.get("attempt") for entry in ledger.of_kind("observed")}
    attempts = [attempt for attempt in folder.attempts() if attempt.number in numbers]
    records = {one.number: record for one in attempts if (record := load_attempt(one)) is not None}
    return Recorded(folder.name, ledger, records, {one.number: gather(one.starts()) for one in attempts})


@dataclass(frozen=True, eq=False)
class Simulated:
    """Ticks that nobody made, over a log that somebody left: a healthy process that is never touched.

    times: POSIX seconds, by the log's own clock.
    """

    name: str
    logs: Logs
    times: tuple[float, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        return self.logs.notes

    def moments(self, preferences: Preferences) -> Iterator[Moment]:
        """A log holds no config: a tunable's value is the first one that was logged under its tag. Nor does it hold
        what the trainer can do: all of it is taken for granted."""
        config = _config_in(self.logs.whole(), preferences)
        for time in self.times:
            snapshot = Snapshot(
                experiment=self.name,
                now=time,
                attempt=1,
                truth=JobTruth("running", "RUNNING"),
                curves=self.logs.until(time),
                config=config,
                past=Past(attempts=1),
                takes_weights=True,
            )
            yield Moment(snapshot, Health("running"))


def simulated(folder: Path, every_s: float | None = None) -> Simulated:
    """Ticks over a TensorBoard folder: one an hour, or more often so that there are at least 20, or every ``every_s``.

    There are never more than 1000. Raises StoreError where there are no scalars.
    """
    logs = gather([folder])
    span = _span(logs.whole())
    if span is None:
        why = f" ({logs.notes[0]})" if logs.notes else ""
        raise StoreError(f"{folder}: holds no scalars in TensorBoard event files{why}")
    first, last = span
    step = max(every_s or min(HOUR_S, (last - first) / LEAST_TICKS), (last - first) / MOST_TICKS)
    count = math.ceil((last - first) / step - 1e-9) if step > 0 else 1
    times = (*(first + step * number for number in range(1, count)), last)
    return Simulated(folder.resolve().name, logs, times)


def _span(curves: Curves) -> tuple[float, float] | None:
    """The first and the last moment of a log; clocks that are no numbers are left out."""
    ends = [
        float(time) for one in curves.series.values() if len(one) for time in (one.wall_times[0], one.wall_times[-1])
    ]
    finite = [time for time in ends if math.isfinite(time)]
    return (min(finite), max(finite)) if finite else None


def _config_in(curves: Curves, preferences: Preferences) -> dict[str, Scalar]:
    logged = {key: curves.series.get(tunable.tag or "") for key, tunable in preferences.tunables.items()}
    # event files hold 32-bit floats: seven digits are what was meant
    return {key: float(f"{one.values[0]:.7g}") for key, one in logged.items() if one is not None and len(one)}


def _load(kind: Any, value: object) -> Any:
    return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)


def _number(value: object) -> object:
    """Infinity stands as a word in the ledger, because JSON has none."""
    return math.inf if value == "inf" else value
