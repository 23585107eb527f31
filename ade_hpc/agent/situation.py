# SPDX-License-Identifier: Apache-2.0
"""What the agent is given and what it gives back. Light: no LangChain, so that a tick without a model needs none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ade_hpc.agent.budget import Usage
from ade_hpc.model import Decision, Finding, Health, Proposal
from ade_hpc.policy.question import Question
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.preferences import Preferences

Guard = Callable[[Proposal], Decision]


@dataclass(frozen=True, eq=False)
class Situation:
    """One question with all that may be looked at.

    memory, log: the ends of memory.md and of the trainer's output: untrusted text. picture: where to draw the curves.
    """

    question: Question
    snapshot: Snapshot
    health: Health
    findings: tuple[Finding, ...]
    preferences: Preferences
    picture: Path
    memory: str = ""
    log: str = ""


@dataclass(frozen=True)
class Judgement:
    """What came of a question.

    outcome: failed and spent are "no judgement this time", and ``text`` says why. decisions: every proposal with
    the guard's answer, in order; at most one of them was not refused. notes: for memory.md. picture: what was drawn
    for the model, None where it never looked.
    """

    outcome: Literal["answered", "failed", "spent"]
    text: str
    decisions: tuple[Decision, ...] = ()
    notes: tuple[str, ...] = ()
    usage: Mapping[str, Usage] = field(default_factory=dict)
    picture: Path | None = None

    @property
    def decision(self) -> Decision | None:
        """The one that was let through, else the last one that was refused."""
        passed = [decision for decision in self.decisions if decision.outcome != "refuse"]
        every = passed or self.decisions
        return every[-1] if every else None
