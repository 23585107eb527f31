# SPDX-License-Identifier: Apache-2.0
"""What a language model may cost, held in code: calls and tokens of an incident, tokens and money of a day.

Tokens are what the server says it counted. Before a call they are estimated, generously, and never below what the
server counted for an earlier call of the same incident, so that a call which could break the budget is not made at all.
A call without an answer that may have been billed is charged by that estimate.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ade_hpc.spec.site import Price
from ade_hpc.store.ledger import Ledger

CALLS_AN_INCIDENT = 6
TOKENS_AN_INCIDENT = 15_000
DAY_S = 86_400.0
MILLION = 1_000_000


class Spent(Exception):
    """The next call could break the budget; says which one."""


@dataclass(frozen=True)
class Usage:
    """Calls that are paid for, and the tokens read and written in them."""

    calls: int = 0
    input: int = 0
    output: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.output

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.calls + other.calls, self.input + other.input, self.output + other.output)


@dataclass(frozen=True)
class Allowance:
    """What one question may still cost. money: None where no limit is set; prices: by the model's name.

    a_call: by the model's name, how many tokens the incident's earlier calls had, each on average.
    """

    calls: int = CALLS_AN_INCIDENT
    tokens: int = TOKENS_AN_INCIDENT
    money: float | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    a_call: Mapping[str, int] = field(default_factory=dict)
    because: str = "the budget of one incident"


@dataclass
class Meter:
    """Counts one question's calls against its allowance; tools may call models from several threads."""

    allowance: Allowance
    used: dict[str, Usage] = field(default_factory=dict)
    _largest: dict[str, int] = field(default_factory=dict)
    _tried: int = 0
    _held: dict[int, tuple[str, Usage]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, model: str, estimate: int, output: int) -> int:
        """Before a call: put aside what it may cost at most; returns a ticket. Raises Spent."""
        with self._lock:
            known = max(self._largest.get(model, 0), self.allowance.a_call.get(model, 0))
            call = Usage(0, max(estimate, known - output), output)
            wanted = {**self.used}
            for name, held in [*self._held.values(), (model, call)]:
                wanted[name] = wanted.get(name, Usage()) + held
            if self._tried >= self.allowance.calls:
                raise Spent(f"{self._tried} calls are made, and that is {self.allowance.because}")
            tokens = sum(usage.tokens for usage in wanted.values())
            if tokens > self.allowance.tokens:
                raise Spent(f"the next call could need more than the {self.allowance.tokens} tokens that are left")
            self._check_money(wanted)
            self._tried += 1
            self._held[self._tried] = (model, call)
            return self._tried

    def settle(self, ticket: int, usage: Usage | None, *, billed: bool) -> None:
        """After the call. usage: the server's count; None where it counted nothing, then the estimate stands."""
        with self._lock:
            model, held = self._held.pop(ticket)
            if billed:
                actual = replace(usage or held, calls=1)
                self.used[model] = self.used.get(model, Usage()) + actual
                self._largest[model] = max(self._largest.get(model, 0), actual.tokens)

    def _check_money(self, wanted: Mapping[str, Usage]) -> None:
        if self.allowance.money is None:
            return
        price = cost(wanted, self.allowance.prices)
        if price is None:
            raise Spent("llm_cost_per_day is set, but site.yaml has no price for this model under `llm: prices:`")
        if price > self.allowance.money:
            raise Spent(f"the next call could cost more than the {self.allowance.money:.4f} that are left of the day")


def cost(used: Mapping[str, Usage], prices: Mapping[str, Price]) -> float | None:
    """Money, in the currency of the prices; None where one is missing."""
    total = 0.0
    for model, usage in used.items():
        if model not in prices:
            return None
        total += (usage.input * prices[model].input + usage.output * prices[model].output) / MILLION
    return total


def spent(ledger: Ledger, *, since: float = 0.0, incident: str | None = None) -> dict[str, Usage]:
    """By model, what the ledger has of this experiment since then (POSIX seconds), or of one incident."""
    total: dict[str, Usage] = {}
    for entry in ledger.of_kind("answered", "unanswered"):
        if entry.time < since or (incident is not None and entry.data.get("incident") != incident):
            continue
        for model, usage in _usages(entry.data.get("usage")):
            total[model] = total.get(model, Usage()) + usage
    return total


def to_json(used: Mapping[str, Usage]) -> dict[str, dict[str, int]]:
    return {model: asdict(usage) for model, usage in used.items()}


def _usages(value: Any) -> Iterable[tuple[str, Usage]]:
    for model, counts in value.items() if isinstance(value, dict) else ():
        numbers = [counts.get(name) if isinstance(counts, dict) else None for name in ("calls", "input", "output")]
        if all(isinstance(number, int) for number in numbers):
            yield str(model), Usage(*(int(number or 0) for number in numbers))
