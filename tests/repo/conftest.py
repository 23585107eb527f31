# SPDX-License-Identifier: Apache-2.0
"""Real git repositories in a temporary folder, and a fingerprint of all that a user would miss."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# The branches of the experiments, what they hold and their history: all that may ever change in a user's repository.
OURS = (".git/objects/", ".git/refs/heads/ade/", ".git/logs/refs/heads/ade/")


@dataclass(frozen=True)
class Repo:
    """A git work tree that a test plays the user of."""

    path: Path

    def git(self, *args: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.path), *args], input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"git {args}: {done.stderr}"
        return done.stdout.rstrip("\n")

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def commit(self, files: dict[str, str | bytes] | None = None, message: str = "work") -> str:
        for name, text in (files or {}).items():
            self.write(name, text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.head

    def hook(self, name: str, script: str) -> None:
        path = self.write(f".git/hooks/{name}", f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def tip(self, experiment: str = "exp") -> str:
        return self.git("rev-parse", f"refs/heads/ade/{experiment}")

    def parents(self, commit: str) -> list[str]:
        return self.git("log", "-1", "--format=%P", commit).split()

    def tree(self, commit: str) -> str:
        return self.git("rev-parse", f"{commit}^{{tree}}")

    def fingerprint(self) -> dict[str, str]:
        """Every file of the work tree and of ``.git`` but OURS: content, mode and time of change in nanoseconds."""
        return dict(self._prints(self.path))

    def _prints(self, top: Path) -> Iterator[tuple[str, str]]:
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(top).as_posix()
                if not relative.startswith(OURS):
                    status = path.lstat()
                    data = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
                    yield relative, f"{hashlib.sha256(data).hexdigest()} {status.st_mode:o} {status.st_mtime_ns}"


@pytest.fixture(autouse=True)
def _no_git_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings of this machine nor those of a surrounding git hook take part."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def make_repo(tmp_path: Path) -> Callable[..., Repo]:
    def make(name: str = "project", files: dict[str, str | bytes] | None = None) -> Repo:
        path = tmp_path / name
        path.mkdir(parents=True)
        repo = Repo(path.resolve())
        repo.git("init", "-q", "-b", "main")
        repo.git("config", "user.name", "Ada")
        repo.git("config", "user.email", "ada@example.org")
        if files:
            repo.commit(files)
        return repo

    return make


@pytest.fixture
def repo(make_repo: Callable[..., Repo]) -> Repo:
    """A project with a trainer and a config, one commit."""
    return make_repo(files={"train.py": "print('training')\n", "config.yaml": "optimizer:\n  lr: 0.1  # the rate\n"})
