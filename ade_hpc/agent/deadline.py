# SPDX-License-Identifier: Apache-2.0
"""A deadline that holds whatever the other side does: a server that drips one byte a second never trips a timeout."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock."""

    at: float

    @staticmethod
    def after(seconds: float) -> Deadline:
        return Deadline(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds; never negative."""
        return max(0.0, self.at - time.monotonic())


def within(seconds: float, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, or TimeoutError after so many seconds.

    It then goes on in a daemon thread that keeps no process alive. Only for work without effects.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that waits
            answers.put((None, error))

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:.0f} s") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # without an error there is an answer, which may itself be None
