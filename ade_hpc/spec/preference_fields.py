# SPDX-License-Identifier: Apache-2.0
"""What the YAML blocks of preferences.md may hold: every field with its type, its meaning and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ade_hpc.model import Scalar
from ade_hpc.spec.fields import ConfigScalar, Duration, EnvName, OneLine, not_empty, resolve_path
from ade_hpc.spec.resources import RESOURCE_FIELDS, resource_amount
from ade_hpc.spec.rules import Rule
from ade_hpc.spec.schema import Spec, nearest

Goal = Literal["max", "min"]


class Objective(Spec):
    """What the experiment is judged by. target: good enough; None: as good as it gets."""

    tag: OneLine
    goal: Goal
    target: float | None = None


class Metric(Spec):
    """Another curve worth watching; threshold: the value that it should not be worse than."""

    tag: OneLine
    goal: Goal
    threshold: float | None = None


class Tunable(Spec):
    """A key of the config that may be changed: a number from ``min`` to ``max``, or one of ``choices``.

    max_factor: the most that one change may multiply or divide it by.
    tag: the TensorBoard tag that shows the value in effect, best the base rate, before a schedule bends it; with it a
    change is proved, without it only hoped for.
    """

    min: float | None = None
    max: float | None = None
    max_factor: Annotated[float, Field(gt=1)] | None = None
    choices: Annotated[tuple[ConfigScalar, ...], AfterValidator(not_empty)] | None = None
    tag: OneLine | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Tunable:
        if self.choices is not None:
            if (self.min, self.max, self.max_factor) != (None, None, None):
                raise ValueError("has `choices`: `min`, `max` and `max_factor` don't go with them")
        elif self.min is None or self.max is None:
            raise ValueError("needs `min` and `max`, or `choices`: nothing is changed without bounds")
        elif self.min >= self.max:
            raise ValueError(f"`min` ({self.min:g}) must be less than `max` ({self.max:g})")
        return self

    def refusal(self, value: Scalar) -> str | None:
        """Why ``value`` is out of bounds, or None where it is allowed (max_factor aside: see ``factor_refusal``)."""
        if self.choices is not None:
            same = any(value == choice and type(value) is type(choice) for choice in self.choices)
            return None if same else f"{value} is none of its choices ({', '.join(map(str, self.choices))})"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{value} is not a number"
        low, high = self.min, self.max
        inside = low is not None and high is not None and low <= value <= high
        return None if inside else f"{value:g} is outside {low:g} to {high:g}"

    def factor_refusal(self, factor: float) -> str | None:
        """Why one change by this factor is too much, or None."""
        most = self.max_factor
        if most is None or max(factor, 1 / factor) <= most * (1 + 1e-9):  # 1/0.1 is not quite 10
            return None
        return f"a factor of {factor:g} is more than its max_factor ({most:g}, or 1/{most:g}) allows"


class ResourceBound(Spec):
    """How far a resource may go: ``max`` for what can be counted (mem, time, nodes, ...), else ``choices``."""

    max: ConfigScalar = None
    choices: Annotated[tuple[ConfigScalar, ...], AfterValidator(not_empty)] | None = None

    @model_validator(mode="after")
    def _one(self) -> ResourceBound:
        if (self.max is None) == (self.choices is None):
            raise ValueError("needs either `max` or `choices`")
        return self

    def refusal(self, name: str, value: Scalar) -> str | None:
        """Why the resource ``name`` may not become ``value``, or None."""
        if self.choices is not None:
            return None if value in self.choices else f"{value} is none of {', '.join(map(str, self.choices))}"
        try:
            asked, most = resource_amount(name, value), resource_amount(name, self.max)
        except ValueError as error:
            return str(error)
        return None if asked <= most else f"{value} is more than {self.max}"


def _resource_name(name: str) -> str:
    if name not in RESOURCE_FIELDS:
        raise ValueError(f"is no resource; {nearest(name, RESOURCE_FIELDS)}")
    return name


class Limits(Spec):
    """What bounds everything, whoever proposes it.

    mode: observe only says what it would do, propose waits for `ade-hpc approve`, auto acts.
    max_attempts counts the first submission. cooldown_s: between two changes of config; restarts after faults don't
    wait. gpu_hours: of all attempts together, None: unbounded. fast_path: let the job itself ask for a tick.
    llm_tokens_per_day: read and written by models for this experiment within 24 hours. llm_cost_per_day: the same in
    money, by the prices of the site file; None: the tokens alone count.
    """

    mode: Literal["observe", "propose", "auto"] = "observe"
    max_attempts: Annotated[int, Field(ge=1)] = 8
    cooldown_s: Duration = Field(default=1800.0, alias="cooldown")
    gpu_hours: Annotated[float, Field(ge=0)] | None = None
    llm_tokens_per_day: Annotated[int, Field(ge=0)] = 50_000
    llm_cost_per_day: Annotated[float, Field(ge=0)] | None = None
    fast_path: bool = False
    resources: dict[Annotated[str, AfterValidator(_resource_name)], ResourceBound] = Field(default_factory=dict)


class Agent(Spec):
    """When a language model is asked, which one, and from where it can be reached.

    ask: on-finding, only about trouble that no rule covers; every-tick, whenever there is something new to see.
    model: as its server calls it, or ``provider:model``. vision_model: one that can look at pictures; None: the
    curves are judged by their numbers. where: laptop, if the machine that ticks has no way to the model.
    """

    ask: Literal["on-finding", "never", "every-tick"] = "on-finding"
    model: OneLine | None = None
    vision_model: OneLine | None = None
    where: Literal["tick", "laptop"] = "tick"

    @model_validator(mode="after")
    def _somebody(self) -> Agent:
        if self.ask != "never" and self.model is None:
            raise ValueError("needs `model`, or `ask: never`")
        return self


Event = Literal["decision", "person", "end", "digest"]
EVENTS: tuple[Event, ...] = ("decision", "person", "end", "digest")
# What a mail program takes for an address and for nothing else: no option, no second recipient.
_MAIL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._%+-]*(@[A-Za-z0-9][A-Za-z0-9.-]*)?")


def _mail(address: str) -> str:
    if not _MAIL.fullmatch(address):
        raise ValueError("must be one address, such as me@example.org")
    return address


def _private_path(value: object) -> object:
    return resolve_path(value, None) if isinstance(value, str) else value


class Notify(Spec):
    """Somebody who is told: by mail, or at an address of apprise, which may hold a password and so stands elsewhere.

    file: of mode 0600, with that one address in it. env: the variable that holds it; a scheduled tick has none.
    on: what they are told of: a decision, that a person is needed, the end of a run, once a day how all is.
    """

    mail: Annotated[str, AfterValidator(_mail)] | None = None
    file: Annotated[Path, BeforeValidator(_private_path)] | None = None
    env: EnvName | None = None
    on: Annotated[tuple[Event, ...], AfterValidator(not_empty)] = EVENTS

    @model_validator(mode="before")
    @classmethod
    def _no_text(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("must be `{mail: ADDRESS}`, `{file: PATH}` or `{env: NAME}`: no secret stands in here")
        return value

    @model_validator(mode="after")
    def _one(self) -> Notify:
        if sum(one is not None for one in (self.mail, self.file, self.env)) != 1:
            raise ValueError("needs exactly one of `mail`, `file` and `env`")
        return self

    @property
    def label(self) -> str:
        """Whom this reaches, in words that hold no secret."""
        return f"mail {self.mail}" if self.mail else f"file {self.file}" if self.file else f"env {self.env}"


def _key(name: str) -> str:
    if not name.strip() or any(not part or part != part.strip() for part in name.split(".")):
        raise ValueError("must be a dotted key of the config, such as optimizer.lr")
    return name


class PreferencesFile(Spec):
    """The keys of the YAML blocks. Without any, everything is watched and nothing is changed."""

    objective: Objective | None = None
    metrics: tuple[Metric, ...] = ()
    tunables: dict[Annotated[OneLine, AfterValidator(_key)], Tunable] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=Limits)
    rules: tuple[Rule, ...] = ()
    agent: Agent | None = None
    notify: tuple[Notify, ...] = ()
