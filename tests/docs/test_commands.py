# SPDX-License-Identifier: Apache-2.0
"""Every command in README, CONTRIBUTING and docs/ exists: those of ade-hpc parse with their options as the program has
them, and what else is named is there. What can run runs: test_quickstart.py, here and on a real Slurm."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import typer

from ade_hpc.cli.entry import split_host
from ade_hpc.cli.main import app
from ade_hpc.errors import UsageError
from tests.support.pages import PAGES, TOP, Command, commands

PROGRAM = typer.main.get_command(app)
ALL = commands()
OURS = [command for command in ALL if os.path.basename(command.words[0]) == "ade-hpc"]
# What pages may call besides, and whose options are not ours to check
OTHERS = frozenset(
    "apptainer cd crontab eval export git pip pytest python3 rm scancel scrontab sinfo ssh sudo touch".split()
)


def groups_and_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from groups_and_commands(inner, (*path, name))


for _, one in groups_and_commands(
    PROGRAM
):  # a private copy of the program, in which everything parses and nothing runs
    one.callback = None


def spoken(words: Sequence[str]) -> Iterator[list[str]]:
    """All that a synopsis stands for: `[--every 1h]` or not, `pause|resume`, `COMMAND`."""
    text = " ".join("status" if word == "COMMAND" else word for word in words)
    for kept in {re.sub(r"\[[^]]*\]", "", text), text.replace("[", "").replace("]", "")}:
        yield from map(list, itertools.product(*(word.split("|") for word in kept.replace("...", "").split())))


def problem(words: Sequence[str]) -> str:
    """What the program says of these words, empty where it would begin to work."""
    try:
        _, words = split_host(words)
    except UsageError as error:
        return f"Missing: {error}"
    if not words:
        return ""
    try:
        PROGRAM.main(list(words), prog_name="ade-hpc", standalone_mode=False)
    except Exception as error:  # Typer's or Click's own, by release
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message()) or "usage"
    return ""


@pytest.mark.parametrize("command", OURS, ids=str)
def test_a_command_of_ours_parses(command: Command) -> None:
    synopsis = any(re.search(r"\[|\||\.\.\.|^COMMAND$", word) for word in command.words)
    for words in spoken(command.words[1:]) if synopsis else [command.words[1:]]:
        if words:
            said = problem(words)
            assert said == "" or (command.in_text and said.startswith("Missing")), (words, said)


@pytest.mark.parametrize("words", [["submti"], ["status", "--wach"], ["schedule", "install", "--with", "at"], ["logs"]])
def test_what_is_wrong_would_be_noticed(words: list[str]) -> None:
    assert problem(words)


def test_nothing_is_called_that_nobody_knows() -> None:
    unknown = []
    for command in ALL:
        words = [word for word in command.words if not re.match(r"[A-Z_]+=", word)]
        if words and not _known(words[0]):
            unknown.append(str(command))
    assert unknown == []
    assert len(OURS) > 40, "the pages were not read"


def _known(program: str) -> bool:
    name = os.path.basename(program)
    return name in OTHERS or name == "ade-hpc" or os.access(TOP / program, os.X_OK)


def test_paths_of_this_repository_that_commands_name_exist() -> None:
    named = {
        word for command in ALL for word in command.words if re.match(r"(tests|scripts|docs|jobs|benchmarks)/", word)
    }
    assert [word for word in sorted(named) if not (TOP / word).exists()] == []


def test_links_between_the_pages_lead_somewhere() -> None:
    links = [(page, one) for page in PAGES for one in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())]
    assert [f"{page.name}: {target}" for page, target in links if not (page.parent / target).exists()] == []


# --- the program's own help ----------------------------------------------------------------------------------------


def _helps() -> list[tuple[str, str]]:
    return [
        (" ".join(path), one.help or "")
        for path, one in groups_and_commands(PROGRAM)
        if not hasattr(one, "commands") and "for-laptop" not in path
    ]


@pytest.mark.parametrize(("name", "text"), _helps(), ids=[name for name, _ in _helps()])
def test_each_command_shows_examples_that_parse(name: str, text: str) -> None:
    found = re.search(r"Examples?: (ade-hpc .*)", text, re.DOTALL)
    assert found, f"ade-hpc {name} --help has no example"
    for example in found[1].split("   |   "):
        words = example.split()
        assert problem(words[1:]) == "", example
        assert name in example
