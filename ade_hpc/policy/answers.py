# SPDX-License-Identifier: Apache-2.0
"""The answers: what is done about each way in which a job can fall into trouble, where no rule says otherwise. Pure.

One table (ANSWERS; docs/answers.md shows it). A rule of preferences.md whose ``when: {health: ...}`` holds comes
first, the guard judges every answer, and in mode ``observe`` it is only said. Nothing here looks at curves for their
own sake: a run whose curves have gone bad is not started again, because that would repeat it.

Progress is the measure: a job that dies but gets further each time is worth another start, one that dies at the same
place is not (breaker.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ade_hpc.model import Finding, Health, Proposal
from ade_hpc.policy.breaker import death_of, fruitless, tripped
from ade_hpc.policy.health import trouble
from ade_hpc.policy.snapshot import Death, Snapshot
from ade_hpc.scheduler.states import explain_reason

AUTHOR = "answer:"
# Ends that speak against the node, if they come to different experiments on it
NODE_FAULTS = frozenset({"node-fail", "boot-fail", "lost", "stalled"})
# Weights that are spoilt, or soon will be: to go on from the newest checkpoint repeats it
POISON = frozenset({"nan", "diverging", "collapse"})


@dataclass(frozen=True)
class Case:
    """One job in trouble.

    deaths: this one last, before it those after which it was only started again. poison: what has spoilt the weights,
    so that an earlier checkpoint is needed.
    """

    snapshot: Snapshot
    word: str
    deaths: tuple[Death, ...]
    poison: Finding | None = None

    @property
    def now(self) -> Death:
        return self.deaths[-1]

    def restart(self, why: str, *, elsewhere: bool = False) -> Proposal:
        nodes = (self.now.nodes,) if elsewhere and self.now.nodes else ()
        author = AUTHOR + self.word
        return Proposal("restart", author, why, resume="last-healthy", finding=self.poison, exclude_nodes=nodes)

    def ask(self, why: str) -> Proposal:
        return Proposal("ask", AUTHOR + self.word, why)


@dataclass(frozen=True)
class Answer:
    """One row of the table. judgement: where a language model may be asked, it is asked first."""

    does: Callable[[Case], Proposal]
    judgement: bool = False


def answer(snapshot: Snapshot, health: Health, findings: Sequence[Finding], *, model: bool) -> Proposal | None:
    """What to do about the process, None where it is fine or wants judgement. model: is there one that can be asked."""
    if health.verdict == "pending":
        return _waits(snapshot)
    word = trouble(health)
    if not word:
        return None
    row = ANSWERS.get(word, Answer(_unheard_of))
    poison = next((one for one in findings if one.kind in POISON and one.severity == "intervene"), None)
    if (row.judgement and model) or (poison is not None and health.domain != "infrastructure"):
        return None
    case = Case(snapshot, word, (*snapshot.past.deaths, death_of(snapshot, health)), poison)
    proposal = row.does(case)
    storm = tripped(snapshot, health, snapshot.request) if proposal.action == "restart" else ""
    return case.ask(f"{_what(case)}, and {storm}") if storm else proposal


# --- the answers ------------------------------------------------------------------------------------------------


def _elsewhere(case: Case) -> Proposal:
    return case.restart(f"{_what(case)}: start again on another node", elsewhere=True)


def _again(case: Case) -> Proposal:
    return case.restart(f"{_what(case)} and Slurm did not queue it again: start again")


def _continue(case: Case) -> Proposal:
    if not case.snapshot.resumable:
        return case.ask(
            f"{_what(case)} and left no checkpoint to go on from: give it more `time`, or declare `checkpoint`"
        )
    exits = case.snapshot.exits
    if fruitless(case.deaths) > 1 or (exits and exits[-1].further is False):
        return case.ask(
            f"{_what(case)} without a new step since the start before: give it more `time`, or save checkpoints earlier"
        )
    return case.restart(f"{_what(case)} at step {_step(case.now)}: go on from the checkpoint")


def _once_more(case: Case) -> Proposal:
    same = next((one for one in case.deaths[:-1] if _same_crash(one, case.now)), None)
    if same is not None:
        return case.ask(
            f"{_what(case)} at step {_step(case.now)} as attempt {same.attempt} did, the same crash at the same place: "
            f"read its output with `ade-hpc logs {case.snapshot.experiment}`"
        )
    return case.restart(f"{_what(case)} at step {_step(case.now)}: try once more")


def _unblock(case: Case) -> Proposal:
    again = any(one.cause == "stalled" for one in case.deaths[:-1])
    second = ", this time on another node: it is the second time" if again else ""
    return case.restart(f"{_what(case)} at step {_step(case.now)}: end it and start again{second}", elsewhere=again)


def _ask(advice: str, case: Case) -> Proposal:
    return case.ask(f"{_what(case)}: {advice}")


def _unheard_of(case: Case) -> Proposal:
    return case.ask(f"{_what(case)}, for which there is no answer: read its output, then submit again")


def _asks(advice: str, *, judgement: bool = False) -> Answer:
    return Answer(partial(_ask, advice), judgement)


ANSWERS: Mapping[str, Answer] = {
    "node-fail": Answer(_elsewhere),
    "boot-fail": Answer(_elsewhere),
    "lost": Answer(_elsewhere),
    "preempted": Answer(_again),
    "forgotten": Answer(_again),
    "time-limit": Answer(_continue),
    "failed": Answer(_once_more),
    "signal": Answer(_once_more),
    "vanished": Answer(_once_more),
    "stalled": Answer(_unblock),
    "out-of-memory": _asks(
        "a rule with `when: {health: out-of-memory}` can give it more `mem` or smaller batches", judgement=True
    ),
    "cuda-out-of-memory": _asks(
        "a rule with `when: {health: cuda-out-of-memory}` can give it smaller batches", judgement=True
    ),
    "non-finite": _asks("its loss is no finite number; a rule with `when: [nan]` can lower a rate", judgement=True),
    "disk-full": _asks("free space or raise the quota, then submit it again"),
    "slow-start": _asks("is `setup` stuck? Read `ade-hpc logs`, and cancel it if so"),
    "dropped": _asks("if that was not your wish, submit it again"),
    "deadline": _asks("its --deadline has passed; submit it again with a later one"),
    "image-changed": _asks("the image is not the one that was submitted; submit it again"),
    "image-missing": _asks("the image is gone from where it was at submit; put it back and submit again"),
    "command-missing": _asks("the command was not found on the node; mend `command` or `setup` and submit again"),
}


# --- what they look at ------------------------------------------------------------------------------------------


def _same_crash(earlier: Death, now: Death) -> bool:
    further = now.step is not None and (earlier.step is None or now.step > earlier.step)
    return (earlier.cause, earlier.signature) == (now.cause, now.signature) and not further


def _waits(snapshot: Snapshot) -> Proposal | None:
    """A job that may never run waits for a person, not for its turn. Who holds a job knows why."""
    reason = snapshot.truth.reason
    kind, sentence = explain_reason(reason)
    if kind == "waits" or "JobHeldUser" in reason:
        return None
    return Proposal("ask", f"{AUTHOR}{kind}", f"job waits with reason {reason}: {sentence}")


def _what(case: Case) -> str:
    where = f" ({case.now.nodes})" if case.now.nodes and case.word in NODE_FAULTS else ""
    return _WORDS.get(case.word, f"it ended ({case.word})") + where


_WORDS = {
    "node-fail": "its node failed",
    "boot-fail": "its node did not boot",
    "lost": "its heartbeat has stopped",
    "preempted": "it was preempted",
    "forgotten": "Slurm has lost it",
    "slow-start": "its job runs for more than an hour, and the trainer has not started",
    "dropped": "it was cancelled while it waited, and Slurm does not say by whom",
    "time-limit": "it reached its time limit",
    "failed": "it crashed",
    "signal": "a signal ended it",
    "vanished": "it ended and nobody says how",
    "stalled": "it makes no progress",
    "out-of-memory": "it ran out of memory",
    "cuda-out-of-memory": "it ran out of GPU memory",
    "non-finite": "it ended itself",
    "disk-full": "its disk or quota is full",
}


def _step(death: Death) -> str:
    return "unknown" if death.step is None else str(death.step)
