# SPDX-License-Identifier: Apache-2.0
"""Think: what the deterministic pass makes of one snapshot. Pure, and the same for a live tick and for a replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ade_hpc.launch.plan import open_plans
from ade_hpc.model import Decision, Finding, Health
from ade_hpc.policy.guard import judge
from ade_hpc.policy.question import Question, question
from ade_hpc.policy.rules import propose
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.preferences import Preferences
from ade_hpc.spec.site import Site
from ade_hpc.store.ledger import Ledger
from ade_hpc.supervisor.consult import is_answered
from ade_hpc.supervisor.wishes import Wish, standing_wish, unless_rejected, waiting


@dataclass(frozen=True)
class Thought:
    """decision: on what a person wished or a rule proposed. wish: the person's, which the decision settles.

    asked: what a model is to judge, None where nothing is open. proposed: something waits for a person's word. begun:
    an earlier submission is not finished, and nothing new is decided until it is.
    """

    decision: Decision | None
    wish: Wish | None
    asked: Question | None
    proposed: bool
    begun: bool = False


def think(
    snapshot: Snapshot,
    health: Health,
    findings: Sequence[Finding],
    preferences: Preferences,
    site: Site,
    ledger: Ledger,
) -> Thought:
    """What a person has wished comes before the rules; a model is asked only where neither speaks."""
    if open_plans(ledger):
        return Thought(None, None, None, proposed=False, begun=True)
    may_act = health.verdict != "unknown" and not snapshot.paused_by  # else the wish waits, and is not spent
    wish = standing_wish(ledger, snapshot) if may_act else None
    proposal = wish.proposal if wish else propose(snapshot, health, findings, preferences)
    proposed = waiting(ledger, snapshot.attempt) is not None
    if proposal is not None:
        consent = wish.consent if wish else "none"
        decision = judge(proposal, snapshot, health, findings, preferences, site, consent=consent)
        return Thought(unless_rejected(ledger, snapshot.attempt, decision), wish, None, proposed)
    asked = None if proposed else question(snapshot, health, findings, preferences)
    return Thought(None, None, asked if asked is not None and not is_answered(ledger, asked) else None, proposed)
