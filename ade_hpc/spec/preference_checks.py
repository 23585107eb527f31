# SPDX-License-Identifier: Apache-2.0
"""What no field of preferences.md can know alone: do rules and bounds fit together? Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ade_hpc.errors import Problem
from ade_hpc.spec.document import Document, Place
from ade_hpc.spec.preference_fields import PreferencesFile, Tunable
from ade_hpc.spec.rules import Do
from ade_hpc.spec.schema import nearest


def across(preferences: PreferencesFile, document: Document, bad: frozenset[str]) -> Iterator[Problem]:
    """Problems between the blocks; ``bad`` names the keys that are left out of ``preferences`` as wrong already."""
    yield from _twice("rules", "name", [rule.name for rule in preferences.rules], document)
    yield from _twice("metrics", "tag", [metric.tag for metric in preferences.metrics], document)
    for name, bound in preferences.limits.resources.items():
        refusal = bound.refusal(name, bound.max) if bound.max is not None else None
        if refusal:
            yield document.problem(("limits", "resources", name, "max"), f"`limits.resources.{name}.max`: {refusal}")
    for index, rule in enumerate(preferences.rules):
        place: Place = ("rules", index, "do")
        if "tunables" not in bad:
            yield from _tunables(rule.do, place, preferences, document)
        if "limits" not in bad:
            yield from _resources(rule.do, place, preferences, document)
        if rule.do.resume == "best" and preferences.objective is None and "objective" not in bad:
            message = f"`rules[{index}].do.resume`: the best checkpoint is judged by an `objective`, and none is given"
            yield document.problem((*place, "resume"), message)


def _twice(key: str, field: str, names: list[str], document: Document) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            first = document.lines[(key, names.index(name))]
            message = f"`{key}[{index}].{field}`: {name} is taken by the one in line {first}"
            yield document.problem((key, index, field), message)


def _tunables(do: Do, place: Place, preferences: PreferencesFile, document: Document) -> Iterator[Problem]:
    for verb, values in (("scale", do.scale), ("set", do.set), ("add", do.add)):
        for key, value in values.items():
            tunable = preferences.tunables.get(key)
            if tunable is None:
                known = nearest(key, preferences.tunables) if preferences.tunables else "there are none yet"
                refusal: str | None = f"is not among the `tunables`; {known}"
            else:
                refusal = _refusal(tunable, verb, value)
            if refusal:
                yield document.problem((*place, verb, key), f"`{verb}` of `{key}`: {refusal}")


def _refusal(tunable: Tunable, verb: str, value: bool | int | float | str | None) -> str | None:
    """Why the guard would refuse this whatever the config says."""
    if verb == "set":
        return tunable.refusal(value)
    if tunable.choices is not None:
        return "it has `choices`: use `set`"
    return tunable.factor_refusal(value) if verb == "scale" and isinstance(value, int | float) else None


def _resources(do: Do, place: Place, preferences: PreferencesFile, document: Document) -> Iterator[Problem]:
    for name, value in do.resources.items():
        bound = preferences.limits.resources.get(name)
        refusal = bound.refusal(name, value) if bound else "is not among `limits.resources`: allow it there first"
        if refusal:
            yield document.problem((*place, "resources", name), f"`resources` of `{name}`: {refusal}")
