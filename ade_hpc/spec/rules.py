# SPDX-License-Identifier: Apache-2.0
"""The rules of preferences.md: when something is found, do something. Typed here, applied in policy."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ade_hpc.model import Resume, Verdict
from ade_hpc.spec.fields import ConfigScalar, OneLine, not_empty
from ade_hpc.spec.schema import Spec, nearest

FindingKind = Literal[
    "nan",
    "diverging",
    "collapse",
    "never-learns",
    "plateau",
    "overfitting",
    "spike",
    "oscillating",
    "slow",
    "stalled",
    "vanishing-gradient",
    "exploding-gradient",
    "dead-units",
    "update-size",
]
FINDING_KINDS: tuple[str, ...] = get_args(FindingKind)

# How a job can end, as `Health.cause` has it: the causes of an exit record, and what only Slurm's states tell. Spelt
# with dashes, and `out-of-memory` is one thing, whoever of us and Slurm saw it.
_EXITS = ("completed", "failed", "signal", "fenced", "superseded", "cancelled", "time-limit", "preempted")
_FAULTS = ("stalled", "non-finite", "out-of-memory", "cuda-out-of-memory", "disk-full")
_NOT_STARTED = ("image-changed", "image-missing", "command-missing", "slow-start")
_SLURM = ("boot-fail", "deadline", "node-fail", "vanished", "forgotten", "dropped", "silent")
HEALTH_WORDS = frozenset({*get_args(Verdict), *_EXITS, *_FAULTS, *_NOT_STARTED, *_SLURM})
_ALIASES = {"timeout": "time-limit"}


def _health(word: str) -> str:
    """``out-of-memory`` or ``OUT_OF_MEMORY``: people shouldn't have to know which of us wrote it."""
    key = word.lower().replace("_", "-")
    key = _ALIASES.get(key, key)
    if key not in HEALTH_WORDS:
        raise ValueError(nearest(word, sorted(HEALTH_WORDS)))
    return key


def _condition(value: Any) -> Any:
    """Short forms: a kind of finding, or a list of which any will do."""
    if isinstance(value, str):
        return {"finding": value}
    return {"any": value} if isinstance(value, tuple) else value


QUESTIONS = ("all", "any", "finding", "metric", "change", "health")


class Condition(Spec):
    """A tree. Exactly one of ``all``, ``any``, ``finding``, ``metric``, ``change`` and ``health`` is set.

    finding: a finding of this kind, in ``tag`` if given. metric: the latest value of this tag is ``above`` or
    ``below`` a number (or between the two). change: what this tag has risen by over its last ``over`` steps is (a
    fall is a negative rise). health: the verdict on the process, or the cause with which it ended.
    """

    all: Annotated[tuple[Nested, ...], AfterValidator(not_empty)] | None = None
    any: Annotated[tuple[Nested, ...], AfterValidator(not_empty)] | None = None
    finding: FindingKind | None = None
    tag: OneLine | None = None
    metric: OneLine | None = None
    change: OneLine | None = None
    over: Annotated[int, Field(ge=1)] | None = None
    above: float | None = None
    below: float | None = None
    health: Annotated[str, AfterValidator(_health)] | None = None

    @model_validator(mode="after")
    def _one_question(self) -> Condition:
        questions = [name for name in QUESTIONS if getattr(self, name) is not None]
        if len(questions) != 1:
            raise ValueError(f"must hold exactly one of {', '.join(QUESTIONS)}")
        if self.tag is not None and self.finding is None:
            raise ValueError("`tag` goes with `finding`; a metric is named by `metric: TAG`")
        bounded = self.above is not None or self.below is not None
        if bounded != (questions[0] in ("metric", "change")):
            raise ValueError("`metric` and `change` need `above` or `below`, a number, and these two need one of them")
        if (self.over is not None) != (self.change is not None):
            raise ValueError("`change` needs `over`, a number of steps: {change: TAG, over: 500, below: 0.005}")
        return self


Nested = Annotated[Condition, BeforeValidator(_condition)]
Condition.model_rebuild()

Factor = Annotated[float, Field(gt=0)]


class Do(Spec):
    """What a rule does. Without ``stop`` and ``ask`` it makes a new attempt.

    scale, set, add: new values of tunables. resources: new values of what ``limits.resources`` allows.
    exclude_node: never again on the nodes of the attempt that is replaced. resume: which checkpoint to start from.
    """

    scale: dict[str, Factor] = Field(default_factory=dict)
    set: dict[str, ConfigScalar] = Field(default_factory=dict)
    add: dict[str, float] = Field(default_factory=dict)
    resources: dict[str, ConfigScalar] = Field(default_factory=dict)
    exclude_node: bool = False
    resume: Resume = "last-healthy"
    stop: bool = False
    ask: bool = False

    @property
    def tunables(self) -> tuple[str, ...]:
        """Every tunable that this would change."""
        return (*self.scale, *self.set, *self.add)

    @model_validator(mode="after")
    def _sensible(self) -> Do:
        acts = bool(self.tunables or self.resources or self.exclude_node)
        resumes = "resume" in self.model_fields_set
        if not (acts or resumes or self.stop or self.ask):
            raise ValueError("does nothing: give scale, set, add, resources, exclude_node, resume, stop or ask")
        if (self.stop or self.ask) and (acts or resumes or (self.stop and self.ask)):
            raise ValueError("`stop` and `ask` stand alone: they end in no new attempt")
        twice = [key for key in self.tunables if self.tunables.count(key) > 1]
        if twice:
            raise ValueError(f"changes {twice[0]} in two ways: keep one of scale, set, add")
        return self


class Rule(Spec):
    """``when`` something holds, ``do`` something; the first rule that holds speaks.

    max_times: how often it may change something in the life of the experiment; None: the limits alone count.
    """

    name: OneLine
    when: Nested
    do: Do
    max_times: Annotated[int, Field(ge=1)] | None = None
