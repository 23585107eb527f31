# SPDX-License-Identifier: Apache-2.0
"""What proves that a change took effect, what proves the opposite, and what proves nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Change, JobTruth, Scalar
from ade_hpc.policy.proof import prove
from ade_hpc.policy.snapshot import Snapshot
from ade_hpc.spec.preferences import parse_preferences

WISHES = parse_preferences(
    "```yaml\ntunables: {lr: {min: 0.0, max: 1.0, tag: rate}, other: {choices: [a, b], tag: rate}}\n```", "p.md"
)
Curve = Callable[[float], float]  # a step -> the factor that a schedule applies to the base


def logged(steps: Sequence[int], base: float, factor: Curve = lambda step: 1.0) -> Curves:
    """As an event file has it: 32-bit floats."""
    values = np.array([base * factor(step) for step in steps], np.float32).astype(float)
    return Curves({"rate": Series("rate", np.array(steps), np.array(steps, float), values)})


def verdict(old: Scalar, new: Scalar, before: Curves, after: Curves, key: str = "lr") -> str:
    truth = JobTruth("running", "RUNNING")
    snapshot = Snapshot("x", 1e4, 2, truth, curves=after, before=before, changes=(Change(key, old, new),))
    found = prove(snapshot, WISHES)
    assert all((one.severity == "intervene") == (one.kind == "change-ineffective") for one in found)
    return found[0].kind.removeprefix("change-") if found else "proved"


def cosine(step: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / 1000))


def warm(step: float) -> float:
    return min(1.0, step / 50)


def steps_down(step: float) -> float:
    return 0.1 if step >= 100 else 1.0


NONE = Curves()
EARLY, LATE, ODD = range(0, 200, 10), range(100, 300, 10), range(105, 300, 10)
PARENT = range(0, 300, 10)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # a constant: the first value is the committed one, or nothing was changed, or something else is wrong
        (logged(PARENT, 0.5), logged(LATE, 0.05), "proved"),
        (logged(PARENT, 0.5), logged(LATE, 0.5), "ineffective"),
        (logged(PARENT, 0.5), logged(LATE, 0.2), "ineffective"),
        (logged(PARENT, 0.5), logged(range(400, 500), 0.5), "ineffective"),
        (logged(range(100, 300), 0.5), logged(EARLY, 0.5), "ineffective"),
        (logged(PARENT, 0.5), logged(range(400, 500), 0.2), "unproved"),  # a first step down may have come
        # a schedule scales with its base
        (logged(PARENT, 0.5, cosine), logged(LATE, 0.05, cosine), "proved"),
        (logged(PARENT, 0.5, cosine), logged(ODD, 0.05, cosine), "proved"),
        (logged(PARENT, 0.5, cosine), logged(LATE, 0.5, cosine), "ineffective"),
        (logged(PARENT, 0.5, cosine), logged(ODD, 0.5, cosine), "ineffective"),
        (logged(PARENT, 0.5, cosine), logged(LATE, 0.05), "proved"),
        (logged(PARENT, 0.5, cosine), logged(LATE, 0.2, cosine), "unproved"),
        (logged(PARENT, 0.5, cosine), logged(range(500, 600), 0.05, cosine), "unproved"),
        # a warm-up starts at nothing whatever its base: the next value tells
        (logged(PARENT, 0.5, warm), logged(EARLY, 0.05, warm), "proved"),
        (logged(PARENT, 0.5, warm), logged(EARLY, 0.5, warm), "ineffective"),
        (logged(PARENT, 0.5, warm), logged([0], 0.05, warm), "unproved"),
        (logged(PARENT, 0.5, warm), logged([0], 0.5, warm), "unproved"),
        # ten times less by the schedule, and by the change
        (logged(PARENT, 0.5, steps_down), logged(LATE, 0.05, steps_down), "proved"),
        (logged(PARENT, 0.5, steps_down), logged(LATE, 0.5, steps_down), "unproved"),
        # nothing to compare with
        (NONE, logged(LATE, 0.05), "proved"),
        (NONE, logged(LATE, 0.5), "unproved"),
        (NONE, logged(EARLY, 0.05, cosine), "proved"),  # at its first step it is the base
        (NONE, logged(LATE, 0.05, cosine), "unproved"),
        (logged([], 0.5), logged(LATE, 0.05, cosine), "unproved"),
        # no numbers
        (logged(PARENT, math.nan), logged(LATE, 0.05), "proved"),
        (logged(PARENT, math.nan), logged(LATE, 0.5), "unproved"),
        (logged(PARENT, 0.5), logged(LATE, math.nan), "ineffective"),
        (logged(PARENT, 0.5, cosine), logged(LATE, math.inf), "unproved"),
        # nothing is logged yet: nothing is proved, nothing is blamed
        (logged(PARENT, 0.5), NONE, "proved"),
        (logged(PARENT, 0.5), logged([], 0.05), "proved"),
    ],
)
def test_the_first_values_are_held_against_the_commit_and_the_attempt_before(
    before: Curves, after: Curves, expected: str
) -> None:
    assert verdict(0.5, 0.05, before, after) == expected


@pytest.mark.parametrize(
    ("old", "new", "before", "after", "expected"),
    [
        (0.0, 0.1, logged(PARENT, 0.0), logged(LATE, 0.1), "proved"),
        (0.0, 0.1, logged(PARENT, 0.0), logged(LATE, 0.0), "ineffective"),
        (0.1, 0.0, logged(PARENT, 0.1), logged(LATE, 0.0), "proved"),
        (0.1, 0.0, logged(PARENT, 0.1), logged(LATE, 0.1), "ineffective"),
        (0.5, 0.5 + 1e-9, logged(PARENT, 0.5), logged(LATE, 0.5), "proved"),  # nothing was changed
        (0.5, 0.45, logged(PARENT, 0.5, cosine), logged(ODD, 0.45, cosine), "proved"),
        (64, 32, logged(PARENT, 64.0), logged(LATE, 32.0), "proved"),
        (64, 32, logged(PARENT, 64.0), logged(LATE, 64.0), "ineffective"),
        (None, 0.1, logged(PARENT, 0.5), logged(LATE, 0.1), "proved"),
        (None, 0.1, logged(PARENT, 0.5), logged(LATE, 0.5), "ineffective"),
        ("0.5", 0.1, logged(PARENT, 0.5), logged(LATE, 0.3), "unproved"),
        (10**400, 0.1, logged(PARENT, 0.5), logged(LATE, 0.1), "proved"),
        (1e-300, 1e300, logged(PARENT, 0.0), logged(LATE, 7.0), "ineffective"),
        (True, False, logged(PARENT, 1.0), logged(LATE, 1.0), "proved"),
        (0.05, 0.5, logged(PARENT, 0.5), logged(LATE, 0.5), "unproved"),  # a change without effect, taken back
    ],
)
def test_zero_close_calls_and_what_is_no_number(
    old: Any, new: Any, before: Curves, after: Curves, expected: str
) -> None:
    assert verdict(old, new, before, after) == expected


def test_a_choice_of_words_is_no_value_to_log() -> None:
    assert verdict("a", "b", logged(PARENT, 1.0), logged(LATE, 1.0), key="other") == "proved"


def test_a_note_says_what_was_committed_what_was_logged_and_what_to_do() -> None:
    snapshot = Snapshot("x", 1e4, 2, JobTruth("running"), changes=(Change("lr", 0.5, 0.05),))
    scheduled = Snapshot(**{**vars(snapshot), "curves": logged([500], 0.05, cosine)})

    (finding,) = prove(scheduled, WISHES)

    assert (finding.tag, finding.first_step, finding.severity) == ("rate", 500, "note")
    assert finding.evidence["said"] == (
        "lr was committed as 0.05, 0.025 was logged: the tag seems to follow a schedule; log the base value, or name "
        "another tag"
    )
