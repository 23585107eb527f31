# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on our own side: it is said and named, and harms no trainer."""

from __future__ import annotations

import contextlib
import errno


def say(text: str) -> None:
    """Into the job's log, which may lie on a full disk itself."""
    with contextlib.suppress(OSError):
        print(f"ade-hpc: {text}", flush=True)


def no_space(error: BaseException | None) -> bool:
    """Is a full disk, or a quota, what it comes from?"""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return error is not None and no_space(error.__cause__)
