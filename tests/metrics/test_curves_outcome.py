# SPDX-License-Identifier: Apache-2.0
"""By what the runs of the laboratory's test split were admitted: each criterion on curves drawn by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from curves_lab.__main__ import BOOKS
from curves_lab.unseen import BOOK
from curves_lab.unseen.outcome import CRITERIA, Outcome, shown

X = np.linspace(0, 1, 100)
STIR = 0.02 * np.random.default_rng(0).standard_normal(100)
FALL = 2 * np.exp(-6 * X) + 0.2 + STIR


def run(held_out: np.ndarray, trained: np.ndarray, good: float = 0.3, gap_s: float = 10.0) -> Outcome:
    """The objective is the held-out loss."""
    return Outcome(-held_out, trained, held_out, -good, gap_s, tuned=True)


LATE = X > 0.6
DRAWN = {
    "nan": run(np.where(LATE, np.nan, FALL), np.where(LATE, np.nan, FALL)),
    "diverging": run(2 + 30 * X, 2 + 28 * X + STIR),
    "overfitting": run(FALL + 1.5 * X, FALL),
    "collapse": run(np.where(LATE, 2.1 + STIR, FALL), np.where(LATE, 2.0 + STIR, FALL)),
    "oscillating": run(0.8 + 0.5 * np.cos(60 * X) + 1.2 * np.exp(-9 * X), 0.8 + 0.5 * np.sin(60 * X) + np.exp(-9 * X)),
    "never-learns": run(2 + STIR, 2 - STIR),
    "slow": run(2 - 0.25 * X + STIR / 10, 2 - 0.3 * X + STIR / 10),
    "plateau": run(FALL + 0.6 * (1 - np.exp(-6 * X)), FALL + 0.6 * (1 - np.exp(-6 * X))),
    "spike": run(FALL, FALL + 3.0 * (np.arange(100) == 70)),
    "stalled": run(FALL, FALL, gap_s=2000.0),
}


@pytest.mark.parametrize("kind", CRITERIA)
def test_a_drawn_curve_shows_its_kind_and_no_other(kind: str) -> None:
    assert shown(DRAWN[kind]) == {kind}


def test_a_fall_shows_nothing() -> None:
    assert shown(run(FALL, FALL)) == set()


def test_names_tell_recipes_apart_in_all_splits() -> None:
    names = Counter(name for book in BOOKS for name in book.recipes)
    assert max(names.values()) == 1


def test_the_test_split_has_six_recipes_of_each_kind_and_many_healthy_ones() -> None:
    labels = Counter(recipe.label for recipe in BOOK.recipes.values())
    assert all(labels[kind] >= 6 for kind in CRITERIA)
    assert labels["healthy"] >= 26


def test_no_other_part_imports_what_the_test_split_is_made_of() -> None:
    """Its nets, data and worlds are its own."""
    mine = {module.__name__ for recipe in BOOK.recipes.values() for module in recipe.parts}
    others = {module.__name__ for book in BOOKS if book is not BOOK for module in book.parts}
    assert mine
    assert not mine & others
    for book in BOOKS:
        for recipe in book.recipes.values() if book is not BOOK else ():
            used = {getattr(value, "__name__", "") for value in recipe.train.__globals__.values()}
            assert not used & mine
