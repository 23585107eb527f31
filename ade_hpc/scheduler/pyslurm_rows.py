# SPDX-License-Identifier: Apache-2.0
"""From what ``pyslurm_source`` printed to the rows that ``parse`` makes of text. Pure, and trusting nothing."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ade_hpc.model import AccountingRow, QueueRow
from ade_hpc.scheduler.parse import NOTHING, OUT_OF_MEMORY_SIGNAL, Names, asked_ids, is_named, out_of_memory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def queue_rows(text: str, asked: Collection[str], names: Names = MappingProxyType({})) -> dict[str, QueueRow]:
    """By asked job id; names as in ``parse_queue``. Raises ValueError where ``pyslurm_source`` prints no such thing."""
    return {
        job_id: QueueRow(
            job_id,
            _word(job["state"]),
            _word(job["state_reason"]),
            _word(job["allocated_nodes"]),
            _time(job["submit_time"]),
            _time(job["start_time"]),
        )
        for job_id, job in _jobs(text, asked, names)
    }


def accounting_rows(
    text: str, asked: Collection[str], names: Names = MappingProxyType({})
) -> tuple[dict[str, tuple[AccountingRow, ...]], list[str]]:
    """The last life of each asked job, and the ids of those of which ``sacct`` tells more: of earlier lives, and of who
    cancelled it (not every release of pyslurm knows).

    Raises ValueError where this is not what ``pyslurm_source`` prints.
    """
    rows: dict[str, tuple[AccountingRow, ...]] = {}
    unsure: list[str] = []
    for job_id, job in _jobs(text, asked, names):
        if job["requeue_count"] != 0 or _by_nobody(job):  # null: this release does not say
            unsure.append(job_id)
        rows[job_id] = (_accounting_row(job_id, job),)
    return rows, unsure


def _accounting_row(job_id: str, job: dict[str, Any]) -> AccountingRow:
    return AccountingRow(
        job_id,
        out_of_memory(_word(job["state"]), job["derived_exit_code_signal"] == OUT_OF_MEMORY_SIGNAL),
        int(job["exit_code"] or 0),
        int(job["exit_code_signal"] or 0),
        _time(job["submit_time"]),
        _time(job["start_time"]),
        _time(job["end_time"]),
        _time(job["elapsed_time"]) or 0.0,
        _word(job["nodelist"]),
        _word(job["state_reason"]),
        _by_nobody(job),
    )


def _by_nobody(job: dict[str, Any]) -> bool:
    ended_by = (job["cancelled_by"], job["exit_code"], job["exit_code_signal"])
    return bool(job["state"] == "CANCELLED" and not any(ended_by))


def _jobs(text: str, asked: Collection[str], names: Names) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        jobs = json.loads(text)["jobs"]
        for job in jobs:
            for job_id in asked_ids(_job_id(job), asked):
                if is_named(str(job["name"] or ""), names.get(job_id)):
                    yield job_id, job
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"pyslurm gave something unreadable: {text[:80]!r}") from error


def _job_id(job: dict[str, Any]) -> str:
    """As Slurm's clients write it. Task 0 comes out of pyslurm as no task at all, like the tasks that still wait."""
    array, task, waiting = job["array_id"], job["array_task_id"], job["array_tasks_waiting"]
    if array is None:
        return str(job["id"])
    return f"{array}_[{_ranges(waiting)}]" if waiting else f"{array}_{task or 0}"


def _ranges(waiting: str) -> str:
    """The queue says ``3-5``, accounting ``0x38``: one bit for each task."""
    if not waiting.startswith("0x"):
        return waiting
    return ",".join(str(task) for task, bit in enumerate(reversed(f"{int(waiting, 16):b}")) if bit == "1")


def _word(value: object) -> str:
    text = str(value or "").strip()
    return "" if text in NOTHING else text


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
