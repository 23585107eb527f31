# SPDX-License-Identifier: Apache-2.0
"""One scalar changes, everything else stays: comments, quotes, order, indentation, line endings, BOM."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ade_hpc.errors import RepoError
from ade_hpc.model import Scalar
from ade_hpc.repo.edit import flatten, get_scalar, set_scalar

CONFIG = """\
# How we train.
optimizer:      # see the paper
    lr: 0.1     # start here
    betas: [0.9, 0.999]
    name: 'adam'
model: {width: 64, dropout: 0.0, act: "gelu"}
steps: 1000
resume:         # nothing yet
amp: yes
note: plain words
"""


def changed_lines(old: str, new: str) -> list[str]:
    before, after = old.split("\n"), new.split("\n")
    assert len(before) == len(after)
    return [line for was, line in zip(before, after, strict=True) if was != line]


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("optimizer.lr", 0.03, "    lr: 0.03     # start here"),
        ("optimizer.lr", 5e-05, "    lr: 5.0e-05     # start here"),
        ("optimizer.lr", 1e22, "    lr: 1.0e+22     # start here"),
        ("optimizer.lr", 1, "    lr: 1.0     # start here"),
        ("optimizer.betas.1", 0.99, "    betas: [0.9, 0.99]"),
        ("optimizer.name", "sgd", "    name: 'sgd'"),
        ("optimizer.name", "it's", "    name: 'it''s'"),
        ("model.width", 128.0, 'model: {width: 128, dropout: 0.0, act: "gelu"}'),
        ("model.width", 96.5, 'model: {width: 96.5, dropout: 0.0, act: "gelu"}'),
        ("model.act", "relu", 'model: {width: 64, dropout: 0.0, act: "relu"}'),
        ("model.act", "two\nlines", 'model: {width: 64, dropout: 0.0, act: "two\\nlines"}'),
        ("resume", "run-3", "resume: run-3         # nothing yet"),
        ("steps", None, "steps: null"),
        ("amp", False, "amp: false"),
        ("note", "a # b: c", "note: 'a # b: c'"),
        ("note", "yes", "note: 'yes'"),
        ("note", "5e-05", "note: '5e-05'"),
        ("note", "", "note: ''"),
    ],
)
def test_exactly_the_scalar_changes(key: str, value: Scalar, line: str) -> None:
    edited = set_scalar(CONFIG, key, value)
    assert changed_lines(CONFIG, edited) == [line]
    assert get_scalar(edited, key) == value


def test_a_string_within_brackets_is_quoted_where_it_must_be() -> None:
    assert set_scalar("tags: [a, b]\n", "tags.0", "x, y") == "tags: ['x, y', b]\n"


def test_the_same_value_changes_nothing() -> None:
    assert set_scalar("steps: 0x10  # hex\n", "steps", 16) == "steps: 0x10  # hex\n"


def test_line_endings_and_bom_stay() -> None:
    text = "\ufeffa: 1\r\nlr: 0.1\r\n# end"
    assert set_scalar(text, "lr", 0.2) == "\ufeffa: 1\r\nlr: 0.2\r\n# end"


def test_a_dotted_key_that_is_written_with_its_dot() -> None:
    assert set_scalar("optimizer.lr: 0.1\n", "optimizer.lr", 0.2) == "optimizer.lr: 0.2\n"


def test_flatten_gives_what_the_trainer_reads() -> None:
    text = "base: &b {lr: 0.1, wd: 0}\nexp: {<<: *b, lr: 5e-05, on: yes, at: 12:30}\nlayers: [{n: 1}, {n: null}]\n"
    assert flatten(text) == {
        "base.lr": 0.1,
        "base.wd": 0,
        "exp.lr": "5e-05",
        "exp.wd": 0,
        "exp.on": True,
        "exp.at": 750,
        "layers.0.n": 1,
        "layers.1.n": None,
    }
    assert flatten("# nothing\n") == {}


def test_a_date_reads_as_its_text() -> None:
    assert get_scalar("day: 2026-11-22\n", "day") == "2026-11-22"


@pytest.mark.parametrize(
    ("text", "key", "value", "said"),
    [
        (CONFIG, "optimizer.lr", "fast", r"`optimizer.lr` \(line 3\) is a float and can't become text"),
        (CONFIG, "optimizer.lr", True, "is a float and can't become a boolean"),
        (CONFIG, "amp", 1, "is a boolean and can't become an integer"),
        (CONFIG, "optimizer.lr", math.nan, "finite"),
        (CONFIG, "optimizer.lr", math.inf, "finite"),
        (CONFIG, "optimizer.lr", 10**400, "no float can hold"),
        (CONFIG, "optimizer", 1.0, r"`optimizer` \(line 2\) is a mapping"),
        (CONFIG, "optimizer.betas", 1.0, r"`optimizer.betas` \(line 4\) is a list"),
        (CONFIG, "optimizer.rl", 1.0, r"no `optimizer.rl`; the nearest is `optimizer.lr` \(line 3\)"),
        ("lr: 1e-3\n", "lr", 0.01, r"`lr` \(line 1\) is text \(YAML 1.1 reads `1e-3` as text: write `1.0e-3`\)"),
        ("lr: &x 0.1\nb: *x\n", "lr", 0.2, r"`lr` \(line 1\) has an anchor, alias or tag"),
        ("lr: &x 0.1\nb: *x\n", "b", 0.2, r"`b` \(line 2\) has an anchor, alias or tag"),
        ("lr: !!float 1\n", "lr", 0.2, "anchor, alias or tag"),
        ("a: &x {lr: 0.1}\nb: *x\n", "a.lr", 0.2, r"`a.lr` \(line 1\) can't be changed alone"),
        ("a: &x {lr: 0.1}\nb: {<<: *x}\n", "b.lr", 0.2, "`b.lr` comes from a merge"),
        ("note: |\n  two\n  lines\n", "note", "x", "runs over several lines"),
        ("note: 'two\n  lines'\n", "note", "x", "runs over several lines"),
        ("note: two\n  lines\n", "note", "x", "runs over several lines"),
        ("lr: 0.1\nb: 1\nlr: 0.2\n", "b", 2, "`lr` is given twice, in lines 1 and 3"),
        ("a.b: 1\na: {b: 2}\n", "a.b", 3, r"`a.b` \(line 2\) can be read in two ways"),
        ("day: 2026-11-22\n", "day", "x", "neither number, text, boolean nor null"),
        ("day: 2026-13-22\n", "day", "x", "month must be in 1..12"),
        ("a: !!bool x\n", "a", True, "is not valid YAML|anchor, alias or tag"),
        ("a: [1\n", "a", 1, "line 2 of the config is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "a", 2, "another document"),
        ("- 1\n", "0", 2, "a config is a mapping"),
        ("? [a]\n: 1\n", "a", 2, "a key must be one word or number"),
        ("a: &a [*a]\n", "a.0", 2, "contains itself"),
        ("a: \x00\n", "a", 2, "not valid YAML"),
        ("a: " + "[" * 1000, "a", 2, "nested too deeply"),
        ("a: 1\n" + "#" * 1_000_001, "a", 2, "longer than 1,000,000 characters"),
        ("", "a", 2, "the config has no `a`"),
    ],
)
def test_what_a_splice_could_get_wrong_is_refused(text: str, key: str, value: Scalar, said: str) -> None:
    with pytest.raises(RepoError, match=said):
        set_scalar(text, key, value)


@pytest.mark.parametrize("item", ["*a{0}", "{{<<: [*a{0}, *a{0}, *a{0}, *a{0}]}}", "[*a{0}, *a{0}, *a{0}, *a{0}]"])
def test_an_alias_bomb_is_refused_at_once(item: str) -> None:
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{k: {item.format(n - 1)}}}" for n in range(1, 60))]
    if item != "*a{0}":
        with pytest.raises(RepoError, match="more than 20,000 values"):
            flatten("\n".join(lines))
    else:
        assert len(flatten("\n".join(lines))) == 60


# --- any config --------------------------------------------------------------------------------------------------

WORDS = st.text("abcxyz_-", min_size=1, max_size=6).filter(lambda word: word[0] != "-")
KEYS = st.one_of(WORDS, st.sampled_from(["'quo ted'", '"dou#ble"', "12", "~tilde", "with space", "'x: y'"]))
SPELLINGS = st.sampled_from(
    [
        *(
            "0",
            "-3",
            "+7",
            "0x1F",
            "1_000",
            "017",
            "12:30",
            "1.",
            ".5",
            "-0.1",
            "1.0e+3",
            "6.02E-23",
            "3.14159",
            ".inf",
        ),
        *(
            ".nan",
            "yes",
            "No",
            "true",
            "OFF",
            "~",
            "null",
            "Null",
            "",
            "plain",
            "two words",
            "5e-05",
            "1e3",
            "a-b",
            "x#y",
        ),
        *(
            "'single'",
            "'it''s'",
            '"double"',
            '"tab\\there"',
            "'# no comment'",
            '"0.1"',
            "2026-11-22",
            "a'b",
            "\u00e9t\u00e9",
        ),
    ]
)
COMMENTS = st.sampled_from(["", "", "  # why", " #'odd\" quotes: {", "   # lr: 0.5"])


@st.composite
def flow(draw: st.DrawFn, depth: int) -> str:
    kind = draw(st.sampled_from(["scalar", "scalar", "list", "map"] if depth else ["scalar"]))
    if kind == "list":
        return "[" + ", ".join(draw(st.lists(flow(depth - 1), min_size=1, max_size=3))) + "]"
    if kind == "map":
        keys = draw(st.lists(WORDS, min_size=1, max_size=3, unique=True))
        return "{" + ", ".join(f"{key}: {draw(flow(depth - 1))}" for key in keys) + "}"
    return draw(SPELLINGS.filter(lambda spelling: spelling not in ("", "12:30")))


@st.composite
def block(draw: st.DrawFn, indent: str = "", depth: int = 3) -> list[str]:
    lines: list[str] = []
    step = draw(st.sampled_from(["  ", "    ", " "]))
    for key in draw(st.lists(KEYS, min_size=1, max_size=4, unique=True)):
        comment = draw(COMMENTS)
        kind = draw(st.sampled_from(["scalar", "scalar", "flow", "map", "list"] if depth else ["scalar", "flow"]))
        if kind == "map":
            lines += [f"{indent}{key}:{comment}", *draw(block(indent + step, depth - 1))]
        elif kind == "list":
            items = draw(st.lists(flow(1), min_size=1, max_size=3))
            lines += [f"{indent}{key}:{comment}", *(f"{indent}{step}- {item}{comment}" for item in items)]
        else:
            value = draw(SPELLINGS if kind == "scalar" else flow(2))
            lines.append(f"{indent}{key}: {value}{comment}")
        if draw(st.booleans()):
            lines.append(draw(st.sampled_from(["", "# a line of its own", indent + "#lr: 9"])))
    return lines


@st.composite
def configs(draw: st.DrawFn) -> str:
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    return draw(st.sampled_from(["", "\ufeff"])) + ending.join(draw(block())) + draw(st.sampled_from(["", ending]))


def new_value(draw: st.DrawFn, old: Scalar) -> Scalar:
    floats = st.floats(allow_nan=False, allow_infinity=False)
    if isinstance(old, bool):
        return draw(st.booleans())
    if isinstance(old, int):
        return draw(st.one_of(st.integers(), floats))
    if isinstance(old, float):
        return draw(st.one_of(st.integers(-(10**20), 10**20), floats))
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    return draw(texts if isinstance(old, str) else st.one_of(texts, floats, st.integers(), st.booleans()))


def as_stored(old: Scalar, value: Scalar) -> Scalar:
    """A float stays a float; an integer stays one where the new number is whole."""
    if isinstance(old, float) and value is not None:
        return float(value)
    if type(old) is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the scalars of a loaded document are, in the order of the text: the oracle's own walk."""
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in places(item, (*path, key))]
    if isinstance(value, list):
        return [place for index, item in enumerate(value) for place in places(item, (*path, index))]
    return [path]


def put(document: Any, place: tuple[Any, ...], value: Scalar) -> Any:
    document = copy.deepcopy(document)
    holder = document
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    return document


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(configs(), st.data())
def test_in_any_config_one_value_differs_and_at_most_one_line(text: str, data: st.DataObject) -> None:
    document = yaml.safe_load(text)
    values = flatten(text)
    assert len(values) == len(places(document))
    index = data.draw(st.integers(0, len(values) - 1))
    key, old = list(values.items())[index]
    place = places(document)[index]
    value = data.draw(st.composite(lambda draw: new_value(draw, old))())
    if old == "2026-11-22" and f"{old}" in text:
        return  # a date: refused, see above

    edited = set_scalar(text, key, value)

    assert repr(yaml.safe_load(edited)) == repr(put(document, place, as_stored(old, value)))
    old_lines, new_lines = text.split("\n"), edited.split("\n")
    assert len(old_lines) == len(new_lines)
    assert sum(was != line for was, line in zip(old_lines, new_lines, strict=True)) <= 1
    assert edited.count("\r") == text.count("\r")


@settings(max_examples=300)
@given(st.text(st.sampled_from("ab:-[]{},&*!|>'\"#%@` \n\t0.1e_?<~\\\u2028\ufeff\x01"), max_size=40))
def test_any_text_is_read_or_refused_in_one_sentence(text: str) -> None:
    values = attempt(lambda: flatten(text))
    if isinstance(values, RepoError):
        assert "\n" not in str(values)
        return
    for key, value in values.items():
        for new in (value, None):
            edited = attempt(lambda key=key, new=new: set_scalar(text, key, new))
            if isinstance(edited, RepoError):
                assert "\n" not in str(edited)
            else:
                assert repr(get_scalar(edited, key)) == repr(new)


def attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except RepoError as error:
        return error
