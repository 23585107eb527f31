# SPDX-License-Identifier: Apache-2.0
"""Diagnose learning curves: one registry of small detectors, and one verdict.

Pure: the same curves give the same answer at any time on any machine, so that a past run can be replayed. To add a
detector, write ``judge(case) -> findings`` in a module beside this one and enter it in ``DETECTORS``.

A finding is ``intervene`` only where the objective shows that a change is called for; a false intervention on a
healthy run is the worst error there is. Everything else worth knowing is a ``note``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ade_hpc.metrics import detect_blowup, detect_clock, detect_decline, detect_progress, detect_witness
from ade_hpc.metrics.clock import ordered
from ade_hpc.metrics.detect_case import Case, Detector, json_safe
from ade_hpc.metrics.detect_thresholds import Thresholds
from ade_hpc.metrics.objective import Objective, guess
from ade_hpc.metrics.series import Curves
from ade_hpc.model import Finding

Judgement = Literal["healthy", "failing", "insufficient"]

# Causes before their consequences: a run that blew up has also collapsed, and one that collapsed is also flat.
DETECTORS: tuple[Detector, ...] = (
    Detector("nan", detect_blowup.nan),
    Detector("diverging", detect_blowup.diverging),
    Detector("overfitting", detect_decline.overfitting),
    Detector("collapse", detect_decline.collapse),
    Detector("oscillating", detect_decline.oscillating),
    Detector("never-learns", detect_progress.never_learns),
    Detector("slow", detect_progress.slow),
    Detector("plateau", detect_progress.plateau),
    Detector("spike", detect_blowup.spike),
    Detector("stalled", detect_clock.stalled),
    *detect_witness.DETECTORS,
)
WITNESSES = frozenset(detector.kind for detector in detect_witness.DETECTORS)
# Kinds that are judged over a stretch of the run: their onset is where that begins, not where something happened.
GRADUAL = frozenset({"oscillating", "never-learns", "slow", "plateau"})
# What a curve that swings also looks like: a jump is one of its swings, and it gets nowhere; of that, one tells.
SWUNG = frozenset({"spike", "never-learns", "slow", "plateau"})
NOWHERE = SWUNG - {"spike"}
# Two views of one event: a loss that leaves its scale takes with it what had been learned, and may overflow.
VIEWS = frozenset({frozenset({"diverging", "collapse"}), frozenset({"diverging", "nan"})})


def find(
    curves: Curves, objective: Objective | None = None, *, thresholds: Thresholds | None = None
) -> tuple[Finding, ...]:
    """Everything worth knowing about ``curves``: at most one intervention, then notes in the order of ``DETECTORS``.

    One trouble is one intervention; what it brought about is left out, or is a note where it is another view of the
    same event. objective: None guesses it from the tag names (see ``guess``).
    """
    case = Case(ordered(curves), objective or guess(curves), thresholds or Thresholds())
    with np.errstate(all="ignore"):  # a loss of 1e300 may overflow on the way: then it is not judged
        found = [finding for detector in DETECTORS for finding in detector.judge(case)]
    if any(f.kind == "oscillating" for f in found):
        found = [f for f in found if f.kind not in SWUNG]
    found = list(_stories(case, found))
    cause = _cause([f for f in found if f.severity == "intervene"])
    if cause is None:
        return tuple(found)
    return (cause, *(replace(f, severity="note") for f in found if _stands_beside(f, cause)))


def _stories(case: Case, every: Sequence[Finding]) -> Iterator[Finding]:
    """The findings that no other accounts for: a loss that left its scale, or was lost, gets nowhere either."""
    told, judged = False, {curve.tag for curve in (case.goal, *case.losses) if curve is not None}
    for found in every:
        lost = found.kind in ("diverging", "collapse") and not case.by_return and found.tag in judged
        if found.kind not in NOWHERE or not told:
            yield found
        told = told or lost or found.kind in NOWHERE


def _cause(interventions: Sequence[Finding]) -> Finding | None:
    """The one trouble behind all interventions: the first kind in the registry, where it began first.

    What it brought about is left out; but where a consequence could be dated earlier, so could the cause, and the
    checkpoint to go back to is chosen by that date.
    """
    if not interventions:
        return None
    cause = min((f for f in interventions if f.kind == interventions[0].kind), key=_began)
    dates = [_began(f) for f in interventions if f.kind not in GRADUAL]
    return replace(cause, onset=min([_began(cause), *dates]))


def _stands_beside(found: Finding, cause: Finding) -> bool:
    """Is it news beside the cause? What came after it is its consequence, unless it explains it."""
    if {found.kind, cause.kind} in VIEWS:
        return True
    if found.severity == "intervene":
        return False
    if found.kind in WITNESSES or (found.kind == "nan" != cause.kind):
        return True
    return found.kind not in GRADUAL and _began(found) < _began(cause)


def _began(found: Finding) -> float:
    return found.onset if found.onset is not None else 0.0


def verdict(findings: Sequence[Finding], curves: Curves, objective: Objective | None) -> Judgement:
    """``failing`` where an intervention is called for, ``insufficient`` where there is too little to say so or not."""
    if any(f.severity == "intervene" for f in findings):
        return "failing"
    case = Case(curves, objective or guess(curves), Thresholds())
    seen = len(case.goal) if case.goal is not None else 0
    trained = len(case.training_loss) if case.training_loss is not None and not case.by_return else 0
    enough = seen >= case.limits.judge_points or (seen >= 2 and trained >= case.limits.judge_loss_points)
    return "healthy" if enough else "insufficient"


def diagnose(curves: Curves, objective: Objective | None = None) -> dict[str, Any]:
    """The answer of ``ade-hpc diagnose --json``: verdict, findings with their evidence, and the objective used."""
    chosen = objective or guess(curves)
    findings = find(curves, chosen)
    return {
        "verdict": verdict(findings, curves, chosen),
        "findings": [_as_json(f) for f in findings],
        "objective": None
        if chosen is None
        else {
            "tag": chosen.tag,
            "goal": chosen.goal,
            "target": json_safe(chosen.target),
            "guessed": objective is None,
            "points": len(curves.series[chosen.tag]) if chosen.tag in curves.series else 0,
        },
        "notes": list(curves.notes),
    }


def _as_json(found: Finding) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "tag": found.tag,
        "first_step": found.first_step,
        "last_step": found.last_step,
        "severity": found.severity,
        "onset": json_safe(found.onset),
        "evidence": dict(found.evidence),
    }
