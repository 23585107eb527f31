# SPDX-License-Identifier: Apache-2.0
"""backtest: past ticks under other preferences, as a table for people or JSON for programs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ade_hpc.errors import UsageError
from ade_hpc.metrics.text import printable
from ade_hpc.spec.check import warnings_of
from ade_hpc.spec.preferences import load_preferences
from ade_hpc.spec.site import load_site
from ade_hpc.spec.units import parse_duration
from ade_hpc.store.registry import experiments, registry_path
from ade_hpc.supervisor.backtest import Replay, Source, Step, as_json, replay
from ade_hpc.supervisor.record import decision_json
from ade_hpc.supervisor.recorded import recorded, simulated

SAID = {"allow": "", "observe": " (mode observe: only said)", "propose": " (mode propose: waits for a person)"}


def backtest(what: str, preferences: Path, against: Path | None, every: str | None, *, json_wanted: bool) -> None:
    site = load_site(os.environ)
    files = [path for path in (preferences, against) if path is not None]
    wishes = [load_preferences(path) for path in files]
    source = _source(what, every)
    replays = [_noted(replay(source, one, site), path) for one, path in zip(wishes, files, strict=True)]
    if json_wanted:
        print(json.dumps(as_json(source, replays)))
    else:
        _print(source, replays)


def _source(what: str, every: str | None) -> Source:
    """A registered name comes first; a folder of that name is meant by ``./NAME``."""
    registry = registry_path(os.environ)
    if (registry / f"{what}.json").is_file() and os.sep not in what:
        if every is not None:
            raise UsageError(f"--every is for a TensorBoard folder; the ticks of {what} are those on record")
        return recorded(experiments(registry, (what,))[0])
    if not Path(what).is_dir():
        raise UsageError(f"{what!r} is neither a registered experiment (see: ade-hpc status) nor a folder")
    return simulated(Path(what), _seconds(every) if every else None)


def _noted(one: Replay, path: Path) -> Replay:
    """Preferences that match nothing in this past must not look like ones that are content with it."""
    found = warnings_of(path, tags=one.tags, keys=one.keys if one.steps else None)
    return replace(one, notes=tuple(printable(str(problem), 500) for problem in found))


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--every {error}") from error
    if seconds <= 0:
        raise UsageError("--every must be more than 0s")
    return seconds


# --- for people -----------------------------------------------------------------------------------------------------


def _print(source: Source, replays: Sequence[Replay]) -> None:
    names = _names(replays)
    print(f"{printable(source.name)}: {len(replays[0].steps)} ticks")
    width = max(len(name) for name in ("happened", *names))
    last: list[str] = []
    for steps in zip(*(one.steps for one in replays), strict=True):
        happened = _decision(steps[0].happened)
        words = [_words(step) for step in steps]
        key = [str(steps[0].attempt), happened, *words]
        if key != last and any(key[1:]):
            print(f"{_clock(steps[0].time)}  attempt {steps[0].attempt}, {_health(steps[0])}")
            print(f"  {'happened':{width}}  {happened or 'nothing'}")
            for name, step, word in zip(names, steps, words, strict=True):
                print(f"  {name:{width}}  {_marked(step, 'the same' if word == happened else word or 'nothing')}")
        last = key
    for name, one in zip(names, replays, strict=True):
        print(f"{name}: {_verdict(one)}")
    for note in (note for one in replays for note in one.notes):
        print(note)
    for note in source.notes:
        print(f"warning: {printable(note, 300)}")


def _names(replays: Sequence[Replay]) -> list[str]:
    """Their file names, or their paths where the names are the same."""
    short = [printable(Path(one.preferences).name) for one in replays]
    return short if len(set(short)) == len(short) else [printable(one.preferences, 300) for one in replays]


def _health(step: Step) -> str:
    return f"{step.health.verdict}{f' ({printable(step.health.cause)})' if step.health.cause else ''}"


def _words(step: Step) -> str:
    if step.asked:
        return f"a model would be asked: {printable(step.asked, 200)}"
    return _decision(decision_json(step.decision)) if step.decision else ""


def _marked(step: Step, words: str) -> str:
    return f"[counterfactual] {words}" if step.counterfactual else f"DIFFERS: {words}" if step.differs else words


def _decision(decision: Mapping[str, Any] | None) -> str:
    if decision is None:
        return ""
    author, action, outcome = (str(decision[key]) for key in ("author", "action", "outcome"))
    parts = [f"{one['key']}: {one['old']} -> {one['new']}" for one in decision["changes"]]
    parts += [f"{name}: {value}" for name, value in decision["resources"].items()]
    words = ", ".join(parts) or {"ask": "ask a person"}.get(action, action)
    said = SAID.get(outcome, f" (refused: {'; '.join(decision['refusals'])})")
    return printable(f"{author}: {words}{said}", 400)


def _verdict(one: Replay) -> str:
    first = one.first_difference
    exact = one.steps.index(first) if first else len(one.steps)
    lead = f"{one.same_wishes} of {len(one.steps)} ticks were made under this very file; " if one.same_wishes else ""
    guessed = sum(1 for step in one.steps[:exact] if not step.exact)
    doubt = f" ({guessed} of them on curves that are not quite what was seen then)" if guessed else ""
    if first is None:
        return f"{lead}nothing would have been done otherwise in all {exact} ticks{doubt}"
    return (
        f"{lead}the first other action is at {_clock(first.time)}; the {exact} ticks before it are exact{doubt}; "
        "what comes after it is counterfactual, on the curves of a run that would not have been"
    )


def _clock(seconds: float) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.localtime(seconds))
