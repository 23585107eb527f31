# SPDX-License-Identifier: Apache-2.0
"""submitit's executor, with our submission command. The one place that reaches into submitit (pinned below 1.6).

The payload is pickled by reference, never by value: the installed class runs, and nothing of this process travels.
What it changes: files keep one name per attempt and are replaced whole, so that a submission can be repeated; the
script links the pickle itself, so nothing has to happen after ``sbatch``; and the command runs in a clean environment
with a time limit. submitit's own way needs a rename after ``sbatch`` and asks with no limit.
"""

from __future__ import annotations

import pickle
import shlex
from typing import TYPE_CHECKING, Any

from submitit import SlurmExecutor

from ade_hpc.scheduler.script import FOLDER, PICKLE, script_text
from ade_hpc.store.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from submitit.core.core import Job
    from submitit.core.utils import DelayedSubmission

    from ade_hpc.model import Submission

SCRIPT = "attempt.sh"
# submitit's signal handler would count every signal near the limit as a time-out, and stop after the third. Whether to
# queue again is the payload's decision.
NEVER_TIMED_OUT_MIN = 10**9


class AttemptExecutor(SlurmExecutor):
    """Submits one attempt. ``sbatch`` runs the command and returns the job id, or raises a SchedulerError."""

    def __init__(self, job: Submission, python: str, sbatch: Callable[[list[str]], str]) -> None:
        super().__init__(job.attempt_dir / FOLDER, python=shlex.quote(python))
        self._text = script_text(job, python)
        self._sbatch = sbatch

    def _internal_process_submissions(self, delayed_submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        (delayed,) = delayed_submissions
        delayed.set_timeout(NEVER_TIMED_OUT_MIN, 1)
        script = self.folder / SCRIPT
        write_atomic(self.folder / PICKLE, pickle.dumps(delayed))
        write_atomic(script, self._make_submission_file_text("", "").encode())
        job_id = self._sbatch(self._make_submission_command(script))
        return [self.job_class(self.folder, job_id)]

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self._text

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return ["sbatch", "--parsable", str(submission_file_path)]
