# SPDX-License-Identifier: Apache-2.0
"""The registry: which experiments this user has, and where. One small file an experiment, so nobody rewrites a list.

It lies in ``$ADE_REGISTRY``, or ``$XDG_STATE_HOME/ade-hpc/experiments``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ade_hpc.errors import StoreError, UsageError
from ade_hpc.store.files import private_dir, read_json, write_json
from ade_hpc.store.layout import ExperimentDir


def registry_path(environ: Mapping[str, str]) -> Path:
    if environ.get("ADE_REGISTRY"):
        return Path(environ["ADE_REGISTRY"])
    home = Path(environ.get("HOME", "~")).expanduser()
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "ade-hpc" / "experiments"


def register(registry: Path, experiment: ExperimentDir) -> None:
    """Remember where an experiment lies. Raises UsageError where the name is taken by another run folder."""
    private_dir(registry)
    known = read_json(registry / f"{experiment.name}.json")
    if known and Path(str(known.get("path"))) != experiment.path and Path(str(known.get("path"))).exists():
        raise UsageError(
            f"the name {experiment.name!r} is taken by the experiment in {known['path']}; "
            "choose another `name` in experiment.yaml, or remove that folder"
        )
    write_json(registry / f"{experiment.name}.json", {"path": str(experiment.path)})


def experiments(registry: Path, names: tuple[str, ...] = ()) -> list[ExperimentDir]:
    """The registered experiments, by name; all of them where no names are given.

    Raises StoreError where there is no registry (a supervisor that is blind must not look healthy) and UsageError
    for a name that nobody registered.
    """
    if not registry.is_dir():
        raise StoreError(f"{registry}: no registry of experiments here; run: ade-hpc submit experiment.yaml")
    known = {path.stem: read_json(path) for path in sorted(registry.glob("*.json"))}
    missing = [name for name in names if name not in known]
    if missing:
        raise UsageError(f"no experiment is called {missing[0]!r}; known: {', '.join(known) or 'none'}")
    return [_experiment(registry, name, known[name]) for name in (names or known)]


def _experiment(registry: Path, name: str, entry: Mapping[str, object] | None) -> ExperimentDir:
    if entry is None or not isinstance(entry.get("path"), str):
        raise StoreError(f"{registry / name}.json: is damaged; submit the experiment again, or remove the file")
    return ExperimentDir(Path(str(entry["path"])))
