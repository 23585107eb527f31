# SPDX-License-Identifier: Apache-2.0
"""One way to run a scheduler's command: bounded in time, in a clean environment, with private files."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ade_hpc.errors import SchedulerError, SchedulerSilent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAST_BYTES_S = 1.0  # a killed command's pipes may be held open by a child that left its group
PRIVATE_UMASK = 0o077  # sbatch hands its umask on to the job


@dataclass(frozen=True)
class Completed:
    """A command that ended by itself; ``returncode`` is negative where a signal ended it."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def words(self) -> str:
        """What it said, on one line, for people: the errors, else the output."""
        return " ".join((self.stderr.strip() or self.stdout.strip()).split())


def run(argv: Sequence[str], *, timeout: float, env: Mapping[str, str], data: bytes = b"") -> Completed:
    """Run ``argv`` for at most ``timeout`` seconds and read its output as text; see ``run_bytes``."""
    returncode, stdout, stderr = run_bytes(argv, timeout=timeout, env=env, data=data)
    return Completed(returncode, _text(stdout), _text(stderr))


def run_bytes(
    argv: Sequence[str], *, timeout: float, env: Mapping[str, str], data: bytes = b""
) -> tuple[int, bytes, bytes]:
    """Run ``argv`` for at most ``timeout`` seconds; past that its whole process group is killed.

    Its own session keeps a Ctrl-C at the terminal from cutting a submission in half. data: what it reads from stdin.
    Returns exit code (negative: a signal), stdout and stderr.
    Raises SchedulerSilent after a time-out and SchedulerError where it could not be started.
    """
    program = find_program(argv[0], env)
    try:
        process = subprocess.Popen(
            [program, *argv[1:]],
            env=dict(env),
            stdin=subprocess.PIPE if data else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=PRIVATE_UMASK,
        )
    except OSError as error:
        raise SchedulerError(f"{program} can't be run: {error.strerror}") from error
    try:
        stdout, stderr = process.communicate(data or None, timeout=timeout)
    except subprocess.TimeoutExpired:
        _kill(process)
        hint = ": is SLURM_CONF set to a file that this machine can read?" if _waits_for_config(env) else ""
        raise SchedulerSilent(f"{argv[0]} gave no answer within {timeout:g} s{hint}") from None
    except BaseException:
        _kill(process)
        raise
    return process.returncode, stdout, stderr


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def find_program(program: str, env: Mapping[str, str]) -> str:
    """Where ``program`` lies in the PATH of ``env``. Raises SchedulerError where it does not."""
    found = shutil.which(program, path=env.get("PATH", ""))
    if found is None:
        raise SchedulerError(f"{program} is not in PATH: load the site's Slurm module or add its bin folder to PATH")
    return found


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=LAST_BYTES_S)


def _waits_for_config(env: Mapping[str, str]) -> bool:
    """Slurm's clients sit for a minute where they can't read slurm.conf."""
    return not os.access(env.get("SLURM_CONF", "/etc/slurm/slurm.conf"), os.R_OK)
