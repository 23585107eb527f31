# SPDX-License-Identifier: Apache-2.0
"""What every test of a file needs: write a text, read it back, and see its problems."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ade_hpc.spec.experiment import Experiment, load_experiment
from ade_hpc.spec.site import Site


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a text, without its indentation, to a file of this name below the test's folder."""

    def write_file(text: str, name: str = "experiment.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        return path

    return write_file


@pytest.fixture
def load(write: Callable[..., Path]) -> Callable[..., Experiment]:
    """Load an experiment.yaml of this text; `name` and `command` are given."""

    def load_text(text: str = "", site: Site | None = None) -> Experiment:
        body = textwrap.dedent(text).lstrip("\n")
        return load_experiment(write(f"name: digits\ncommand: python train.py\n{body}"), site or Site())

    return load_text
