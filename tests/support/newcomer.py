# SPDX-License-Identifier: Apache-2.0
"""A new user: a home with a project in it, who types what docs/quickstart.md says, line for line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.pages import TOP, blocks
from tests.support.project import TRAINER

SMALL = {"time: 4:00:00": "time: 0:10:00", "mem: 16G": "mem: 500M", "cpus_per_task: 4": "cpus_per_task: 1"}


def walk(home: Path, environ: Mapping[str, str]) -> str:
    """Types the block of the page that is tested, and edits the files in between; returns all that was said.

    Any command that fails ends it, with what it said.
    """
    project = home / "myproject"
    project.mkdir()
    shutil.copy(TRAINER, project / "train.py")
    subprocess.run(["git", "init", "-q"], cwd=project, check=True, timeout=30)
    (block,) = (one for one in blocks(TOP / "docs/quickstart.md") if one.how == "on a cluster")
    first, check, rest = block.text.partition("ade-hpc check")
    said = _type(first, home, environ)
    experiment = project / "experiment.yaml"
    text = experiment.read_text()
    for written, wanted in SMALL.items():
        assert written in text
        text = text.replace(written, wanted)
    experiment.write_text(text)
    return said + _type(f"cd ~/myproject\n{check}{rest}", home, environ)


def _type(lines: str, home: Path, environ: Mapping[str, str]) -> str:
    bin_folder = Path(sys.executable).parent  # where a virtual environment has `ade-hpc` and `python`
    env = {**environ, "HOME": str(home), "PATH": f"{bin_folder}:{environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-e", "-x", "-c", lines], env=env, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
