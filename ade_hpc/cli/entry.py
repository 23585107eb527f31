# SPDX-License-Identifier: Apache-2.0
"""Where the program starts: every error of ours becomes one sentence and an exit code, and `--host` goes elsewhere.

A command for another machine needs nothing of the command line's libraries here, and loads none of them.
"""

from __future__ import annotations

import os
import sys

from ade_hpc.errors import AdeError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LAPTOP = frozenset({"bootstrap", "doctor", "submit", "tick"})
"""Commands that are made of work on both machines: they run here, and find the host in their context."""


def run() -> None:
    """The entry point: every error of ours is one sentence on stderr and an exit code, never a traceback."""
    try:
        sys.exit(start(sys.argv[1:]))
    except AdeError as error:
        print(f"ade-hpc: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - a fault of ours is one sentence too; its traceback is kept
        print(f"ade-hpc: internal error ({type(error).__name__}); please report {_keep_traceback()}", file=sys.stderr)
        sys.exit(1)


def start(words: Sequence[str]) -> int:
    """Run the command here or, after ``--host LOGIN``, there. Returns its exit code, or raises SystemExit."""
    host, command = split_host(words)
    if host is None or (command and command[0] in LAPTOP):
        from ade_hpc.cli.main import app

        app()
        return 0
    from ade_hpc.remote.command import run_there

    return run_there(host, command)


def split_host(words: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """``--host LOGIN`` or ``--host=LOGIN`` before the command, and what comes after it."""
    if words and words[0] == "--host":
        if len(words) == 1:
            raise UsageError("--host needs the name of a login node: ade-hpc --host LOGIN status")
        return words[1], words[2:]
    if words and words[0].startswith("--host="):
        return words[0].removeprefix("--host="), words[1:]
    return None, words


def _keep_traceback() -> str:
    """Write the traceback where its reader finds it; never into a run folder or a log that is shared.

    It is made to be passed on, and what an error says may quote a key: a client's headers, a setting.
    """
    import tempfile
    import traceback

    from ade_hpc.agent.redact import redactor

    handle, name = tempfile.mkstemp(prefix="ade-hpc-error-", suffix=".txt")
    with os.fdopen(handle, "w") as file:
        file.write(redactor(os.environ)(traceback.format_exc()))
    return name
