# SPDX-License-Identifier: Apache-2.0
"""Durations, Slurm's times and Slurm's memory sizes: text to numbers. Pure; ValueErrors say what would be right."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,6})?[dhms])+")
_PART = re.compile(r"([\d.]+)([dhms])")
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SLURM_TIME = re.compile(r"(?:(?P<days>\d{1,6})-)?(?P<clock>\d{1,9}(?::\d{1,4}){0,2})")
_MEMORY = re.compile(r"(\d{1,12})([KMGT]?)", re.IGNORECASE)
_MEGABYTES = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``30m``, ``1h30m``, ``2d``. A bare number is refused: minutes or seconds?"""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"must be a duration such as 90s, 30m, 1h30m or 2d, not {text!r}")
    return float(sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))


def format_duration(seconds: float) -> str:
    """The inverse: ``parse_duration(format_duration(s)) == s`` to the microsecond."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def slurm_seconds(text: str) -> float | None:
    """Seconds of a Slurm time limit; None for no limit (``0``, ``UNLIMITED``, ``INFINITE``).

    The six forms of sbatch(1), ``--time``: minutes, minutes:seconds, hours:minutes:seconds, days-hours,
    days-hours:minutes, days-hours:minutes:seconds.
    """
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return None
    match = _SLURM_TIME.fullmatch(text)
    if not match:
        raise ValueError(f"must be a Slurm time such as 90, 1:30:00, 2-12 or 2-12:00:00, not {text!r}")
    parts = [int(part) for part in match["clock"].split(":")]
    if match["days"] is not None:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    total = float(int(match["days"] or 0) * 86_400 + hours * 3_600 + minutes * 60 + seconds)
    return total or None


def memory_mb(text: str) -> float:
    """Megabytes of a Slurm memory size: ``16G``, ``500M``, ``2048`` (megabytes)."""
    match = _MEMORY.fullmatch(text)
    if not match:
        raise ValueError(f"must be a size such as 16G or 500M, not {text!r}")
    return float(match[1]) * _MEGABYTES[match[2].upper()]
