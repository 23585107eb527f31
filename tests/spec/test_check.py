# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc check`: all problems of all files at once, also between the files, and ways back into the live checkout."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ade_hpc.errors import Problem
from ade_hpc.spec.check import check
from ade_hpc.spec.templates import TEMPLATES, init

Write = Callable[..., Path]

WISHES = """
    ```yaml
    tunables:
      optimizer.lr: {min: 1.0e-4, max: 1.0}
      layers.1.size: {choices: [8, 16]}
    ```
"""
CONFIG = "optimizer: {lr: 0.1}\nlayers: [{size: 8}, {size: 16}]\n"
EXPERIMENT = "name: a\ncommand: python train.py\nconfig: config.yaml\n"


@pytest.fixture
def project(write: Write) -> Callable[..., list[Problem]]:
    """Check an experiment.yaml with preferences and a config beside it."""

    def check_project(experiment: str = EXPERIMENT, wishes: str = WISHES, config: str = CONFIG) -> list[Problem]:
        write(wishes, "preferences.md").chmod(0o644)
        write(config, "config.yaml")
        return check([write(experiment)], {"HOME": "/nonexistent"})

    return check_project


def found(problems: list[Problem]) -> list[tuple[str, int, bool]]:
    return [(Path(problem.file).name, problem.line, problem.warning) for problem in problems]


def test_files_that_fit_together_have_no_problems(project: Callable[..., list[Problem]]) -> None:
    assert project() == []


def test_all_files_are_looked_at_though_each_is_wrong(project: Callable[..., list[Problem]]) -> None:
    problems = project(EXPERIMENT + "nodes: 0", WISHES.replace("1.0}", "1.0, x: 1}"), "optimizer: {lr: 0.1, lr: 1}")
    assert found(problems) == [
        ("experiment.yaml", 4, False),
        ("preferences.md", 3, False),
        ("config.yaml", 1, False),
    ]


@pytest.mark.parametrize(
    ("config", "name", "line", "warning", "words"),
    [
        ("optimizer: {rl: 0.1}\nlayers: [{size: 8}, {size: 8}]", "preferences.md", 3, False, "not in "),
        ("optimizer: {lr: 0.1}\nlayers: [{size: 8}]", "preferences.md", 4, False, "did you mean `layers.0.size`?"),
        ("a: 1\noptimizer: {lr: 1e-3}\nlayers: [1, {size: 8}]", "config.yaml", 2, False, "write 1.0e-3"),
        ("a: 1\noptimizer: {lr: 2.0}\nlayers: [1, {size: 8}]", "config.yaml", 2, True, "outside 0.0001 to 1"),
        ("a: 1\noptimizer: {lr: fast}\nlayers: [1, {size: 8}]", "config.yaml", 2, True, "not a number"),
        ("a: 1\nb: [", "config.yaml", 2, False, "not valid YAML"),
        ("a: 1\nb:\n\tc: 1", "config.yaml", 3, False, "a tab"),
        ("just words", "config.yaml", 1, False, "must hold `key: value` lines"),
    ],
)
def test_a_tunable_must_be_in_the_config_with_a_value_that_can_be_tuned(
    project: Callable[..., list[Problem]], config: str, name: str, line: int, warning: bool, words: str
) -> None:
    (problem,) = project(config=config)
    assert found([problem]) == [(name, line, warning)]
    assert words in problem.message


def test_tunables_without_a_config_can_change_nothing(project: Callable[..., list[Problem]]) -> None:
    (problem,) = project("name: a\ncommand: x")
    assert "names no `config:`" in problem.message
    assert found([problem]) == [("preferences.md", 2, False)]


@pytest.mark.parametrize("wishes", ["Get the accuracy up.", "```yaml\n# rules: []\n```", "```\nsomething else\n```"])
def test_words_alone_change_nothing_and_that_is_said(project: Callable[..., list[Problem]], wishes: str) -> None:
    problems = project(EXPERIMENT, wishes)
    assert found(problems) == [("preferences.md", 1, True)]
    assert "every run is only watched" in problems[0].message


def test_a_config_may_use_the_tags_of_its_own_loader(project: Callable[..., list[Problem]]) -> None:
    assert project(config=CONFIG + "data: !env DATA\n") == []


def test_preferences_that_others_can_write_are_an_error(write: Write) -> None:
    path = write(WISHES, "preferences.md")
    path.chmod(0o666)
    (problem,) = check([path], {"HOME": "/nonexistent"})
    assert "chmod go-w" in problem.message


def test_the_site_file_is_checked_too_and_each_problem_is_told_once(write: Write, tmp_path: Path) -> None:
    site = write("max_live_attempts: 0", "site.yaml")
    one, two = write("name: a\ncommand: x", "a.yaml"), tmp_path / "nothing.yaml"
    problems = check([one, two, site, one], {"ADE_SITE": str(site)})
    assert found(problems) == [("site.yaml", 1, False), ("nothing.yaml", 1, False)]


# --- the live checkout ------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path, write: Write) -> Path:
    """A git work tree, with an environment beside it that has nothing to do with it."""
    subprocess.run(["git", "init", "-q", str(tmp_path / "tree")], check=True, timeout=20)
    write("", "venv/lib/python3.11/site-packages/other.pth")
    write("", "tree/src/model.py")
    return tmp_path / "tree"


def warnings(tree: Path, text: str) -> list[str]:
    path = tree / "experiment.yaml"
    path.write_text(f"name: a\ncommand: python train.py\n{text}\n")
    problems = check([path], {"HOME": "/nonexistent"})
    assert all(problem.warning for problem in problems), problems
    return [f"{problem.line} {problem.message}" for problem in problems if "live checkout" in problem.message]


def test_binds_of_the_checkout_are_warned_of_and_others_are_not(tree: Path) -> None:
    (tree.parent / "link").symlink_to(tree / "src")
    said = warnings(
        tree, f"image: a.sif\nbinds:\n  - src:/src\n  - {tree.parent}/venv:/data\n  - {tree.parent}/link:/l"
    )
    assert [text.split(":")[0] for text in said] == ["5 `binds[0]`", "7 `binds[2]`"]


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("env: {PYTHONPATH: '/opt/x:TREE/src'}", True),
        ("setup: ['export PYTHONPATH=\"TREE:$PYTHONPATH\"']", True),
        ("setup: ['PYTHONPATH=TREE/src exec true']", True),
        ("env: {PYTHONPATH: src}", False),  # relative: that is the frozen code, as it should be
        ("env: {PYTHONPATH: /opt/x}", False),
        ("setup: ['export PYTHONPATH=']", False),
    ],
)
def test_a_python_path_into_the_checkout_is_warned_of(tree: Path, text: str, warned: bool) -> None:
    assert bool(warnings(tree, text.replace("TREE", str(tree)))) == warned


@pytest.mark.parametrize("setup", ["source VENV/bin/activate", ". 'VENV/bin/activate'", "conda activate VENV"])
@pytest.mark.parametrize("kind", ["pth", "egg-link", "direct_url", "copied", "elsewhere"])
def test_an_editable_install_of_the_checkout_is_warned_of(tree: Path, write: Write, setup: str, kind: str) -> None:
    where = tree.parent / "elsewhere" if kind == "elsewhere" else tree
    name, text = {
        "egg-link": ("mine.egg-link", f"{where}/src\n.\n"),
        "direct_url": (
            "mine-1.0.dist-info/direct_url.json",
            json.dumps({"url": f"file://{where}", "dir_info": {"editable": True}}),
        ),
        "copied": ("mine-1.0.dist-info/direct_url.json", json.dumps({"url": f"file://{where}", "dir_info": {}})),
    }.get(kind, ("mine.pth", f"{where}/src\nimport sys; sys.path\n"))
    write(text, f"venv/lib/python3.11/site-packages/{name}")
    said = warnings(tree, f'setup: ["{setup.replace("VENV", str(tree.parent / "venv"))}"]')
    assert bool(said) == (kind in ("pth", "egg-link", "direct_url"))
    assert all("mine" in text for text in said)


def test_an_interpreter_named_in_the_command_is_looked_at_too(tree: Path, write: Write) -> None:
    write(f"{tree}/src\n", "venv/lib/python3.11/site-packages/mine.pth")
    path = tree / "experiment.yaml"
    path.write_text(f"name: a\ncommand: {tree.parent}/venv/bin/python train.py\n")
    assert any("mine.pth" in problem.message for problem in check([path], {"HOME": "/nonexistent"}))


# --- init -------------------------------------------------------------------------------------------------------


def test_what_init_writes_passes_check(tmp_path: Path) -> None:
    written = init(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in written] == list(TEMPLATES)
    assert check([tmp_path / "experiment.yaml", tmp_path / "preferences.md"], {"HOME": "/nonexistent"}) == []


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine: 1\n")
    (tmp_path / "preferences.md").symlink_to(tmp_path / "dangling.md")
    assert {path.name for path in init(tmp_path)} == {"experiment.yaml", "trainer.def"}
    assert (tmp_path / "config.yaml").read_text() == "mine: 1\n"
    assert not (tmp_path / "dangling.md").exists()
    assert init(tmp_path) == []


def test_the_preferences_of_the_demo_are_right_and_say_what_the_demo_needs() -> None:
    path = Path(__file__).parents[2] / "preferences.md"
    problems = [problem for problem in check([path], {"HOME": "/nonexistent"}) if "chmod" not in problem.message]
    assert problems == []
