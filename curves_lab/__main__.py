# SPDX-License-Identifier: Apache-2.0
"""``python -m curves_lab``: train what is not there yet, one run after the other, and write ``manifest.json``."""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import shutil
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from curves_lab import data, log, nets, policy, second, supervised, third, tuning, unseen, validation
from curves_lab.recipe import Recipe

BOOKS = (tuning.BOOK, validation.BOOK, second.BOOK, third.BOOK, unseen.BOOK)


def default_folder() -> Path:
    """Outside the tree, and kept: ``$XDG_CACHE_HOME/ade-hpc/curves-lab``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ade-hpc" / "curves-lab"


def build(folder: Path, quick: bool = False, only: str = "") -> list[dict[str, object]]:
    """Train every recipe (one seed of each where ``quick``) that ``folder`` does not hold; the manifest's rows."""
    torch.set_num_threads(1)
    rows = []
    for recipe in chain.from_iterable(book.recipes.values() for book in BOOKS):
        for seed in range(1 if quick else recipe.seeds) if only in recipe.name else ():
            where = folder / recipe.split / f"{recipe.name}-{seed}-{_version(recipe)}"
            if not where.exists():
                _train(recipe, seed, where)
            rows.append(_row(recipe, seed, where.relative_to(folder)))
    if not only:
        (folder / "manifest.json").write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def _version(recipe: Recipe) -> str:
    """A digest of what a run is made of: a changed recipe, net or loop is trained anew."""
    shared = [
        Path(module.__file__ or "").read_text() for module in (data, log, nets, policy, supervised, *recipe.parts)
    ]
    text = "".join([inspect.getsource(recipe.train), *shared])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _train(recipe: Recipe, seed: int, where: Path) -> None:
    scratch = where.with_name(where.name + ".part")
    shutil.rmtree(scratch, ignore_errors=True)
    torch.manual_seed(seed)
    began = time.monotonic()
    out = log.Log(scratch)
    recipe.train(out, np.random.default_rng(seed))
    out.close()
    shutil.rmtree(scratch.with_name(scratch.name + ".pre"), ignore_errors=True)
    scratch.rename(where)
    print(f"{recipe.split} {recipe.label:13} {where.name:38} {time.monotonic() - began:5.1f} s", flush=True)


def _row(recipe: Recipe, seed: int, where: Path) -> dict[str, object]:
    return {
        "run": f"{recipe.name}-{seed}", "path": str(where), "split": recipe.split, "label": recipe.label,
        "tag": recipe.tag, "goal": recipe.goal, "target": recipe.target, "good": recipe.good, "since": recipe.since,
        "allowed": sorted(recipe.allowed),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="curves-lab", description=__doc__)
    parser.add_argument("--out", type=Path, default=default_folder(), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one seed of each recipe")
    parser.add_argument("--only", default="", metavar="WORD", help="recipes whose name holds WORD; writes no manifest")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = build(args.out, args.quick, args.only)
    print(f"{len(rows)} runs in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
