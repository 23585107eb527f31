# SPDX-License-Identifier: Apache-2.0
"""What waits for somebody's word, and what the words of models have cost: a line each, for `ade-hpc status`."""

from __future__ import annotations

from collections.abc import Mapping

from ade_hpc.agent.budget import DAY_S, Usage, cost, spent
from ade_hpc.metrics.text import printable
from ade_hpc.spec.site import Price
from ade_hpc.store.ledger import Ledger
from ade_hpc.supervisor.consult import open_questions
from ade_hpc.supervisor.wishes import waiting


def waits_for(name: str, ledger: Ledger, attempt: int) -> str:
    """Whose word this attempt waits for; empty where nobody's."""
    if waiting(ledger, attempt) is not None:
        return f"a proposal waits for you: ade-hpc approve {name}, or reject"
    about = [entry.data for entry in open_questions(ledger) if entry.data.get("attempt") == attempt]
    if not about:
        return ""
    tried = [one.data for one in ledger.of_kind("unanswered") if one.data.get("evidence") == about[0].get("evidence")]
    said = f"; no judgement yet: {printable(str(tried[-1].get('text')), 200)}" if tried else ""
    return f"a question waits for a model: {printable(str(about[0].get('why')), 200)}{said}"


def counted(calls: int) -> str:
    return f"{calls} call{'' if calls == 1 else 's'}"


def spending(ledger: Ledger, prices: Mapping[str, Price], *, now: float) -> str:
    """What models cost within 24 hours, in tokens, and in money where the site file has the prices."""
    used = spent(ledger, since=now - DAY_S)
    total = sum(used.values(), Usage())
    if not total.calls:
        return ""
    money = cost(used, prices)
    paid = f", {money:.4f} by the prices of site.yaml" if money is not None else ""
    return f"{counted(total.calls)} of a model in 24 h, {total.tokens} tokens{paid}"
