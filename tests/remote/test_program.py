# SPDX-License-Identifier: Apache-2.0
"""Names and arguments cross SSH as they are, whatever is in them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ade_hpc.errors import UsageError
from ade_hpc.remote.program import command_line

HOSTILE = [
    "",
    " ",
    "$(touch /tmp/x)",
    "`id`",
    "a'b",
    '"',
    "-rf",
    "a\nb",
    "*",
    "~",
    ";",
    "&&",
    "\\",
    "!!",
    "é\u202e",
    "=x",
]
words = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
)


@settings(max_examples=60, deadline=None)
@given(words)
def test_a_login_shell_makes_the_same_arguments_of_it(arguments: list[str]) -> None:
    line = command_line(["printf", "%s\\0", "start", *arguments])
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=20, check=True)
    assert done.stdout == b"".join(word.encode() + b"\0" for word in ["start", *arguments])
    assert done.stderr == b""


@pytest.mark.parametrize("argv", [["a\0b"], ["a\udcff"]])
def test_what_a_command_line_cannot_hold_is_refused(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        command_line(argv)
