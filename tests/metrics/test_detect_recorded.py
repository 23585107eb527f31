# SPDX-License-Identifier: Apache-2.0
"""Recorded runs of the laboratory (``python -m curves_lab.record tests/metrics/curves``): really trained, labelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ade_hpc.metrics.detect import find
from ade_hpc.metrics.objective import Guess
from ade_hpc.metrics.series import Curves
from curves_lab.recipe import UNHARMED
from curves_lab.record import unpacked
from tests.metrics.detect_curves import kinds, prefixes

RUNS = sorted((Path(__file__).parent / "curves").glob("*.json"))


def load(path: Path) -> tuple[dict[str, Any], Curves, Guess]:
    run = json.loads(path.read_text())
    curves = Curves({tag: unpacked(tag, data) for tag, data in run["series"].items()})
    return run, curves, Guess(run["tag"], run["goal"], run["target"])


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_recorded_run_is_named_as_labelled(path: Path) -> None:
    """Its own kind is found, and no other."""
    run, curves, objective = load(path)
    named = {found.kind for found in find(curves, objective)} - set(run["allowed"])
    assert named == (set() if run["label"] == "healthy" else {run["label"]})


@pytest.mark.parametrize(
    "path", [path for path in RUNS if json.loads(path.read_text())["label"] in UNHARMED], ids=lambda path: path.stem
)
def test_a_run_that_needs_no_help_is_left_alone_at_every_prefix(path: Path) -> None:
    """A supervisor that ticks would have acted on the first alarm."""
    _, curves, objective = load(path)
    for seen in prefixes(curves, most=60):
        assert kinds(find(seen, objective)) == []
