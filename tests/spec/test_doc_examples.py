# SPDX-License-Identifier: Apache-2.0
"""Examples in the documentation are what `ade-hpc check` accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ade_hpc.spec.check import check
from ade_hpc.spec.preferences import parse_preferences
from ade_hpc.spec.site import load_site

TOP = Path(__file__).parents[2]


def test_the_site_file_of_the_documentation_is_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (TOP / "docs/site.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    (tmp_path / "site.yaml").write_text(blocks[0])
    site = load_site({"ADE_SITE": str(tmp_path / "site.yaml"), "USER": "somebody"})
    assert site.defaults.partition == "gpu"


@pytest.mark.parametrize("name", ["jobs/experiment.yaml", "preferences.md"])
def test_the_examples_of_the_repository_have_no_errors(name: str) -> None:
    assert [problem for problem in check([TOP / name]) if not problem.warning] == []


def test_the_preferences_of_the_page_on_notifications_are_valid() -> None:
    (block,) = re.findall(r"```yaml\n.*?```", (TOP / "docs/notify.md").read_text(), re.DOTALL)
    assert [one.label.split()[0] for one in parse_preferences(block, "notify.md").notify] == ["mail", "file", "env"]
