# SPDX-License-Identifier: Apache-2.0
"""Slurm's clients between us and the truth: a wrapper, first on PATH, that does the wrong thing while it is told to."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

# An sbatch that lies once, as its plan says, and is the real one from then on.
SBATCH = """#!/bin/bash
plan=$(cat {plan} 2>/dev/null); rm -f {plan}
case "$plan" in
    hang) sleep 60 ;;
    submit-then-hang) {real} "$@" >/dev/null; sleep 60 ;;
    submit-then-die) {real} "$@" >/dev/null; kill -9 $$ ;;
    submit-late) setsid bash -c 'sleep 30; exec "$0" "$@"' {real} "$@" >/dev/null 2>&1 </dev/null & sleep 60 ;;
    refuse) echo "sbatch: error: Batch job submission failed: Invalid account" >&2; exit 1 ;;
    *) exec {real} "$@" ;;
esac
"""

# An sacct that lies as long as its plan says so. yesterday: of the cluster's job of that number a day ago.
SACCT = """#!/bin/bash
case "$(cat {plan} 2>/dev/null)" in
    garbage) head -c 3000 /dev/urandom; {real} "$@" | tr '0-9' 'a-j'; {real} "$@" | cut -c 1-30 ;;
    hang) sleep 60 ;;
    late) sleep 1; exec {real} "$@" ;;
    yesterday) {real} "$@" | awk 'BEGIN {{FS = OFS = "\\037"}}
        {{for (i = 5; i <= 7; i++) if ($i ~ /^[0-9]+$/) $i -= 86400; $2 = "COMPLETED"; $3 = "0:0"; print}}' ;;
    *) exec {real} "$@" ;;
esac
"""


@dataclass(frozen=True)
class Liar:
    """A wrapper of a client. ``path`` is a PATH on which it comes first; write a word into ``plan`` to make it lie."""

    path: str
    plan: Path


def liar(folder: Path, client: str, script: str, path: str) -> Liar:
    """Put a lying ``client`` into ``folder``; ``path`` is where the real one is."""
    folder.mkdir(exist_ok=True)
    plan = folder / f"{client}.plan"
    (folder / client).write_text(script.format(plan=plan, real=shutil.which(client, path=path)))
    (folder / client).chmod(0o755)
    return Liar(f"{folder}:{path}", plan)
