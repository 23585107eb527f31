# SPDX-License-Identifier: Apache-2.0
"""End a follower whose reader has gone: a pipe that was closed, or an SSH session that was left with Ctrl-C.

A program that writes rarely would find out only with its next line, and until then run on, on a login node.
"""

from __future__ import annotations

import os
import select
import sys
import threading


def end_with_reader() -> None:
    """From now on this process ends (with 1, as for a broken pipe) as soon as nobody can read what it prints."""
    threading.Thread(target=_wait, args=(sys.stdout.fileno(),), daemon=True).start()


def _wait(handle: int) -> None:
    poll = select.poll()
    poll.register(handle, 0)  # hang-up and error are told in any case (poll(2))
    poll.poll()
    os._exit(1)
