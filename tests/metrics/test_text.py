# SPDX-License-Identifier: Apache-2.0
"""Text from files shows and does not act."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ade_hpc.metrics.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("loss/train", "loss/train"),
        ("Genauigkeit (größe) 損失", "Genauigkeit (größe) 損失"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("one\ntwo\r\nthree\tfour", "one two three four"),
        ("\u202eevil\u2066", "evil"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("nul\x00 bell\x07", "nul bell"),
        ("\ud800lone", "lone"),
        ("", ""),
    ],
)
def test_what_would_act_is_gone(text: str, shown: str) -> None:
    """Escape sequences, control characters and bidirectional overrides vanish; words of any script stay."""
    assert printable(text) == shown


@given(st.text(alphabet=st.characters(), max_size=500), st.integers(1, 200))
def test_it_is_one_short_printable_line(text: str, limit: int) -> None:
    """Whatever goes in: one line, no longer than asked, nothing but characters that show."""
    clean = printable(text, limit)
    assert len(clean) <= limit
    assert all(unicodedata.category(character)[0] != "C" for character in clean)
    assert clean.isprintable()
    assert printable(clean, limit) == clean


def test_a_gigantic_tag_costs_nothing() -> None:
    """Only as much is looked at as can be shown."""
    assert len(printable("\x1b[1m" * 10_000_000)) <= 120
