# SPDX-License-Identifier: Apache-2.0
"""A YAML text becomes plain values with lines, or one problem; never anything else, and never slowly."""

from __future__ import annotations

import contextlib
import time

import pytest

from ade_hpc.errors import Problem, SpecError
from ade_hpc.spec.document import dotted, parse


def refused(text: str) -> Problem:
    with pytest.raises(SpecError) as caught:
        parse(text, "f.yaml")
    (problem,) = caught.value.problems
    return problem


def complaint(text: str) -> Problem:
    (problem,) = parse(text, "f.yaml").problems
    return problem


def test_values_are_plain_and_know_their_lines() -> None:
    document = parse("a: 1\nb:\n  - x\n  - {c: 2.5, d: ~}\ne: yes\n", "f.yaml", first_line=10)
    assert document.data == {"a": 1, "b": ("x", {"c": 2.5, "d": None}), "e": True}
    assert document.lines[("b",)] == 11
    assert document.lines[("b", 1, "d")] == 13
    assert document.texts[("e",)] == "yes"


@pytest.mark.parametrize("text", ["1:00:00", "190:20:30", "12:30", "1:30.5", "2026-01-01", "1e-3", "=", "2-12"])
def test_what_yaml_would_turn_into_something_else_stays_text(text: str) -> None:
    assert parse(f"a: {text}", "f.yaml").data == {"a": text}


def test_keys_are_text_whatever_they_look_like() -> None:
    assert parse("1: a\nyes: b\n~: c\n", "f.yaml").data == {"1": "a", "yes": "b", "~": "c"}


def test_a_key_given_twice_names_both_lines_at_any_depth() -> None:
    problem = complaint("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n")
    assert problem.line == 5
    assert "`c` is given twice, in lines 3 and 5" in problem.message


def test_an_alias_and_a_merge_are_understood_and_own_keys_win() -> None:
    text = "base: &b {x: 1, y: 2}\nother: &o {y: 5, z: 6}\nmine:\n  y: 3\n  <<: [*b, *o]\nagain: *b\n"
    document = parse(text, "f.yaml")
    assert document.data["mine"] == {"x": 1, "y": 3, "z": 6}
    assert document.data["again"] == {"x": 1, "y": 2}
    assert document.lines[("mine", "y")] == 4
    assert not document.problems


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a:\n\tb: 1\n", 2, "a tab"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: b: c\n", 1, "in quotes"),
        ("a: [1, 2\nb: 3\n", 2, "close the bracket"),
        ("a: @x\n", 1, "in quotes"),
        ("a: *nobody\n", 1, "undefined alias"),
        ("a: 1\nb: x\x01y\n", 2, "control character"),
        ('a: "\\UFFFFFFFF"\n', 1, "not valid YAML"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1\n", 1, "not valid YAML"),
        ("a: " + "[" * 200, 1, "deeper"),
        ("a: &a [*a]\n", 1, "holds itself"),
        ("a: &a\n  <<: *a\n", 1, "holds itself"),
        ("a: 1\n" * 30_000, 10_000, "more than 20,000 values"),
    ],
)
def test_what_is_not_yaml_or_has_no_end_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    problem = refused(text)
    assert words in problem.message
    assert problem.line == line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !!python/object/apply:os.system [id]\n", "tag"),
        ("a: !env HOME\n", "tag"),
        ("a: !!binary aGk=\n", "tag"),
        ("a: !!int x\n", "as a number"),
        ("a: " + "1" * 5000 + "\n", "as a number"),
        ("? [a, b]\n: 1\n", "key must be"),
        ('a: "x\\0y"\n', "NUL"),
        ('a: "\\ud800"\n', "half a character"),
        ("a: {<<: 3}\n", "merge only mappings"),
    ],
)
def test_a_value_that_nobody_means_is_a_problem_of_its_own(text: str, words: str) -> None:
    problem = complaint(text)
    assert words in problem.message
    assert problem.line == 1


def test_a_config_may_have_tags_of_its_own_loader() -> None:
    document = parse("a: !env HOME\nb: !x {c: 1}\n", "f.yaml", foreign_tags=True)
    assert document.data == {"a": "HOME", "b": {"c": 1}}
    assert not document.problems


def bomb(link: str) -> str:
    lines = ["a0: &a0 {x: 1, y: 2}" if "<<" in link else "a0: &a0 [x, y]"]
    lines += [f"a{n}: &a{n} " + link.format(", ".join([f"*a{n - 1}"] * 9)) for n in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb("[{}]"),
        bomb("{{<<: [{}]}}"),
        "a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 10_000 + "]\n",
        "? " * 100_000,
        "[" * 1_000_000,
        "{a: " * 250_000,
        "- " * 500_000,
        "a: " + "a " * 499_000,
        "&a " * 333_000,
    ],
    ids=["aliases", "merges", "long-text", "questions", "brackets", "braces", "dashes", "one-scalar", "anchors"],
)
def test_a_bomb_is_refused_quickly(text: str) -> None:
    before = time.process_time()
    with contextlib.suppress(SpecError):
        parse(text, "f.yaml")
    assert time.process_time() - before < 5


def test_places_are_written_as_people_write_them() -> None:
    assert dotted(("rules", 0, "do", "scale", "optimizer.lr")) == "rules[0].do.scale.optimizer.lr"
