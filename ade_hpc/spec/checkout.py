# SPDX-License-Identifier: Apache-2.0
"""Does what runs reach back into the live checkout? Then a later edit there changes a job that is queued (invariant 7).

Three ways that happen in practice: a bind mount of the checkout, PYTHONPATH, and an editable install (``pip install
-e .``) in the environment that ``setup:`` activates. Found by looking at files only; warnings, because some mean it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ade_hpc.spec.document import Place
from ade_hpc.spec.experiment import Experiment

_PYTHONPATH = re.compile(r"\bPYTHONPATH=(\"[^\"]*\"|'[^']*'|[^\s;&|]*)")
_ACTIVATE = re.compile(r"(?:^|[;&|]\s*)(?:source|\.)\s+(\"[^\"]*\"|'[^']*'|[^\s;&|]+)/bin/activate")
_PREFIX = re.compile(r"\b(?:conda|mamba|micromamba)\s+activate\s+([\"']?)([/~][^\s;&|\"']*)\1")
_MAX_ENTRIES = 20_000  # of one site-packages; more than a big environment has
_MAX_SIZE = 100_000
_NOT_FROZEN = "what runs would not be the frozen commit"


def live_links(experiment: Experiment) -> Iterator[tuple[Place, str]]:
    """A field and one sentence for each way back into the work tree that holds experiment.yaml; nothing outside git."""
    tree = work_tree(experiment.root)
    if tree is None:
        return
    for index, bind in enumerate(experiment.binds if experiment.image else ()):
        if _within(bind.source, tree):
            yield ("binds", index), f"{bind.source} lies in the live checkout {tree}: {_NOT_FROZEN}"
    if any(_within(folder, tree) for folder in _folders(experiment.env.get("PYTHONPATH", ""))):
        yield ("env", "PYTHONPATH"), f"leads into the live checkout {tree}: {_NOT_FROZEN}"
    for line in experiment.setup:
        paths = (match[1].strip("\"'") for match in _PYTHONPATH.finditer(line))
        if any(_within(folder, tree) for path in paths for folder in _folders(path)):
            yield ("setup",), f"PYTHONPATH leads into the live checkout {tree}: {_NOT_FROZEN}"
    if experiment.image is None:
        for prefix in _environments(experiment):
            for name in editable_installs(prefix, tree):
                yield ("setup",), f"{name} is an editable install of the live checkout {tree}: {_NOT_FROZEN}"


def work_tree(folder: Path) -> Path | None:
    """The nearest folder upwards that holds ``.git`` (a file in linked work trees), links resolved."""
    real = folder.resolve()
    return next((parent for parent in (real, *real.parents) if (parent / ".git").exists()), None)


def editable_installs(prefix: Path, tree: Path) -> Iterator[str]:
    """Names of distributions that the environment at ``prefix`` takes from ``tree`` instead of from a copy.

    Where installers say so: ``direct_url.json`` (PEP 610), else ``.pth`` files and the older ``.egg-link``.
    """
    for packages in sorted(prefix.glob("lib/python3*/site-packages")):
        for name in sorted(os.listdir(packages))[:_MAX_ENTRIES]:
            entry = packages / name
            if name.endswith(".dist-info") and _direct_url(entry / "direct_url.json", tree):
                yield name.removesuffix(".dist-info").partition("-")[0]
            elif name.endswith((".pth", ".egg-link")) and not name.startswith("__editable__") and _leads(entry, tree):
                yield name


def _leads(path: Path, tree: Path) -> bool:
    """Does a line of this ``.pth`` or ``.egg-link`` name a folder in the work tree? (Lines of code never do.)"""
    return any(_within(folder, tree) for line in _text(path).splitlines() for folder in _folders(line))


def _direct_url(path: Path, tree: Path) -> bool:
    try:
        record = json.loads(_text(path) or "{}")
        url = urlsplit(record["url"])
        return bool(record["dir_info"]["editable"]) and _within(Path(unquote(url.path)), tree)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _environments(experiment: Experiment) -> Iterator[Path]:
    """Prefixes of the Python environments that are activated, or whose interpreter is the command."""
    for line in experiment.setup:
        for match in _ACTIVATE.finditer(line):
            yield experiment.root / Path(match[1].strip("\"'")).expanduser()
        for match in _PREFIX.finditer(line):
            yield Path(match[2]).expanduser()
    program = Path(experiment.command[0])
    if program.is_absolute() and program.parent.name == "bin":
        yield program.parent.parent


def _folders(path: str) -> Iterator[Path]:
    """The absolute entries of a search path. Relative ones start from the frozen code, where they should."""
    for entry in path.split(":"):
        folder = Path(entry.replace("$HOME", "~").replace("${HOME}", "~")).expanduser() if entry.strip() else Path()
        if folder.is_absolute():
            yield folder


def _within(path: Path, tree: Path) -> bool:
    try:
        return path.resolve().is_relative_to(tree)
    except (OSError, ValueError, RuntimeError):  # a loop of links, a NUL
        return False


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_SIZE)
    except OSError:
        return ""
