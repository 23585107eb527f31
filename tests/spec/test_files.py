# SPDX-License-Identifier: Apache-2.0
"""Whatever a path leads to: text comes back, or one clear problem."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ade_hpc.errors import Problem, SpecError
from ade_hpc.spec.experiment import load_experiment
from ade_hpc.spec.files import check_ownership, read_text
from ade_hpc.spec.preferences import load_preferences
from ade_hpc.spec.site import Site, load_site


def refused(path: Path) -> Problem:
    with pytest.raises(SpecError) as caught:
        read_text(path)
    (problem,) = caught.value.problems
    assert problem.file == str(path)
    return problem


def test_text_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: \xc3\xa9\n")
    assert read_text(path) == "name: é\n"


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 1, "is empty"),
        (b" \n\n", 1, "is empty"),
        (b"a: 1\n\x00\x01", 2, "binary"),
        (b"\x7fELF\x02\x01\x01\x00", 1, "binary"),
        ("name: x\n".encode("utf-16"), 1, "UTF-16"),
        (b"a: 1\nb: 2\nc: \xff\n", 3, "not UTF-8"),
    ],
)
def test_bad_content_is_refused_with_its_line(tmp_path: Path, content: bytes, line: int, words: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    problem = refused(path)
    assert problem.line == line
    assert words in problem.message


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "does not exist" in refused(tmp_path / "nothing.yaml").message
    assert "is a folder" in refused(tmp_path).message
    assert "not a regular file" in refused(pipe).message  # and not waited for
    assert "not a regular file" in refused(Path("/dev/zero")).message
    assert "can't be read" in refused(tmp_path / ("x" * 300)).message
    assert "not a path" in refused(Path("a\0b")).message


def test_a_50_mb_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Each of the three files; a sparse file has no bytes to read, so the time shows nothing was."""
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    before = time.process_time()
    for load in (
        lambda: load_experiment(path, Site()),
        lambda: load_preferences(path),
        lambda: load_site({"ADE_SITE": str(path)}),
    ):
        with pytest.raises(SpecError) as caught:
            load()
        (problem,) = caught.value.problems
        assert "50,000,000 bytes" in problem.message
    assert time.process_time() - before < 0.5


def test_only_my_own_file_that_nobody_else_can_write_is_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "preferences.md"
    path.write_text("x")
    path.chmod(0o644)
    check_ownership(path)
    for mode in (0o664, 0o646):
        path.chmod(mode)
        with pytest.raises(SpecError, match="chmod go-w"):
            check_ownership(path)
    with pytest.raises(SpecError, match="can't be read"):
        check_ownership(tmp_path / "nothing")


def test_the_file_of_somebody_else_is_refused_also_behind_a_link(tmp_path: Path) -> None:
    theirs, link = Path("/etc/passwd"), tmp_path / "preferences.md"
    if os.geteuid() == 0:
        theirs = tmp_path / "theirs.md"
        theirs.write_text("x")
        os.chown(theirs, 12345, 12345)
    link.symlink_to(theirs)
    with pytest.raises(SpecError, match="belongs to user id"):
        check_ownership(link)
