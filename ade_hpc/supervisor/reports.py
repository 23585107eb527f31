# SPDX-License-Identifier: Apache-2.0
"""What a tick has to say of each experiment, and the exit code that this asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ade_hpc.model import Decision, Finding, Health
from ade_hpc.policy.health import is_trouble
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.supervisor.news import NO_JUDGEMENT

CLEAN, FAILED, DEGRADED, PERSON_NEEDED = 0, 1, 3, 4


@dataclass(frozen=True)
class Report:
    """What one tick has to say of one experiment. ``code`` is the exit code that this experiment asks for.

    question: what waits for a language model, empty where nothing does. evidence: the last lines that the job wrote,
    where a person is asked about its end.
    """

    name: str
    health: Health = field(default_factory=lambda: Health("unknown"))
    attempt: int | None = None
    findings: tuple[Finding, ...] = ()
    decision: Decision | None = None
    question: str = ""
    evidence: tuple[str, ...] = ()
    done: str = ""
    problems: tuple[str, ...] = ()
    code: int = CLEAN


def exit_code(reports: Sequence[Report]) -> int:
    """The worst that any experiment asks for: a person is needed, then degraded, then failed."""
    return max((report.code for report in reports), default=CLEAN)


def code_of(
    snapshot: Snapshot,
    health: Health,
    findings: Sequence[Finding],
    decision: Decision | None,
    *,
    proposed: bool = False,
    waits: bool = False,
) -> int:
    """4 where a person must look: one is asked, a proposal waits for one, or a run fails and nothing will be done.

    proposed: a proposal waited before this decision already. waits: for a word that will come without a person.
    """
    if snapshot.degraded or health.verdict == "unknown":
        return DEGRADED
    outcome = decision.outcome if decision is not None else ""
    asked = decision is not None and decision.proposal.action == "ask"
    if outcome == "allow" and not asked:
        return CLEAN
    if asked or proposed or outcome == "propose":
        return PERSON_NEEDED
    failing = any(finding.severity == "intervene" for finding in findings) or is_trouble(health)
    settled = snapshot.superseded_by is not None  # somebody has put an end to it
    return PERSON_NEEDED if failing and not (settled or waits or outcome == "observe") else CLEAN


def unjudged(report: Report, why: str, code: int) -> Report:
    return replace(report, problems=(*report.problems, f"{NO_JUDGEMENT}: {why}"), code=max(report.code, code))


def unexpected(name: str, error: Exception) -> Report:
    """A fault of ours must not stop the other experiments, and must not look like health."""
    said = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return Report(name, problems=(f"ade-hpc failed on this experiment ({said}); please report it",), code=FAILED)
