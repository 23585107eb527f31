# SPDX-License-Identifier: Apache-2.0
"""Every YAML block in README and docs/ is what the program accepts: read as the file of which it is a part."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ade_hpc.errors import SpecError
from ade_hpc.spec.check import check
from ade_hpc.spec.experiment import load_experiment
from ade_hpc.spec.experiment_fields import ExperimentFile
from ade_hpc.spec.preference_fields import PreferencesFile
from ade_hpc.spec.preferences import read_preferences
from ade_hpc.spec.site import Site, load_site
from tests.support.pages import PAGES, TOP, Block, blocks

ALL = [block for page in PAGES for block in blocks(page)]
YAML = [block for block in ALL if block.language == "yaml"]
REST_OF_AN_EXPERIMENT = {"name": "x", "command": ["true"]}


def keys_of(model: type) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}  # type: ignore[attr-defined]  # pydantic


SITE, EXPERIMENT, PREFERENCES = keys_of(Site), keys_of(ExperimentFile), keys_of(PreferencesFile)


def readings(text: str, folder: Path) -> list[str]:
    """The files of which this may be a part, each read without an error; raises where one of them is wrong."""
    keys, read = set(yaml.safe_load(text)), []
    if keys <= SITE:
        (folder / "site.yaml").write_text(text)
        load_site({"ADE_SITE": str(folder / "site.yaml"), "USER": "somebody"})
        read.append("site.yaml")
    if keys <= EXPERIMENT:
        rest = {key: value for key, value in REST_OF_AN_EXPERIMENT.items() if key not in keys}
        (folder / "experiment.yaml").write_text(f"{yaml.safe_dump(rest) if rest else ''}{text}")
        for name in ("config.yaml", "preferences.md"):
            (folder / name).write_text("a: 1\n" if name == "config.yaml" else "Nothing.\n")
        load_experiment(folder / "experiment.yaml", Site())
        read.append("experiment.yaml")
    if keys <= PREFERENCES:
        found = read_preferences(f"```yaml\n{text}```\n", "preferences.md")
        assert found.problems == ()
        read.append("preferences.md")
    return read


@pytest.mark.parametrize("block", YAML, ids=str)
def test_a_block_is_part_of_one_of_the_files(block: Block, tmp_path: Path) -> None:
    assert readings(block.text, tmp_path)


def test_wrong_blocks_would_be_noticed(tmp_path: Path) -> None:
    assert readings("objectiv: {tag: a, goal: max}\n", tmp_path) == []
    with pytest.raises(AssertionError):
        readings("tunables: {lr: {min: 1.0}}\n", tmp_path)
    with pytest.raises(SpecError):
        readings("schedule: {tim: 5}\n", tmp_path)


def test_yaml_stands_in_blocks_that_say_so() -> None:
    """An indented block that holds YAML would never be read by the tests above."""
    key = re.compile(rf"(?:- *)?(?:{'|'.join(sorted(SITE | EXPERIMENT | PREFERENCES))}):", re.MULTILINE)
    assert [str(block) for block in ALL if block.language != "yaml" and key.match(block.text.lstrip())] == []


@pytest.mark.parametrize("name", ["jobs/experiment.yaml", "preferences.md"])
def test_the_examples_of_the_repository_have_no_errors(name: str) -> None:
    assert [problem for problem in check([TOP / name]) if not problem.warning] == []


def test_the_page_on_the_site_file_names_every_key_of_it() -> None:
    text = (TOP / "docs/site.md").read_text()
    assert [key for key in sorted(SITE) if not re.search(rf"\b{key}\b", text)] == []
