# SPDX-License-Identifier: Apache-2.0
"""preferences.md: prose kept, blocks gathered, each field right and wrong, and what the fields say about each other."""

from __future__ import annotations

import hashlib
import textwrap
from pathlib import Path

import pytest

from ade_hpc.errors import Problem, SpecError
from ade_hpc.spec.preference_fields import Notify, ResourceBound, Tunable
from ade_hpc.spec.preferences import Preferences, load_preferences, parse_preferences, read_preferences
from ade_hpc.spec.rules import Condition


def block(text: str) -> str:
    """One YAML block from line 3 of a file on."""
    return f"# Wishes\n```yaml\n{text}\n```\n"


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        parse_preferences(text, "preferences.md")
    return caught.value.problems


FULL = """\
# What I want
Accuracy. `inline code` and

```python
limits = {}
```

```yaml
objective: {tag: accuracy/val, goal: max, target: 0.97}
metrics: [{tag: "loss (val)", goal: min, threshold: 0.5}]
```
- in a list:
  ~~~ YAML
  limits:
    mode: auto
    max_attempts: 6
    cooldown: 1h30m
    gpu_hours: 200
    llm_tokens_per_day: 1000
    fast_path: true
    resources: {mem: {max: 64G}, partition: {choices: [gpu, long]}}
  ~~~
```{.yml}
tunables:
  optimizer.lr: {min: 1.0e-5, max: 1, max_factor: 10, tag: lr}
  optimizer.name: {choices: [sgd, adam]}
  batch_size: {min: 16, max: 512}
rules:
  - {name: diverged, when: [nan, diverging], do: {scale: {optimizer.lr: 0.1}, resume: last-healthy}, max_times: 3}
  - name: stuck
    when: {all: [{metric: loss/val, above: 0.5, below: 9}, {finding: plateau, tag: accuracy/val}, {any: [slow]}]}
    do: {set: {optimizer.name: adam}, add: {batch_size: -16}, resume: best}
  - {name: memory, when: {health: out-of-memory}, do: {resources: {mem: 64G}, exclude_node: true}}
  - {name: again, when: {health: lost}, do: {resume: last-healthy}}
  - {name: odd, when: {finding: spike}, do: {ask: true}}
agent: {ask: every-tick, model: gpt, vision_model: gpt-v, where: laptop}
notify: [{mail: me@example.org, on: [person]}, {file: /home/me/ntfy}]
```
The end.
"""


def test_everything_is_understood_wherever_it_stands() -> None:
    wishes = parse_preferences(FULL, "preferences.md")
    assert wishes.objective is not None
    assert (wishes.objective.tag, wishes.objective.goal, wishes.objective.target) == ("accuracy/val", "max", 0.97)
    assert wishes.metrics[0].tag == "loss (val)"
    assert wishes.limits.mode == "auto"
    assert wishes.limits.cooldown_s == 5400
    assert wishes.limits.resources["partition"].choices == ("gpu", "long")
    assert wishes.tunables["optimizer.lr"] == Tunable(min=1e-5, max=1.0, max_factor=10.0, tag="lr")
    assert [rule.name for rule in wishes.rules] == ["diverged", "stuck", "memory", "again", "odd"]
    assert wishes.rules[0].when == Condition(any=(Condition(finding="nan"), Condition(finding="diverging")))
    assert wishes.rules[0].max_times == 3
    assert wishes.rules[1].when.all is not None
    assert wishes.rules[1].when.all[2] == Condition(any=(Condition(finding="slow"),))
    assert wishes.rules[1].do.tunables == ("optimizer.name", "batch_size")
    assert wishes.rules[2].when.health == "out-of-memory"
    assert wishes.agent is not None
    assert wishes.notify == (Notify(mail="me@example.org", on=("person",)), Notify(file=Path("/home/me/ntfy")))


def test_the_prose_is_kept_without_the_blocks_that_are_enforced() -> None:
    prose = parse_preferences(FULL, "preferences.md").prose
    assert prose.startswith("# What I want\nAccuracy. `inline code` and\n\n```python\nlimits = {}\n```")
    assert prose.endswith("The end.")
    assert "max_attempts" not in prose


def test_the_defaults_watch_and_change_nothing() -> None:
    for wishes in (Preferences(), parse_preferences("Only words.\n", "p.md")):
        assert wishes.limits.mode == "observe"
        assert (wishes.limits.max_attempts, wishes.limits.cooldown_s, wishes.limits.gpu_hours) == (8, 1800, None)
        assert not wishes.tunables
        assert not wishes.rules
        assert wishes.agent is None


def test_the_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "preferences.md"
    path.write_bytes(b"\xef\xbb\xbfwords\r\n\r\n```yaml\r\nlimits: {max_attempts: 2}\r\n```\r\n")
    wishes = load_preferences(path)
    assert wishes.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert wishes.limits.max_attempts == 2
    assert wishes.file == str(path)


# --- blocks -----------------------------------------------------------------------------------------------------


def test_a_key_in_two_blocks_names_both_lines_and_the_first_is_still_checked() -> None:
    text = block("limits: {mode: autoo}") + block("agent: {ask: never}\nlimits: {}")
    first, second = problems(text)
    assert (first.line, second.line) == (3, 8)
    assert "did you mean `auto`?" in first.message
    assert "`limits` is given twice, in lines 3 and 8" in second.message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("words\n\n```yaml\nlimits: {}\n", 3, "never closed"),
        ("words\n```yaml\nlimits:\n\tmode: auto\n```\n", 4, "a tab"),
        ("```yaml\n- a\n```\n", 2, "must hold `key: value` lines"),
        ("```yaml\na: 1\n---\nb: 1\n```\n", 3, "second document"),
        ("```yaml\nlimit: {}\n```\n", 2, "did you mean `limits`?"),
        ("````yaml\nlimits: {mode: x}\n```\n````\n", 3, "not valid YAML"),
    ],
)
def test_problems_have_the_lines_of_the_markdown_file(text: str, line: int, words: str) -> None:
    (problem,) = problems(text)
    assert problem.line == line
    assert words in problem.message


def test_each_block_is_checked_though_another_is_broken() -> None:
    found = problems(block("limits: [") + block("objective: {tag: a}") + "```yaml\n# only a comment\n```\n")
    assert [problem.line for problem in found] == [3, 7]


def test_a_block_that_forgot_to_say_yaml_is_a_warning() -> None:
    (problem,) = read_preferences("```\nlimits: {max_attempts: 1}\n```\n```\n$ ls: x\n```\n", "p.md").problems
    assert problem.warning
    assert problem.line == 1
    assert "begin it with ```yaml" in problem.message


# --- each field wrong in turn -----------------------------------------------------------------------------------

LR = "tunables: {lr: {min: 0.1, max: 1.0, max_factor: 10}, c: {choices: [1, 2]}}\n"

WRONG = [
    ("objective: accuracy", "must be a mapping"),
    ("objective: {goal: max}", "`objective.tag` is missing"),
    ("objective: {tag: a}", "`objective.goal` is missing"),
    ("objective: {tag: 5, goal: max}", "must be text, not a number (5)"),
    ("objective: {tag: '', goal: max}", "must not be empty"),
    ("objective: {tag: a, goal: maximum}", "did you mean `max`?"),
    ("objective: {tag: a, goal: 1}", "must be text, not a number"),
    ("objective: {tag: a, goal: max, target: high}", "must be a number, not text (high)"),
    ("objective: {tag: a, goal: max, target: 9e-1}", "write 9.0e-1"),
    ("objective: {tag: a, goal: max, target: .nan}", "finite"),
    ("objective: {tag: a, goal: max, traget: 1}", "did you mean `target`?"),
    ("metrics: {tag: a, goal: max}", "must be a list, not a mapping"),
    ("metrics: [{tag: a, goal: max, threshold: yes}]", "must be a number"),
    ("metrics: [{tag: a, goal: max}, {tag: a, goal: min}]", "taken by the one in line 3"),
    ("tunables: [lr]", "must be a mapping"),
    ("tunables: {lr: 0.1}", "must be a mapping"),
    ("tunables: {lr: {}}", "needs `min` and `max`, or `choices`"),
    ("tunables: {lr: {min: 0.1}}", "needs `min` and `max`"),
    ("tunables: {lr: {min: 1.0, max: 0.1}}", "must be less than"),
    ("tunables: {lr: {min: 1, max: 1}}", "must be less than"),
    ("tunables: {lr: {min: 1e-3, max: 1}}", "YAML reads 1e-3 as text: write 1.0e-3"),
    ("tunables: {lr: {min: .inf, max: 1}}", "finite"),
    ("tunables: {lr: {min: 0.1, max: 1, max_factor: 1}}", "must be more than 1"),
    ("tunables: {lr: {min: 0.1, max: 1, choices: [1]}}", "don't go with"),
    ("tunables: {lr: {choices: []}}", "must not be empty"),
    ("tunables: {lr: {choices: [[1]]}}", "must be one value"),
    ("tunables: {lr: {choices: [1e-3]}}", "write 1.0e-3"),
    ("tunables: {lr: {choices: [1], tag: 5}}", "must be text"),
    ("tunables: {optimizer..lr: {choices: [1]}}", "dotted key"),
    ("tunables: {lr: {choices: [1], maxfactor: 3}}", "did you mean `max_factor`?"),
    ("limits: auto", "must be a mapping"),
    ("limits: {mode: atuo}", "did you mean `auto`?"),
    ("limits: {mode: yes}", "must be text, not true/false (yes)"),
    ("limits: {max_attempts: 0}", "must be at least 1, not 0"),
    ("limits: {max_attempts: 2.5}", "must be a whole number"),
    ("limits: {cooldown: 30}", "with its unit"),
    ("limits: {cooldown: 30 minutes}", "such as 90s, 30m"),
    ("limits: {cooldown: -5m}", "such as 90s, 30m"),
    ("limits: {gpu_hours: -1}", "must be at least 0"),
    ("limits: {gpu_hours: many}", "must be a number"),
    ("limits: {llm_tokens_per_day: 1.5}", "must be a whole number"),
    ("limits: {fast_path: 1}", "must be true or false"),
    ("limits: {max_attempt: 1}", "did you mean `max_attempts`?"),
    ("limits: {resources: {memory: {max: 1G}}}", "did you mean `mem`?"),
    ("limits: {resources: {mem: {}}}", "either `max` or `choices`"),
    ("limits: {resources: {mem: {max: lots}}}", "such as 16G"),
    ("limits: {resources: {partition: {max: 5}}}", "bound it with `choices`"),
    ("rules: {name: a}", "must be a list"),
    ("rules: [{when: [nan], do: {ask: true}}]", "`rules[0].name` is missing"),
    ("rules: [{name: a, do: {ask: true}}]", "`rules[0].when` is missing"),
    ("rules: [{name: a, when: [nan]}]", "`rules[0].do` is missing"),
    ("rules: [{name: a, when: [nann], do: {ask: true}}]", "did you mean `nan`?"),
    ("rules: [{name: a, when: [], do: {ask: true}}]", "must not be empty"),
    ("rules: [{name: a, when: {}, do: {ask: true}}]", "exactly one of all, any, finding, metric, change, health"),
    ("rules: [{name: a, when: {finding: nan, health: lost}, do: {ask: true}}]", "exactly one of"),
    ("rules: [{name: a, when: {metric: loss}, do: {ask: true}}]", "need `above` or `below`"),
    ("rules: [{name: a, when: {change: loss, over: 9}, do: {ask: true}}]", "need `above` or `below`"),
    ("rules: [{name: a, when: {change: loss, above: 1}, do: {ask: true}}]", "needs `over`, a number of steps"),
    ("rules: [{name: a, when: {metric: loss, above: 1, over: 5}, do: {ask: true}}]", "`change` needs `over`"),
    ("rules: [{name: a, when: {change: loss, above: 1, over: 0}, do: {ask: true}}]", "must be at least 1"),
    ("rules: [{name: a, when: {finding: nan, above: 1}, do: {ask: true}}]", "these two need one of them"),
    ("rules: [{name: a, when: {metric: loss, above: high}, do: {ask: true}}]", "must be a number"),
    ("rules: [{name: a, when: {metric: loss, above: 1, tag: x}, do: {ask: true}}]", "`tag` goes with `finding`"),
    ("rules: [{name: a, when: {health: out-of-memroy}, do: {ask: true}}]", "did you mean `out-of-memory`?"),
    ("rules: [{name: a, when: {al: [nan]}, do: {ask: true}}]", "did you mean `all`?"),
    ("rules: [{name: a, when: 5, do: {ask: true}}]", "must be a mapping"),
    ("rules: [{name: a, when: [nan], do: ask}]", "must be a mapping"),
    ("rules: [{name: a, when: [nan], do: {}}]", "does nothing"),
    ("rules: [{name: a, when: [nan], do: {stop: false}}]", "does nothing"),
    ("rules: [{name: a, when: [nan], do: {shell: rm}}]", "unknown key `rules[0].do.shell`"),
    ("rules: [{name: a, when: [nan], do: {stop: true, resume: best}}]", "stand alone"),
    ("rules: [{name: a, when: [nan], do: {stop: true, ask: true}}]", "stand alone"),
    ("rules: [{name: a, when: [nan], do: {resume: latest}}]", "unknown value 'latest'"),
    ("rules: [{name: a, when: [nan], do: {resume: best}}]", "judged by an `objective`"),
    ("rules: [{name: a, when: [nan], do: {exclude_node: n1}}]", "must be true or false"),
    ("rules: [{name: a, when: [nan], do: {scale: {lr: 0.1}}}]", "not among the `tunables`; there are none yet"),
    ("rules: [{name: a, when: [nan], do: {resources: {mem: 1G}}}]", "allow it there first"),
    ("rules: [{name: a, when: [nan], do: {ask: true}, max_times: 0}]", "must be at least 1"),
    ("rules: [{name: a, when: [nan], do: {ask: true}}, {name: a, when: [nan], do: {ask: true}}]", "taken by the one"),
    (LR + "rules: [{name: a, when: [nan], do: {scale: {lrr: 0.1}}}]", "did you mean `lr`?"),
    (LR + "rules: [{name: a, when: [nan], do: {scale: {lr: 0}}}]", "must be more than 0"),
    (LR + "rules: [{name: a, when: [nan], do: {scale: {lr: half}}}]", "must be a number"),
    (LR + "rules: [{name: a, when: [nan], do: {scale: {lr: 0.05}}}]", "more than its max_factor (10"),
    (LR + "rules: [{name: a, when: [nan], do: {scale: {lr: 11}}}]", "more than its max_factor (10"),
    (LR + "rules: [{name: a, when: [nan], do: {scale: {c: 2}}}]", "use `set`"),
    (LR + "rules: [{name: a, when: [nan], do: {add: {c: 2}}}]", "use `set`"),
    (LR + "rules: [{name: a, when: [nan], do: {set: {lr: 5}}}]", "outside 0.1 to 1"),
    (LR + "rules: [{name: a, when: [nan], do: {set: {lr: fast}}}]", "not a number"),
    (LR + "rules: [{name: a, when: [nan], do: {set: {lr: 5e-1}}}]", "write 5.0e-1"),
    (LR + "rules: [{name: a, when: [nan], do: {set: {c: 3}}}]", "none of its choices (1, 2)"),
    (LR + "rules: [{name: a, when: [nan], do: {set: {c: true}}}]", "none of its choices (1, 2)"),
    (LR + "rules: [{name: a, when: [nan], do: {set: {lr: 0.5}, scale: {lr: 0.5}}}]", "in two ways"),
    (
        "limits: {resources: {mem: {max: 32G}}}\nrules: [{name: a, when: [nan], do: {resources: {mem: 1T}}}]",
        "1T is more than 32G",
    ),
    ("agent: gpt", "must be a mapping"),
    ("agent: {}", "needs `model`, or `ask: never`"),
    ("agent: {ask: always, model: x}", "unknown value 'always'"),
    ("agent: {model: x, where: cloud}", "known are tick, laptop"),
    ("agent: {model: 5}", "must be text"),
    ("agent: {ask: never, vision_model: [x]}", "must be text, not a list"),
    ("agent: {ask: never, api_key: x}", "unknown key `agent.api_key`"),
    ("notify: me@example.org", "must be a list"),
    ("notify: [5]", "must be a mapping"),
    ("notify: [me@example.org]", "must be `{mail: ADDRESS}`, `{file: PATH}` or `{env: NAME}`"),
    ("notify: [{mail: me@example.org, env: WHERE}]", "needs exactly one of `mail`, `file` and `env`"),
    ("notify: [{on: [person]}]", "needs exactly one of `mail`, `file` and `env`"),
    ("notify: [{mail: -bs}]", "must be one address"),
    ("notify: [{mail: 'a@example.org, b@example.org'}]", "must be one address"),
    ("notify: [{file: secrets/ntfy}]", "must be an absolute path"),
    ("notify: [{env: 'ntfys://secret@host'}]", "must be the name of an environment variable"),
    ("notify: [{env: NTFY, on: [hourly]}]", "known are decision, person, end, digest"),
    ("notify: [{env: NTFY, on: []}]", "must not be empty"),
    ("goal: max", "unknown key `goal`"),
    ("prose: x", "unknown key `prose`"),
    ("sha256: x", "unknown key `sha256`"),
    ("limits: {mode: auto, mode: observe}", "`mode` is given twice, in lines 3 and 3"),
    ("limits: !!python/name:os.system x", "tag"),
]


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[case[0].removeprefix(LR) for case in WRONG])
def test_one_wrong_field_is_one_problem_at_its_line(text: str, words: str) -> None:
    (problem,) = problems(block(text))
    assert words in problem.message
    assert problem.line == (4 if "\n" in text else 3)
    assert problem.file == "preferences.md"


def test_every_problem_of_every_block_is_found_at_once() -> None:
    text = block(
        textwrap.dedent("""
        objektive: {tag: a, goal: max}
        limits:
          mode: always
          cooldown: 5
        rules:
          - {name: a, when: [plateu], do: {scale: {lr: 0.1}}}
          - {name: b, when: [nan], do: {scale: {lr: -1}, retry: true}}
        agent: {ask: never, modle: x}
        """)
    )
    assert [problem.line for problem in problems(text)] == [4, 6, 7, 9, 10, 10, 11]


# --- what the bounds answer -------------------------------------------------------------------------------------


def test_a_tunable_refuses_what_is_out_of_its_bounds() -> None:
    lr = Tunable(min=0.1, max=1.0, max_factor=10.0)
    assert lr.refusal(0.1) is None
    assert lr.refusal(1) is None
    assert lr.factor_refusal(0.1) is None  # 1/10 has no exact float
    assert lr.factor_refusal(10) is None
    for bad in (0.0999, 1.1, "0.5", True, None, float("nan"), float("inf")):
        assert lr.refusal(bad), bad
    assert lr.factor_refusal(0.0999)


@pytest.mark.parametrize(
    ("name", "most", "allowed", "refused"),
    [
        ("mem", "64G", ("64G", "65536", "500M"), ("65G", "1T", "0", "x")),
        ("time", "2-00:00:00", ("48:00:00", "30"), ("2-01", "0", "UNLIMITED")),
        ("nodes", 4, (1, 4, "3"), (5, "many", -1, 1.5)),
        ("gpus_per_node", "a100:4", ("v100:4", 2), ("a100:8", "x")),
    ],
)
def test_a_resource_bound_compares_what_slurm_would_give(
    name: str, most: str | int, allowed: tuple[str | int, ...], refused: tuple[str | int, ...]
) -> None:
    bound = ResourceBound(max=most)
    assert [value for value in allowed if bound.refusal(name, value)] == []
    assert [value for value in refused if not bound.refusal(name, value)] == []
