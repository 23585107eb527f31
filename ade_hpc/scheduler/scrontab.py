# SPDX-License-Identifier: Apache-2.0
"""Our entry in the user's scrontab or crontab, as text. Pure.

The entry is one block between two markers, at the top of the table: there no variable, no ``SHELL=`` and no ``#SCRON``
line of the user's own entries reaches ours, and ours reaches none of theirs. All outside the markers stays as it is, to
the byte.

What was learnt of scrontab (22.05 to 26.05): ``*/1`` is refused, and ``3-59/15`` means another thing than in cron
(22.05 counts steps from 0), so times are written as plain lists; values of ``#SCRON`` can't be quoted; Slurm disables
the entry of a cancelled job by putting ``#DISABLED: `` before its lines; the user's environment is not loaded.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ade_hpc.errors import SchedulerError, UsageError

Kind = Literal["scrontab", "cron"]
State = Literal["installed", "disabled", "absent"]

BEGIN = "# >>> ade-hpc >>> written by `ade-hpc schedule install`, taken out by `ade-hpc schedule remove`"
END = "# <<< ade-hpc <<<"
_BEGIN = re.compile(r"^(?:#DISABLED: )*# >>> ade-hpc >>>[^\n]*\n", re.MULTILINE)
_END = re.compile(r"^(?:#DISABLED: )*# <<< ade-hpc <<<[^\n]*(?:\n|\Z)", re.MULTILINE)
_PLAIN = re.compile(r"[\w./:,=@+~\[\]&|*-]+", re.ASCII)  # what #SCRON passes on without quotes
EVERY_MINUTES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, *(60 * hours for hours in (1, 2, 3, 4, 6, 8, 12, 24)))
MAX_CRON_LINE = 990  # Debian's cron refuses commands of 1000 characters


@dataclass(frozen=True)
class Entry:
    """What is to be run and when.

    argv: the command. environ: all that it needs of an environment, since none is loaded. log: where output is added.
    times: five fields of cron. options: long sbatch options (scrontab). limit_s: kill it after so long (cron).
    """

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    log: str
    times: str
    options: Mapping[str, str | int | bool]
    limit_s: float | None = None


def cron_times(every_s: float, offset: int = 0) -> str:
    """The five fields of cron for "every so many seconds": ``cron_times(3600, 17)`` is ``17 * * * *``.

    offset: minute at which a user's turn begins, so that not all users of a site come at :00. Raises UsageError for
    what divides neither an hour nor a day.
    """
    minutes = int(every_s) // 60
    if minutes * 60 != every_s or minutes not in EVERY_MINUTES:
        raise UsageError(f"a schedule must divide an hour or a day: {' '.join(map(_short, EVERY_MINUTES))}")
    if minutes == 1:
        return "* * * * *"
    if minutes <= 60:
        return f"{_turns(60, minutes, offset)} * * * *"
    return f"{offset % 60} {_turns(24, minutes // 60, offset)} * * *"


def _short(minutes: int) -> str:
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h" if minutes < 24 * 60 else "1d"


def _turns(circle: int, step: int, offset: int) -> str:
    return ",".join(str(turn) for turn in range(offset % step, circle, step))


def block(kind: Kind, entry: Entry) -> str:
    """The managed block, with its markers. Raises UsageError for what can't stand in such a table."""
    lines = _scrontab_lines(entry) if kind == "scrontab" else [_cron_line(entry)]
    return "\n".join([BEGIN, *lines, END]) + "\n"


def _command(environ: Mapping[str, str], argv: Sequence[str]) -> str:
    line = " ".join([*(f"{name}={shlex.quote(value)}" for name, value in environ.items()), *map(shlex.quote, argv)])
    if not line.isprintable():
        raise UsageError("a path in the schedule holds a control character: move the project or the environment")
    return line


def _scrontab_lines(entry: Entry) -> list[str]:
    options = {**entry.options, "output": entry.log, "open-mode": "append"}
    lines = []
    for name, value in options.items():
        if value is not True and (not _PLAIN.fullmatch(str(value)) or (name == "output" and "%" in str(value))):
            raise UsageError(
                f"scrontab can't take {name}={value}: no space, quote or % may be there; change it in "
                f"{'ADE_REGISTRY' if name == 'output' else '`schedule:` of site.yaml'}"
            )
        lines.append(f"#SCRON --{name}" if value is True else f"#SCRON --{name}={value}")
    return [*lines, f"{entry.times} {_command(entry.environ, entry.argv)}"]


def _cron_line(entry: Entry) -> str:
    """In cron's commands a bare ``%`` ends the line, also between quotes (crontab(5)); scrontab knows no such rule."""
    limit = () if entry.limit_s is None else ("timeout", "--kill-after=30", f"{entry.limit_s:.0f}")
    command = _command(entry.environ, (*limit, *entry.argv))
    line = f"{entry.times} {command} >> {shlex.quote(entry.log)} 2>&1".replace("%", r"\%")
    if len(line) > MAX_CRON_LINE:
        raise UsageError(
            f"the cron line would be {len(line)} characters long, cron takes {MAX_CRON_LINE}: shorten PATH"
        )
    return line


# --- the block within the user's table ---


def with_block(text: str, new: str) -> str:
    """The table with this block: in the place of the old one, else at the top."""
    found = _find(text)
    return new + text if found is None else text[: found.start] + new + text[found.stop :]


def without_block(text: str) -> str:
    """The table without our block; the same text where there is none."""
    found = _find(text)
    return text if found is None else text[: found.start] + text[found.stop :]


def block_in(text: str) -> str:
    """Our block as it stands there; empty where there is none."""
    found = _find(text)
    return "" if found is None else text[found.start : found.stop]


def state_of(text: str) -> State:
    """``disabled``: Slurm (or somebody) has commented the entry out, and nothing runs until it is installed again."""
    lines = block_in(text).splitlines()
    if not lines:
        return "absent"
    return "installed" if any(line and not line.startswith("#") for line in lines) else "disabled"


def _find(text: str) -> slice | None:
    """Raises SchedulerError where the markers don't match: then only their owner knows what is whose."""
    begins, ends = list(_BEGIN.finditer(text)), list(_END.finditer(text))
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or ends[0].start() < begins[0].end():
        raise SchedulerError(
            "the markers of ade-hpc in your table are damaged: open it (`scrontab -e` or `crontab -e`), "
            f"remove the lines from `{BEGIN[:17]}` to `{END}`, and run this again"
        )
    return slice(begins[0].start(), ends[0].end())
