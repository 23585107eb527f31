# SPDX-License-Identifier: Apache-2.0
"""The real container images of the tests, built once and kept in the user's cache by scripts/build-image."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.project import REPOSITORY, environment


@cache
def image(*arguments: str) -> Path:
    """``image()`` holds torch, ``image("--base")`` python3 alone. For session fixtures: it may take a minute."""
    done = subprocess.run(
        [REPOSITORY / "scripts/build-image", *arguments],
        env={**environment(), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])
