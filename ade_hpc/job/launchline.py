# SPDX-License-Identifier: Apache-2.0
"""From an attempt's record to the exact command that runs: which checkpoint, which mounts, which environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ade_hpc.job.checkpoints import Checkpoint, newest_valid
from ade_hpc.job.command import Layout, expand, host_environment, trainer_environment
from ade_hpc.job.container import INSIDE, Mount, env_file, exec_argv, gpu_flag
from ade_hpc.job.identity import JobIdentity
from ade_hpc.spec.experiment import Experiment
from ade_hpc.spec.experiment_fields import Checkpoint as CheckpointFields
from ade_hpc.store.files import private_dir
from ade_hpc.store.layout import AttemptDir
from ade_hpc.store.records import AttemptRecord


@dataclass(frozen=True)
class LaunchLine:
    """Ready to run. ``tensorboard`` is this start's own folder on the host; ``pass_fds`` are to be closed after.

    began: the checkpoint that it resumes from, None where it begins at the beginning.
    """

    argv: list[str]
    env: Mapping[str, str]
    cwd: Path
    tensorboard: Path
    began: Checkpoint | None = None
    pass_fds: tuple[int, ...] = ()


def build_launch_line(
    attempt: AttemptDir, job: JobIdentity, record: AttemptRecord, experiment: Experiment, environ: Mapping[str, str]
) -> LaunchLine:
    tensorboard = private_dir(attempt.tensorboard / str(job.restart))
    layout = _host_layout(attempt, record, experiment, tensorboard)
    seen = _inside(layout, record, experiment) if record.image else layout
    began = choose_checkpoint(attempt, experiment)
    resume = _resume_arguments(attempt, record, experiment, seen, began)
    command = expand(experiment.command, seen, attempt=attempt.number, resume=resume, params=record.config)
    trainer = trainer_environment(
        environ,
        layout=seen,
        resume=resume,
        attempt=attempt.number,
        env=experiment.env,
        pass_env=experiment.pass_env,
        tasks=job.tasks,
    )
    if record.image is None:
        return LaunchLine(command, host_environment(environ, trainer), Path(layout.workdir), tensorboard, began)
    descriptor = env_file(trainer)
    argv = exec_argv(
        record.container,
        record.image.path,
        command,
        mounts=_mounts(attempt, experiment, seen, tensorboard),
        workdir=seen.workdir,
        env_file=f"/proc/self/fd/{descriptor}",
        gpu=gpu_flag(environ, {path: os.path.exists(path) for path in ("/dev/nvidiactl", "/dev/kfd")}),
    )
    return LaunchLine(argv, host_environment(environ, {}), attempt.path, tensorboard, began, (descriptor,))


def choose_checkpoint(attempt: AttemptDir, experiment: Experiment) -> Checkpoint | None:
    """The newest valid checkpoint of this attempt, else the pinned parent: never another attempt's (invariant 5)."""
    if experiment.checkpoint is None:
        return None
    pattern, complete = experiment.checkpoint.pattern, experiment.checkpoint.complete
    return newest_valid(attempt.checkpoints, pattern, complete) or newest_valid(attempt.start, pattern, complete)


def _resume_arguments(
    attempt: AttemptDir, record: AttemptRecord, experiment: Experiment, seen: Layout, chosen: Checkpoint | None
) -> list[str]:
    """An attempt that took the weights alone of its parent resumes its own checkpoints whole, as any other does."""
    if chosen is None or experiment.checkpoint is None:
        return []
    if chosen.path.is_relative_to(attempt.checkpoints):
        folder, root, words = seen.checkpoints, attempt.checkpoints, experiment.checkpoint.resume
    else:
        folder, root, words = seen.start, attempt.start, _first_words(record, experiment.checkpoint)
    path = f"{folder}/{chosen.path.relative_to(root)}"
    return [word.replace("{path}", path) for word in words]


def _first_words(record: AttemptRecord, checkpoint: CheckpointFields) -> tuple[str, ...]:
    """How the parent checkpoint is handed over."""
    weights_only = record.parent is not None and record.parent.weights_only
    return checkpoint.weights if weights_only and checkpoint.weights is not None else checkpoint.resume


def _host_layout(attempt: AttemptDir, record: AttemptRecord, experiment: Experiment, tensorboard: Path) -> Layout:
    workdir = attempt.code.resolve() / record.prefix
    return Layout(
        workdir=str(workdir),
        config=str(workdir / experiment.config) if experiment.config else "",
        tensorboard=str(tensorboard),
        checkpoints=str(attempt.checkpoints),
        start=str(attempt.start),
        scratch=str(attempt.scratch),
    )


def _inside(host: Layout, record: AttemptRecord, experiment: Experiment) -> Layout:
    """The same folders by the names that they have in the container."""
    workdir = os.path.normpath(f"{INSIDE.workdir}/{record.prefix}")
    return replace(INSIDE, workdir=workdir, config=f"{workdir}/{experiment.config}" if experiment.config else "")


def _mounts(attempt: AttemptDir, experiment: Experiment, seen: Layout, tensorboard: Path) -> list[Mount]:
    """What the trainer can reach: its code and parent read-only, its own output folders writable, the user's binds."""
    mounts = [
        Mount(str(attempt.code.resolve()), INSIDE.workdir),
        Mount(str(attempt.start), seen.start),
        Mount(str(tensorboard), seen.tensorboard, writable=True),
        Mount(str(attempt.checkpoints), seen.checkpoints, writable=True),
        Mount(str(attempt.scratch), seen.scratch, writable=True),
        Mount(str(private_dir(attempt.scratch / "tmp")), "/tmp", writable=True),  # noqa: S108 - the container's
        *(Mount(str(bind.source), bind.target, bind.writable) for bind in experiment.binds),
    ]
    if experiment.tensorboard:
        mounts.append(Mount(str(tensorboard), os.path.join(seen.workdir, experiment.tensorboard), writable=True))
    return mounts
