# SPDX-License-Identifier: Apache-2.0
"""Names and arguments cross SSH as they are, whatever is in them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ade_hpc.errors import UsageError
from ade_hpc.remote.program import command_line
from ade_hpc.remote.stream import StreamTransport

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


@settings(max_examples=60)
@given(words)
def test_a_login_shell_makes_the_same_arguments_of_it(arguments: list[str]) -> None:
    line = command_line(["printf", "%s\\0", "start", *arguments])
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=20, check=True)
    assert done.stdout == b"".join(word.encode() + b"\0" for word in ["start", *arguments])
    assert done.stderr == b""


class Here(StreamTransport):
    """A login shell without a network before it."""

    def stream(self, line, stdin, out, err, timeout_s, ticked):  # type: ignore[no-untyped-def]  # as the base
        shell = ["/bin/sh", "-c", line]
        done = subprocess.run(shell, stdin=stdin or subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        out(done.stdout)
        err(done.stderr)
        return done.returncode

    def close(self) -> None: ...


names = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"])))
usable = names.map(lambda name: name.replace("/", "|")).filter(
    lambda name: name not in ("", ".", "..") and len(name.encode()) <= 200
)


@settings(max_examples=60)
@given(usable, usable, st.binary(max_size=100))
def test_a_file_of_any_name_arrives_there_and_comes_back(folder: str, name: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as top, contextlib.chdir(top):
        Path("here").write_bytes(data)
        Here("login").put(Path("here"), f"there/{folder}/{name}")
        assert [path.name for path in Path("there", folder).iterdir()] == [name]
        assert Path("there", folder, name).stat().st_mode & 0o777 == 0o600
        Here("login").get(f"there/{folder}/{name}", Path("back"))
        assert Path("back").read_bytes() == data
        assert sorted(os.listdir()) == ["back", "here", "there"]


@pytest.mark.parametrize("argv", [["a\0b"], ["a\udcff"]])
def test_what_a_command_line_cannot_hold_is_refused(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        command_line(argv)
