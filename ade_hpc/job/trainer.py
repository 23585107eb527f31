# SPDX-License-Identifier: Apache-2.0
"""The trainer's process: started in a session of its own, told, then ended, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ade_hpc.job import proc
from ade_hpc.scheduler.process import Process
from ade_hpc.store.files import write_json

NOT_STARTED = 127  # as a shell says for a command that can't be run
LAST_WORDS_S = 5.0


class Trainer:
    """One run of the user's command."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.started_at = time.time()

    @classmethod
    def start(
        cls, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, pass_fds: Sequence[int], record: Path | None
    ) -> Trainer:
        """Raises OSError where the command can't be run. Output goes where the job's own goes.

        record: where to say who the trainer is, so that whoever finds the payload dead can end it. One that can't be
        written (a full disk) harms nobody.
        """
        with proc.trainer_goes_first():
            popen = subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a signal to the payload's group must not reach it unasked
                preexec_fn=proc.die_with_parent(),  # noqa: PLW1509 - the payload has one thread
                pass_fds=tuple(pass_fds),
            )
        born = Process.current(popen.pid)
        if born is not None and record is not None:
            with contextlib.suppress(OSError):
                write_json(record, {**vars(born), "pgid": popen.pid})
        return cls(popen)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def poll(self) -> int | None:
        """The exit code as a shell counts it (128 + signal), or None while it lives."""
        code = self._popen.poll()
        return code if code is None or code >= 0 else 128 - code

    def tell(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(number)

    def wait(self, seconds: float) -> int | None:
        """Wait for the end at most so long. Polls: a blocking wait and signal handlers do not go together."""
        until = time.monotonic() + seconds
        while (code := self.poll()) is None and time.monotonic() < until:
            time.sleep(0.05)
        return code

    def end(self, grace_s: float = 0.0) -> int:
        """The ladder: what is left of the grace of a signal that it was told, TERM and a few seconds, KILL of the whole
        group.

        A stopped process hears TERM only when it goes on, so it is made to. KILL comes last, whatever it hears.
        """
        if (code := self.wait(grace_s)) is not None:
            return code
        self.tell(signal.SIGTERM)
        self._signal_all(signal.SIGCONT)
        if (code := self.wait(LAST_WORDS_S)) is None:
            self.sweep()
            self._popen.wait()
            code = self.poll()
        return code if code is not None else 128 + signal.SIGKILL

    def sweep(self) -> None:
        """KILL what is left of the trainer's process group (workers that outlived their parent)."""
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)
