# SPDX-License-Identifier: Apache-2.0
"""Examples in the documentation are what `ade-hpc check` accepts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Health, JobTruth
from ade_hpc.policy.rules import propose
from ade_hpc.policy.snapshot import Snapshot
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


def test_the_recipes_are_valid() -> None:
    blocks = re.findall(r"```yaml\n.*?```", (TOP / "docs/preferences.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        parse_preferences(block, "preferences.md")


@pytest.mark.parametrize(
    ("loss", "slope", "fires"),
    [(0.7, 0.0, True), (0.4, 0.0, False), (0.7, 2e-5, False), (0.7, -2e-5, False), (0.4, 2e-5, False)],
)
def test_the_intent_of_the_first_recipe_is_kept(loss: float, slope: float, fires: bool) -> None:
    """Only change the learning rate when the validation loss is above the threshold and the accuracy is flat."""
    text = (TOP / "docs/preferences.md").read_text()
    (block, *_) = re.findall(r"```yaml\n.*?```", text, re.DOTALL)
    steps = np.arange(0, 2001, 10)
    noise = np.random.default_rng(0).normal(0, 0.003, len(steps))
    wanted = {"loss/val": loss + 0 * steps, "accuracy/val": 0.8 + slope * steps + noise}
    curves = Curves({tag: Series(tag, steps, 1.0 * steps, values) for tag, values in wanted.items()})
    snapshot = Snapshot("x", 0.0, 1, JobTruth("running"), curves=curves, config={"optimizer.lr": 0.01})
    proposal = propose(snapshot, Health("running"), (), parse_preferences(block, "preferences.md"))
    assert (proposal is not None) == fires
    if proposal is not None:
        assert [(one.key, one.new) for one in proposal.changes] == [("optimizer.lr", 0.005)]
        assert proposal.reason.startswith("loss/val is 0.7; accuracy/val has changed by ")


def test_the_preferences_of_the_page_on_notifications_are_valid() -> None:
    (block,) = re.findall(r"```yaml\n.*?```", (TOP / "docs/notify.md").read_text(), re.DOTALL)
    assert [one.label.split()[0] for one in parse_preferences(block, "notify.md").notify] == ["mail", "file", "env"]
