# SPDX-License-Identifier: Apache-2.0
"""One verdict from two witnesses: what is true of a job, given what queue and accounting said. Pure.

Silence is not death, and one source is not proof (docs/architecture.md, invariant 2):

* The queue is the one list of live jobs. What it lists as pending or running is so, whatever accounting says: a
  requeued job's old row (PREEMPTED, NODE_FAIL, REQUEUED, in newer releases even COMPLETED) stands there for seconds.
* As long as the queue is silent nothing is final. Any end in accounting may be an earlier life of a requeued job; and
  nothing is lost by waiting, because no answer to an end can be submitted to a controller that does not answer.
* A job that the queue does not list is over only if accounting shows how. Accounting that fails, knows no row or still
  says RUNNING leaves it unknown (a lagging slurmdbd, or the wrong cluster). Where both did answer, it is ``unlisted``,
  and so is one that was CANCELLED by nobody: what it has left on disk tells more (``policy/health.py``).
* Accounting that the cluster has switched off is no witness at all: then the queue alone decides, and the exit record
  has to say how the job ended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ade_hpc.model import AccountingRow, JobTruth, JobView, Phase, QueueRow, Source, StepRow, Witness
from ade_hpc.scheduler.parse import OUT_OF_MEMORY_SIGNAL

# https://slurm.schedmd.com/job_state_codes.html; a flag is shown instead of the base state. COMPLETING still runs:
# its processes may be alive. CONFIGURING waits for its nodes to boot: nothing of ours has started.
PHASES: dict[str, Phase] = {
    **dict.fromkeys(("PENDING", "CONFIGURING", "POWER_UP_NODE", "EXPEDITING"), "pending"),
    **dict.fromkeys(("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"), "pending"),
    **dict.fromkeys(("RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING"), "running"),
    **dict.fromkeys(("COMPLETING", "STAGE_OUT"), "running"),
    **dict.fromkeys(("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"), "ended"),
    **dict.fromkeys(("OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"), "ended"),
    # These say nothing about where the job is: it may be held, elsewhere in a federation, or gone
    **dict.fromkeys(("LAUNCH_FAILED", "RECONFIG_FAIL", "REVOKED", "UPDATE_DB"), "unknown"),
}
# In accounting a requeue closes the row of a life
LIFE_OVER = frozenset({state for state, phase in PHASES.items() if phase == "ended"} | {"REQUEUED"})

LIFE_OPEN = frozenset(state for state, phase in PHASES.items() if phase in ("pending", "running")) - LIFE_OVER


def conclude(view: JobView, queue: Source, accounting: Source) -> JobTruth:
    """The truth about one job. ``restarts`` counts earlier lives and ``elapsed_s`` sums all of them.

    While the job is pending, ``start`` is the scheduler's estimate.
    """
    view = replace(view, accounting=_own_lives(view.accounting))
    witnesses = (_queue_says(view.queue, queue), _accounting_says(view.accounting, accounting))
    return replace(_verdict(view, queue, accounting), witnesses=witnesses)


def with_steps(truth: JobTruth, steps: Sequence[StepRow]) -> JobTruth:
    """An OOM kill of one ``srun`` among several leaves the job FAILED, and only that step says why."""
    killed = next((one for one in steps if one.state == "OUT_OF_MEMORY" or one.signal == OUT_OF_MEMORY_SIGNAL), None)
    if killed is None or (truth.phase, truth.state) != ("ended", "FAILED"):
        return truth
    said = Witness("accounting", f"step {killed.step}: OUT_OF_MEMORY", truth.end)
    return replace(truth, state="OUT_OF_MEMORY", witnesses=(*truth.witnesses, said))


def _verdict(view: JobView, queue: Source, accounting: Source) -> JobTruth:
    if not queue.answered:
        return _unknown(view, f"the queue did not answer{_because(queue)}")
    if view.queue is not None:
        return _listed(view, view.queue)
    if accounting.answer == "off":
        reason = "the queue no longer lists it, and this cluster keeps no accounting"
        return JobTruth("ended", reason=reason, said_by="queue")
    if not accounting.answered:
        return _unknown(view, f"the queue does not list it and accounting did not answer{_because(accounting)}")
    return _unlisted(view)


def _own_lives(rows: tuple[AccountingRow, ...]) -> tuple[AccountingRow, ...]:
    """Without those that slurmctld has lost: a requeue closes the row of the life before, and a job that is submitted
    next gets the id of a lost one. What can't be read may be a life."""
    return (*(row for row in rows[:-1] if row.state not in LIFE_OPEN and not row.by_nobody), *rows[-1:])


def _listed(view: JobView, row: QueueRow) -> JobTruth:
    phase = PHASES.get(row.state, "unknown")
    if phase == "unknown":
        return _unknown(view, f"the queue shows a state that says too little: {row.state or 'unreadable'}")
    life = _current_life(view.accounting, row)
    earlier = len(view.accounting) - (life is not None)
    if phase == "ended" and life is not None:
        if life.state in LIFE_OVER:
            return _ended(life, view, earlier, "queue and accounting")
        if life.submit is not None and row.submit is not None and life.submit > row.submit:
            return _unknown(view, "it was queued again while we looked")
    return JobTruth(
        phase,
        row.state,
        row.reason,
        nodes=row.nodes,
        restarts=earlier,
        elapsed_s=_elapsed(view),
        start=row.start,
        said_by="queue",
    )


def _unlisted(view: JobView) -> JobTruth:
    if not view.accounting:
        why = "neither the queue nor accounting knows it: purged, or submitted on another cluster?"
        return replace(_unknown(view, why), unlisted=True)
    newest = view.accounting[-1]
    if newest.state not in LIFE_OVER:
        said = newest.state or "something unreadable"
        return replace(_unknown(view, f"the queue does not list it, but accounting still says {said}"), unlisted=True)
    ended = _ended(newest, view, len(view.accounting) - 1, "accounting; the queue does not list it")
    return replace(ended, unlisted=newest.by_nobody)


def _current_life(rows: tuple[AccountingRow, ...], row: QueueRow) -> AccountingRow | None:
    """The accounting row of the life that the queue speaks of: a requeue changes the time of submission."""
    if not rows:
        return None
    newest = rows[-1]
    if row.submit is None or newest.submit is None:
        return newest if newest.state not in LIFE_OVER or newest.state == row.state else None
    return newest if newest.submit >= row.submit else None


def _ended(row: AccountingRow, view: JobView, earlier: int, said_by: str) -> JobTruth:
    return JobTruth(
        "ended",
        row.state,
        row.reason,
        row.exit_code,
        row.signal,
        row.nodes,
        earlier,
        _elapsed(view),
        row.start,
        row.end,
        said_by,
    )


def _unknown(view: JobView, reason: str) -> JobTruth:
    """Carries what was said last, for people; nothing may act on it."""
    rows = view.accounting
    state = view.queue.state if view.queue else rows[-1].state if rows else ""
    restarts = max(0, len(rows) - 1)
    return JobTruth("unknown", state, reason, restarts=restarts, elapsed_s=_elapsed(view), said_by="nobody")


def _queue_says(row: QueueRow | None, source: Source) -> Witness:
    if not source.answered:
        return Witness("queue", f"no answer{_because(source)}")
    if row is None:
        return Witness("queue", "does not list it")
    return Witness("queue", f"{row.state or 'unreadable'}{f' ({row.reason})' if row.reason else ''}")


def _accounting_says(rows: tuple[AccountingRow, ...], source: Source) -> Witness:
    """The newest life, as of the moment when it ended, began or was submitted."""
    if source.answer == "off":
        return Witness("accounting", "this cluster keeps none")
    if not source.answered:
        return Witness("accounting", f"no answer{_because(source)}")
    if not rows:
        return Witness("accounting", "does not know it")
    row = rows[-1]
    earlier = f" after {', '.join(one.state or 'unreadable' for one in rows[:-1])}" if rows[:-1] else ""
    over = row.state in LIFE_OVER
    code = f" {row.exit_code}:{row.signal}" if over else ""
    return Witness("accounting", f"{row.state or 'unreadable'}{code}{earlier}", row.end or row.start or row.submit)


def _elapsed(view: JobView) -> float:
    return sum(row.elapsed_s for row in view.accounting)


def _because(source: Source) -> str:
    return f" ({source.detail})" if source.detail else ""


# --- why it does not start --------------------------------------------------------------------------------------

ReasonClass = Literal["waits", "may-never-run", "held", "dead"]

# First match wins. https://slurm.schedmd.com/job_reason_codes.html; reasons are not always one word.
REASONS: tuple[tuple[str, ReasonClass, str], ...] = (
    (
        r"|None",
        "waits",
        "the scheduler has not come to it yet",
    ),
    (
        r"TimeLimit|NonZeroExitCode|RaisedSignal\b.*|OutOfMemory|InactiveLimit",
        "waits",
        "this is how its start before ended: it was queued again",
    ),
    (
        r"SystemFailure",
        "waits",
        "Slurm, a filesystem or the network failed it: ask the site if it does not start soon",
    ),
    (
        r"DependencyNeverSatisfied",
        "dead",
        "the job it depends on did not end as asked: cancel it and submit again",
    ),
    (
        r"ReservationDeleted|ReservationInvalid|DeadLine",
        "dead",
        "its reservation or deadline has passed: cancel it and submit again",
    ),
    (
        r"JobHeldUser",
        "held",
        "you hold it: scontrol release JOBID",
    ),
    (
        r"JobHeldAdmin",
        "held",
        "an administrator holds it: ask the site",
    ),
    (
        r"JobHoldMaxRequeue|JobLaunchFailure|.*requeued held|.*held state|.*special exit state|BurstBufferOperation",
        "held",
        "it was queued again too often or could not be launched: read its logs, then scontrol release JOBID",
    ),
    (
        r"(Assoc|QOS)Grp\w*",
        "waits",
        "your account or QOS has used up its share: it starts when others of the group end or the budget is raised",
    ),
    (
        r"\w*Max\w*Per(User|Account)\w*|AssocMax(Jobs|SubmitJob)\w*|(Association|QOS)(Job|Resource)Limit",
        "waits",
        "your own jobs fill your limit: it starts when one of them ends",
    ),
    (
        r"PartitionTimeLimit|\w*(Wall|TimeLimit)\w*",
        "may-never-run",
        "it asks for more time than is allowed here: lower time, or choose another partition or qos",
    ),
    (
        r"(Assoc|QOS)Max\w*|MaxMemPerLimit|QOSMin\w*|QOSUsageThreshold",
        "may-never-run",
        "one job may not ask for so much (or so little): change its resources, or choose another qos",
    ),
    (
        r"PartitionNodeLimit|PartitionConfig|(Bad)?Constraints",
        "may-never-run",
        "this partition can't give what it asks for: change time, nodes, constraint, gpus or partition",
    ),
    (
        r"InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed|AccountingPolicy",
        "may-never-run",
        "account and qos do not go with this partition: change account or qos",
    ),
    (
        r"PartitionDown|PartitionInactive",
        "waits",
        "the partition is closed: it starts when the site opens it again",
    ),
    (
        r"ReqNodeNotAvail.*|Nodes required for job are .*|NodeDown|FrontEndDown",
        "waits",
        "nodes that it could run on are down, drained or reserved (often ahead of maintenance)",
    ),
    (
        r"Dependency",
        "waits",
        "it waits for another job to end",
    ),
    (
        r"BeginTime",
        "waits",
        "its start time has not come, or it was queued again a moment ago",
    ),
    (
        r"Licenses|Reservation|BurstBuffer\w*|JobArrayTaskLimit|Prolog|Cleaning|FedJobLock|Power\w+|SchedDefer",
        "waits",
        "something that it needs is not free yet",
    ),
    (
        r"Priority|Resources",
        "waits",
        "others are ahead of it, or its resources are in use",
    ),
)


def explain_reason(reason: str) -> tuple[ReasonClass, str]:
    """What a pending job's reason means for its owner: (class, one sentence that says what to do).

    A reason that nobody has told us of waits: only known words may call a job dead.
    """
    words = reason.strip().replace("_", " ")
    for pattern, kind, sentence in REASONS:
        if re.fullmatch(pattern, words):
            return kind, sentence
    return "waits", f"Slurm says {words}"
