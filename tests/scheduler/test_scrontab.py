# SPDX-License-Identifier: Apache-2.0
"""The block in the user's table: what it says, and that everything around it stays to the byte."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ade_hpc.errors import SchedulerError, UsageError
from ade_hpc.scheduler.scrontab import (
    BEGIN,
    END,
    Entry,
    block,
    block_in,
    cron_times,
    state_of,
    with_block,
    without_block,
)

ENTRY = Entry(
    ("/home/ada/ade env/bin/python", "-P", "-m", "ade_hpc.cli", "tick"),
    {"PATH": "/usr/bin:/bin", "ADE_REGISTRY": "/home/ada/50% $HOME/it's/reg"},
    "/home/ada/state/tick.log",
    "17 * * * *",
    {"job-name": "ade-hpc-tick", "time": "00:10:00", "requeue": True},
    limit_s=600,
)
# As Slurm 22.05.8, 25.11.7 and 26.05.5 leave a table whose job was cancelled (recorded).
DISABLED = """# my table
FOO=bar
#SCRON -t 2 -J every -o /home/userA/fx/cron-%j.out
* * * * * echo tick

{begin}
#DISABLED: #SCRON --job-name=ade-hpc-tick
#DISABLED: 30 3 1 1 * /home/userA/bin/python -m ade_hpc.cli tick
{end}
@hourly true
"""


@pytest.mark.parametrize(
    ("every_s", "times"),
    [
        (60, "* * * * *"),
        (120, "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43,45,47,49,51,53,55,57,59 * * * *"),
        (900, "2,17,32,47 * * * *"),
        (3600, "17 * * * *"),
        (4 * 3600, "17 1,5,9,13,17,21 * * *"),
        (86400, "17 17 * * *"),
    ],
)
def test_a_duration_becomes_times_that_every_version_reads_alike(every_s: float, times: str) -> None:
    """No steps: `*/1` is refused by old versions, and a step of a range counts from elsewhere than in cron."""
    assert cron_times(every_s, 17) == times


@pytest.mark.parametrize("every_s", [0, 30, 61, 7 * 60, 90 * 60, 5 * 3600, 2 * 86400])
def test_what_divides_neither_hour_nor_day_is_refused(every_s: float) -> None:
    with pytest.raises(UsageError, match="1h"):
        cron_times(every_s)


def test_scrontab_gets_options_on_lines_of_their_own_and_the_command_as_a_shell_reads_it() -> None:
    lines = block("scrontab", ENTRY).splitlines()
    assert lines[1:6] == [
        "#SCRON --job-name=ade-hpc-tick",
        "#SCRON --time=00:10:00",
        "#SCRON --requeue",
        "#SCRON --output=/home/ada/state/tick.log",
        "#SCRON --open-mode=append",
    ]
    words = shlex.split(lines[6].removeprefix("17 * * * * "))
    assert words == [*(f"{name}={value}" for name, value in ENTRY.environ.items()), *ENTRY.argv]


def test_cron_gets_one_line_that_its_shell_reads_as_meant() -> None:
    """cron first turns every unescaped % into a newline and takes the backslash from the others (crontab(5))."""
    lines = block("cron", ENTRY).splitlines()
    assert len(lines) == 3
    command = lines[1].removeprefix("17 * * * * ")
    assert re.search(r"(?<!\\)%", command) is None
    command = command.replace(r"\%", "%")
    shown = command.replace("timeout --kill-after=30 600 '/home/ada/ade env/bin/python'", "printenv ADE_REGISTRY #")
    done = subprocess.run(["/bin/sh", "-c", shown], capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout == ENTRY.environ["ADE_REGISTRY"] + "\n"
    assert command.endswith(">> /home/ada/state/tick.log 2>&1")


@pytest.mark.parametrize("value", ["two words", 'a"b', "a'b", "a\\b", "a\nb"])
def test_what_scron_can_not_carry_is_refused(value: str) -> None:
    entry = Entry(ENTRY.argv, ENTRY.environ, ENTRY.log, ENTRY.times, {"partition": value})
    with pytest.raises(UsageError, match="partition"):
        block("scrontab", entry)


@pytest.mark.parametrize("kind", ["scrontab", "cron"])
def test_a_newline_in_a_path_can_not_add_an_entry(kind: str) -> None:
    entry = Entry(ENTRY.argv, {"ADE_REGISTRY": "/x\n* * * * * rm"}, ENTRY.log, ENTRY.times, {})
    with pytest.raises(UsageError, match="control character"):
        block(kind, entry)  # type: ignore[arg-type]  # parametrized


tables = st.lists(
    st.one_of(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
              st.sampled_from(["#SCRON -t 2", "FOO=bar", "* * * * * true", "\r\n", "\x85", "\udcff", ""])),
    max_size=6,
).map("\n".join)  # fmt: skip


@given(table=tables, entry=st.sampled_from([ENTRY, Entry(ENTRY.argv, {}, "/log", "1 * * * *", {})]))
def test_the_rest_of_the_table_stays_to_the_byte(table: str, entry: Entry) -> None:
    """Whatever stands there: installing adds one block, does it once, and removing leaves what was there."""
    new = block("scrontab", entry)
    installed = with_block(table, new)
    assert installed.replace(new, "", 1) == table
    assert with_block(installed, new) == installed
    assert without_block(installed) == table
    assert without_block(table) == table


@given(before=tables, after=tables)
def test_a_block_that_the_user_has_moved_is_replaced_where_it_stands(before: str, after: str) -> None:
    old, new = block("scrontab", ENTRY), block("cron", ENTRY)
    assert with_block(f"{before}\n{old}{after}", new) == f"{before}\n{new}{after}"


def test_an_entry_that_slurm_has_disabled_is_known_and_mended() -> None:
    table = DISABLED.format(begin=BEGIN, end=END)
    assert state_of(table) == "disabled"
    mended = with_block(table, block("scrontab", ENTRY))
    assert state_of(mended) == "installed"
    assert mended.count("#DISABLED") == 0
    assert without_block(mended) == without_block(table) == re.sub(r"(?s)# >>>.*<<<\n", "", table)
    assert state_of(without_block(table)) == "absent"
    assert block_in(without_block(table)) == ""


@pytest.mark.parametrize(
    "table", [f"{BEGIN}\n* * * * * x\n", f"* * * * * x\n{END}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n" * 2]
)
def test_damaged_markers_are_left_to_their_owner(table: str) -> None:
    for act in (without_block, state_of, lambda text: with_block(text, "x")):
        with pytest.raises(SchedulerError, match="markers"):
            act(table)
