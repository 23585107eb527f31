# SPDX-License-Identifier: Apache-2.0
"""No text whatever makes reading a file raise anything but SpecError, or take long."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ade_hpc.errors import Problem, SpecError
from ade_hpc.spec.check import check
from ade_hpc.spec.experiment import Experiment, load_experiment
from ade_hpc.spec.preferences import parse_preferences
from ade_hpc.spec.site import Site, load_site
from ade_hpc.spec.templates import TEMPLATES
from ade_hpc.spec.units import format_duration, parse_duration

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")

EVERY_FIELD = """
name: a
command: [python, "{config}"]
partition: gpu
time: 1:00:00
mem: 1G
gpus_per_node: a100:2
gres: gpu:1
exclude: [n1]
sbatch: {mail-type: END}
skip: [mem]
setup: [module load x]
image: x.sif
binds: [a:/b:rw, {source: a, target: /c}]
env: {A: 1}
pass_env: [B]
tensorboard: runs
checkpoint: {pattern: "{step}.pt", resume: "{path}", signal: USR1, complete: x}
signal_delay: 90s
stall_floor: 4m
push: origin
"""
RULES = """
```yaml
objective: {tag: a, goal: max}
metrics: [{tag: b, goal: min, threshold: 1}]
tunables: {lr: {min: 0.1, max: 1, max_factor: 2, tag: lr}, c: {choices: [1, x]}}
limits: {mode: auto, cooldown: 1m, resources: {mem: {max: 1G}, time: {max: 60}}}
```
```yaml
rules:
  - {name: r, when: {all: [nan, {metric: b, above: 1}, {health: lost}]}, do: {scale: {lr: 0.5}, set: {c: x}}}
  - {name: s, when: [nan], do: {resources: {mem: 1G, time: 30}, exclude_node: true, resume: best}}
agent: {ask: never}
```
"""
SITE = "defaults: {time: 1:00}\nrunS_dir: $A/x\nheartbeat_interval: 3s\nslurm_timeout: 1m\ncontainer: /x\n"
MARKS = [*"!{}[],#@`~:-='\"", "!!", "&a ", "*a", "<<: ", ": ", "- ", "? ", "\n", "\n  ", "\t", "|\n ", "\0", "\\"]
FRAMES = ["```yaml\n", "\n```\n", "~~~", "%YAML 1.1\n---\n", "...", "---\n", "\x85", "\u2028", "\ufeff", "\x1b[2J"]
VALUES = [
    "null",
    "yes",
    ".nan",
    "-.inf",
    "1e-3",
    "0x_",
    "0b",
    "1:2:3",
    "1" * 50,
    "2026-99-99",
    '"\\U00110000"',
    '"\\ud800"',
]
WORDS = [
    "name",
    "command",
    "time",
    "mem",
    "rules",
    "when",
    "all",
    "do",
    "tunables",
    "{config",
    "$A",
    "~x/",
    "/",
    "..",
    '"\\e\\n"',
]
TOKENS = st.sampled_from([*MARKS, *FRAMES, *VALUES, *WORDS])
SOUP = st.one_of(st.text(max_size=300), st.lists(TOKENS, max_size=60).map("".join))


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """A right file with a few pieces cut out, doubled or replaced."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(st.one_of(TOKENS, st.just(""), st.just(text[start:end] * 2))) + text[end:]
    return text


def bounded(action: Callable[..., object], *arguments: object) -> object:
    """Run it; SpecError with printable problems is an answer, anything else and everything slow is a fault."""
    before = time.process_time()
    try:
        result = action(*arguments)
        problems: Sequence[Problem] = result if isinstance(result, list) else ()
    except SpecError as error:
        result, problems = None, error.problems
    assert time.process_time() - before < 5
    assert [problem for problem in problems if problem.line < 1 or not problem.message.isprintable()] == []
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("soup")


fast = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@fast
@given(text=st.one_of(SOUP, damaged(EVERY_FIELD), damaged(TEMPLATES["experiment.yaml"])))
def test_any_text_is_an_experiment_that_survives_storage_or_a_spec_error(folder: Path, text: str) -> None:
    path = folder / "experiment.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    experiment = bounded(load_experiment, path, Site())
    if isinstance(experiment, Experiment):
        assert Experiment.from_json(experiment.to_json()) == experiment
        assert all("\n" not in str(value) for value in experiment.directives().values())
        assert experiment.request({}).gpu_hours >= 0


@fast
@given(text=st.one_of(SOUP, damaged(RULES), damaged(TEMPLATES["preferences.md"]), SOUP.map("```yaml\n{}".format)))
def test_any_text_is_preferences_or_a_spec_error(text: str) -> None:
    bounded(parse_preferences, text, "preferences.md")


@fast
@given(text=st.one_of(SOUP, damaged(SITE)))
def test_any_text_is_a_site_or_a_spec_error(folder: Path, text: str) -> None:
    path = folder / "site.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    bounded(load_site, {"ADE_SITE": str(path), "A": "/a"})


@fast
@given(content=st.binary(max_size=300), config=st.one_of(SOUP, damaged(TEMPLATES["config.yaml"])))
def test_check_never_raises(folder: Path, content: bytes, config: str) -> None:
    (folder / "x.yaml").write_bytes(content)
    (folder / "x.md").write_bytes(content)
    (folder / "config.yaml").write_bytes(config.encode(errors="surrogatepass"))
    (folder / "e.yaml").write_text("name: a\ncommand: x\nconfig: config.yaml\npreferences: p.md\n")
    (folder / "p.md").write_text("```yaml\ntunables: {optimizer.lr: {min: 0.1, max: 1}}\n```\n")
    bounded(check, [folder / "x.yaml", folder / "x.md", folder / "e.yaml"], {"HOME": str(folder)})


@given(seconds=st.integers(0, 10**9).map(lambda micro: micro / 1e6) | st.integers(0, 10**8))
def test_a_duration_survives_being_written(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)
