# SPDX-License-Identifier: Apache-2.0
"""From the text of ``squeue`` and ``sacct`` to rows. Pure, and trusting nothing.

Only fields that no user can fill are asked for, separated by a character that stands in none of them; and, as the last
one, the job's name, which may hold anything (Slurm prints it as it is): it tells a job from another one that was given
its id. Output for machines (``--json``) changes from release to release; these columns read alike from
22.05 to 26.05.

A line without a separator is noise (a site's banner) and is skipped. A damaged row whose job can still be told counts
as a row with an empty state, so that it makes that job unknown instead of absent.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from ade_hpc.model import AccountingRow, QueueRow, StepRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

SEPARATOR = "\x1f"
SQUEUE_FORMAT = SEPARATOR.join(("%i", "%T", "%V", "%S", "%N", "%r", "%j"))
SACCT_FORMAT = "JobID,State,ExitCode,DerivedExitCode,Submit,Start,End,ElapsedRaw,NodeList,Reason,JobName"
UNNAMED = ("", "allocation")  # a row of accounting whose name slurmdbd has not heard yet
JOB_ID = re.compile(r"[0-9]{1,10}(_[0-9]{1,10})?")

# NodeList and Reason of a job that has none; squeue, sacct and scontrol each have their own word for it
NOTHING = frozenset({"", "None", "None assigned", "N/A", "(null)"})
OUT_OF_MEMORY_SIGNAL = 125

Names = Mapping[str, str]
QueueRows = dict[str, QueueRow]
AccountingRows = dict[str, tuple[AccountingRow, ...]]


def parse_queue(text: str, asked: Collection[str], names: Names = MappingProxyType({})) -> tuple[QueueRows, list[str]]:
    """Rows of ``squeue -h -o SQUEUE_FORMAT`` by asked job id, and a note on every row that could not be read.

    names: of jobs by id, as far as they are known; what has that id and another name is left out.
    """
    rows: QueueRows = {}
    notes: list[str] = []
    for job_id, fields in _lines(text, asked, names, len(SQUEUE_FORMAT.split(SEPARATOR)), notes):
        try:
            _, state, submit, start, nodes, reason, _ = fields
            row = QueueRow(job_id, _state(state), _word(reason), _word(nodes), _time(submit), _time(start))
        except ValueError:
            notes.append(_note("squeue", fields))
            row = QueueRow(job_id, "")
        rows[job_id] = row
    return rows, notes


def parse_accounting(
    text: str, asked: Collection[str], names: Names = MappingProxyType({})
) -> tuple[AccountingRows, list[str]]:
    """Rows of ``sacct -D -X -P -n -o SACCT_FORMAT`` by asked job id, each job's lives oldest first, and notes."""
    found: dict[str, list[AccountingRow]] = {}
    notes: list[str] = []
    for job_id, fields in _lines(text, asked, names, len(SACCT_FORMAT.split(",")), notes):
        try:
            row = _accounting_row(job_id, fields)
        except ValueError:
            notes.append(_note("sacct", fields))
            row = AccountingRow(job_id, "")
        found.setdefault(job_id, []).append(row)
    return {job_id: tuple(sorted(rows, key=_age)) for job_id, rows in found.items()}, notes


def parse_steps(text: str, asked: Collection[str]) -> dict[str, tuple[StepRow, ...]]:
    """Steps from ``sacct -P -n -o SACCT_FORMAT`` by asked job id; what can't be read proves nothing: it is left out."""
    found: dict[str, list[StepRow]] = {}
    for line in text.split("\n"):
        row_id, _, rest = line.partition(SEPARATOR)
        job, _, step = row_id.strip().partition(".")
        for job_id in asked_ids(job, asked) if step and rest else ():
            with contextlib.suppress(ValueError):
                state, code, *_ = rest.split(SEPARATOR)
                found.setdefault(job_id, []).append(StepRow(step, _state(state), *_exit_code(code.strip())))
    return {job_id: tuple(steps) for job_id, steps in found.items()}


def parse_job_ids(text: str) -> list[str]:
    """The job ids that stand first on each row, whatever else does: for queries by name. Malformed ids are left out."""
    words = (line.partition(SEPARATOR)[0].strip() for line in text.splitlines() if SEPARATOR in line)
    return list(dict.fromkeys(word for word in map(_leader, words) if JOB_ID.fullmatch(word)))


def _accounting_row(job_id: str, fields: list[str]) -> AccountingRow:
    _, state, code, derived, submit, start, end, elapsed, nodes, reason, _ = fields
    exit_code, signal = _exit_code(code)
    if not re.fullmatch(r"[0-9]{1,12}", elapsed):
        raise ValueError(elapsed)
    return AccountingRow(
        job_id,
        out_of_memory(_state(state), derived.endswith(f":{OUT_OF_MEMORY_SIGNAL}")),
        exit_code,
        signal,
        _time(submit),
        _time(start),
        _time(end),
        float(elapsed),
        _word(nodes),
        _word(reason),
        by_nobody=(state.strip(), exit_code, signal) == ("CANCELLED", 0, 0),
    )


def out_of_memory(state: str, by_derived_code: bool) -> str:
    """An OOM kill inside ``srun`` leaves the job FAILED; only DerivedExitCode tells (measured, 22.05 to 26.05)."""
    return "OUT_OF_MEMORY" if state == "FAILED" and by_derived_code else state


def _lines(
    text: str, asked: Collection[str], names: Names, columns: int, notes: list[str]
) -> Iterator[tuple[str, list[str]]]:
    """Every row of an asked job as (that id, its fields)."""
    for line in text.split("\n"):
        if SEPARATOR not in line:
            if line.strip():
                notes.append(f"not a row: {line.strip()[:80]!r}")
            continue
        fields = [field.strip() for field in line.split(SEPARATOR, columns - 1)]
        for job_id in asked_ids(fields[0], asked):
            if is_named(fields[-1] if len(fields) == columns else "", names.get(job_id)):
                yield job_id, fields


def is_named(name: str, wanted: str | None) -> bool:
    """May the job of this name be the one that is asked for? Where either name is not known, it may."""
    return not wanted or name in (*UNNAMED, wanted)


def asked_ids(row_id: str, asked: Collection[str]) -> list[str]:
    """The asked ids that this row speaks of: itself, the leader of a het job, or tasks of a pending array."""
    if row_id in asked:
        return [row_id]
    array, bracket, ranges = row_id.partition("_[")
    if bracket:
        return [job_id for job_id in asked if job_id.startswith(f"{array}_") and _in_ranges(job_id, ranges)]
    leader = _leader(row_id)
    return [leader] if leader in asked else []


def _leader(row_id: str) -> str:
    return row_id.removesuffix("+0")


def _in_ranges(job_id: str, ranges: str) -> bool:
    """Is task 4 of ``1055_4`` in ``3-5,9%2]``? Stepped ranges (``0-8:2``) count whole: better too many than lost."""
    task = job_id.rpartition("_")[2]
    bounds = re.findall(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", re.split(r"[%\]]", ranges)[0])
    return JOB_ID.fullmatch(job_id) is not None and any(
        int(first) <= int(task) <= int(last or first) for first, last in bounds
    )


def _state(field: str) -> str:
    """``CANCELLED by 1003`` and ``CANCELLED+`` are CANCELLED; after a controller's restart the "by" of a job that it
    knows is gone anyway, but then the signal is there."""
    words = field.split()
    if not words:
        raise ValueError("no state")
    return words[0].rstrip("+")


def _word(field: str) -> str:
    return "" if field in NOTHING else field


def _exit_code(field: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,6})", field)
    if match is None:
        raise ValueError(field)
    return int(match[1]), int(match[2])


def _time(field: str) -> float | None:
    """Seconds (``SLURM_TIME_FORMAT=%s``) or, where a site's wrapper drops that, the local ISO time; else None."""
    if re.fullmatch(r"[0-9]{1,12}", field):
        return float(field)
    try:
        return datetime.fromisoformat(field).timestamp()
    except (ValueError, OverflowError, OSError):
        return None  # Unknown, None, N/A


def _age(row: AccountingRow) -> float:
    """Rows that can't be placed in time count as the newest: they must not be taken for history."""
    return row.submit if row.submit is not None else float("inf")


def _note(program: str, fields: list[str]) -> str:
    return f"{program} printed a row that can't be read: {' | '.join(fields)[:120]!r}"
