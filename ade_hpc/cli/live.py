# SPDX-License-Identifier: Apache-2.0
"""status --watch: the table of `ade-hpc status`, renewed in place until Ctrl-C."""

from __future__ import annotations

import os
import time
from typing import NoReturn

from ade_hpc.cli.tables import look_at, render
from ade_hpc.errors import UsageError
from ade_hpc.launch.schedulers import open_scheduler
from ade_hpc.report.onlooker import onlookers
from ade_hpc.spec.site import load_site

RENEW_S = 2.0


def watch(names: tuple[str, ...]) -> NoReturn:
    """Raises UsageError where nobody could see it renewed."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console()
    if not console.is_terminal:  # one may be on a laptop, which says so by FORCE_COLOR
        raise UsageError("--watch needs a terminal; a program reads `ade-hpc status --json`, once a minute at the most")
    site = load_site(os.environ)
    opened = onlookers(lambda kind: open_scheduler(kind, site))
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            rows, heart = look_at(names, site, opened)
            table, lines = render(rows, heart, console.width)
            live.update(Group(table, *map(Text, lines)), refresh=True)
            time.sleep(RENEW_S)
