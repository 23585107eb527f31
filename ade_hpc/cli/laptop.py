# SPDX-License-Identifier: Apache-2.0
"""submit and tick with ``--host``: work on both machines, shown as if it were done on one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ade_hpc.cli.jobs import print_json, show_submitted
from ade_hpc.remote.connect import connect
from ade_hpc.remote.far import Far
from ade_hpc.spec.site import load_site

if TYPE_CHECKING:
    from ade_hpc.remote.send import Sent


@dataclass(frozen=True)
class Laptop:
    """What is done from here on one login node. host: as in ``--host``."""

    host: str

    def submit(self, path: Path, *, local: bool, dry_run: bool, follow: bool, allow_dirty: bool, as_json: bool) -> None:
        from ade_hpc.remote import command
        from ade_hpc.remote.send import pack, send

        parcel = pack(self.host, path, local=local, dry_run=dry_run, allow_dirty=allow_dirty, environ=os.environ)
        with connect(self.host) as transport:
            sent = send(Far(transport), parcel, _show_upload if sys.stderr.isatty() else None)
            self._show(sent, dry_run=dry_run, as_json=as_json)
            if follow and not dry_run:
                raise typer.Exit(command.follow(transport, ["logs", sent.receipt["name"], "--follow"]))

    def _show(self, sent: Sent, *, dry_run: bool, as_json: bool) -> None:
        receipt = sent.receipt
        if dry_run:
            print(receipt["script"], end="")
            return
        if sent.note:
            print(f"ade-hpc: {sent.note}", file=sys.stderr)
        row = {name: receipt[name] for name in ("name", "attempt", "job_id", "run_dir")}
        show_submitted(row, receipt["scheduler"], as_json=as_json, program=f"ade-hpc --host {self.host}")
        sys.stdout.flush()

    def tick(self, names: Sequence[str], *, dry_run: bool, llm: bool, as_json: bool) -> None:
        from ade_hpc.remote.think import tick

        reached = load_site(os.environ).llm
        with connect(self.host) as transport:
            rows = tick(Far(transport), names, dry_run=dry_run, think=llm, llm=reached, environ=os.environ)
        if as_json:
            print_json([row["report"] for row in rows])
        else:
            for row in rows:
                print(row["sentence"])
        raise typer.Exit(max((row["report"]["code"] for row in rows), default=0))


def _show_upload(done: int, total: int) -> None:
    """One line on a terminal, again and again."""
    end = "\n" if done >= total else ""
    print(f"\r  image: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB", end=end, file=sys.stderr, flush=True)
