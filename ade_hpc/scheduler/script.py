# SPDX-License-Identifier: Apache-2.0
"""The text of a submission script: ``#SBATCH`` lines, a link to the pickle, setup lines, the worker. Pure.

The worker is submitit's (``submitit.core._submit``); the text is ours, so that nothing stands in it that a site
forbids (``wckey``), nothing is missing that it needs (``--export``, ``--cpus-per-task`` for srun), and no value can
smuggle in a line of its own.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from ade_hpc.errors import SubmitRefused
from ade_hpc.scheduler.parse import JOB_ID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ade_hpc.model import Submission

FOLDER = "submitit"  # of an attempt; submitit's worker reads and writes there
PICKLE = "attempt.pkl"
LOGS = "logs"
SIGNAL = "USR2@90"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
OPTION = re.compile(r"[a-z][a-z0-9-]*")
PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@%+=,\[\]-]+")
# What makes a job ours: to be found by name, one at a time, with its output where we look for it
RESERVED = (
    "array", "clusters", "dependency", "error", "job-name", "open-mode", "output", "parsable", "test-only", "wait",
    "wrap",
)  # fmt: skip

# A pickle by the job's own id is what the worker opens. Linked here, and not after sbatch, it is there for a job whose
# submitter was killed, too; a requeue finds it in place. A file left from a killed save would stop the next one.
LINK_PICKLE = """\
submitit={folder}
rm -f -- "$submitit/$SLURM_JOB_ID"_*.save_tmp
pickle="$submitit/${{SLURM_JOB_ID}}_submitted.pkl"
[ -e "$pickle" ] || ln -- "$submitit/{pickle}" "$pickle" || cp -- "$submitit/{pickle}" "$pickle"
"""
# `module` is a function of login shells; a clean environment carries no functions
LOGIN_SHELL = """\
type module >/dev/null 2>&1 || { submit_path=$PATH; [ -r /etc/profile ] && . /etc/profile; PATH=$PATH:$submit_path; }
"""


def script_text(job: Submission, python: str) -> str:
    """The exact script of this attempt; ``python`` is the interpreter that runs the worker.

    Raises SubmitRefused where name, path or a directive can't stand in a script.
    """
    _check(job)
    options = sbatch_options(job)
    lines = ["#!/bin/bash", *(f"#SBATCH {_flag(name, value)}" for name, value in sorted(options.items()))]
    lines += ["", LINK_PICKLE.format(folder=shlex.quote(str(job.attempt_dir / FOLDER)), pickle=PICKLE)]
    if job.setup:
        lines += ["# setup", LOGIN_SHELL + "\n".join(job.setup), ""]
    lines += ["export SUBMITIT_EXECUTOR=slurm", shlex.join(_worker(job, options, python)), ""]
    return "\n".join(lines)


def sbatch_options(job: Submission) -> dict[str, str | int | bool]:
    """Long options of ``sbatch`` without dashes: ours, the caller's over them, and none that is to be skipped.

    Raises SubmitRefused for an option that is reserved, unknown in form, or that can't be skipped.
    """
    given = {_option_name(name): value for name, value in job.directives.items()}
    skipped = {name.replace("_", "-") for name in job.skip}
    if "job-name" in skipped:
        raise SubmitRefused("skip: job-name can't be skipped: a job is found again by its name")
    options: dict[str, str | int | bool] = {
        "chdir": str(job.attempt_dir),
        "requeue": "no-requeue" not in given,
        "signal": SIGNAL,
        **given,
        "dependency": _dependency(job),
        "job-name": job.name,
        "open-mode": "append",
        "output": str(job.attempt_dir / LOGS / "%j.out"),
    }
    return {name: value for name, value in options.items() if value is not False and name not in skipped}


def _worker(job: Submission, options: Mapping[str, str | int | bool], python: str) -> list[str]:
    """The command line of the job's one step.

    ``--export=ALL``: a job submitted with ``--export=NONE`` would hide the environment from its own step.
    ``--cpus-per-task``: srun of 22.05 to 23.02 does not inherit it. ``-E -P``: what setup lines
    put into PYTHONPATH is meant for the trainer, and what lies in the working directory is no module of ours.
    """
    srun = ["srun", "--unbuffered", "--export=ALL", "--open-mode=append"]
    srun.append(f"--output={job.attempt_dir / LOGS / '%j.%t.out'}")
    if "cpus-per-task" in options:
        srun.append(f"--cpus-per-task={options['cpus-per-task']}")
    return [*srun, python, "-E", "-P", "-u", "-m", "submitit.core._submit", str(job.attempt_dir / FOLDER)]


def _dependency(job: Submission) -> str:
    """One job of this name at a time, and not before the old one has ended."""
    return "singleton" if job.after is None else f"afterany:{job.after.job_id},singleton"


def _flag(name: str, value: str | int | bool) -> str:
    return f"--{name}" if value is True else f"--{name}={_quoted(name, str(value))}"


def _quoted(name: str, value: str) -> str:
    """As sbatch reads its own lines: a backslash escapes inside of either quote, and a bare # begins a comment."""
    if PLAIN_VALUE.fullmatch(value):
        return value
    if not value.isprintable():
        raise SubmitRefused(f"{name}: {value!r} holds a line break or another control character: remove it")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _option_name(given: str) -> str:
    name = given.replace("_", "-")
    if not OPTION.fullmatch(name):
        raise SubmitRefused(f"{given!r} is no long option of sbatch: write it as in `sbatch --help`, without dashes")
    # sbatch accepts any unambiguous beginning of an option's name
    reserved = next((ours for ours in RESERVED if ours.startswith(name)), None)
    if reserved is not None:
        raise SubmitRefused(f"the sbatch option {reserved} is set by ade-hpc itself: remove {given}")
    return name


def _check(job: Submission) -> None:
    if not NAME.fullmatch(job.name):
        raise SubmitRefused(f"{job.name!r} can't be a job name: use letters, digits, dots, dashes and underscores")
    if job.after is not None and not JOB_ID.fullmatch(job.after.job_id):
        raise SubmitRefused(f"{job.after.job_id!r}, which it should wait for, is no job of Slurm")
    _check_path(job.attempt_dir)


def _check_path(path: Path) -> None:
    """Slurm and submitit replace %x in paths, and a backslash turns that off for the whole path."""
    text = str(path)
    if not path.is_absolute() or not text.isprintable() or "%" in text or "\\" in text:
        raise SubmitRefused(f"{text!r}: a path with %, backslash or control characters: choose another runs_dir")
