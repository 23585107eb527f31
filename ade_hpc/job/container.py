# SPDX-License-Identifier: Apache-2.0
"""Apptainer's command line: explicit mounts, a clean environment, nothing evaluated. Pure but for the env-file.

Measured traps that shaped it: apptainer *executes* ``$(...)`` in values of --env and --env-file unless ``--no-eval``;
``--pid`` is what makes every process of the container die with it; $HOME, the working directory and /tmp of the host
are mounted by default, and the trainer must not reach the run folder's records through them (invariant 10).
"""

from __future__ import annotations

import csv
import io
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ade_hpc.job.command import Layout

INSIDE = Layout(
    workdir="/ade/code",
    config="",
    tensorboard="/ade/tensorboard",
    checkpoints="/ade/checkpoints",
    start="/ade/start",
    scratch="/ade/scratch",
)


@dataclass(frozen=True)
class Mount:
    """One bind mount; read-only unless said."""

    source: str
    target: str
    writable: bool = False

    def option(self) -> str:
        """The value of ``--mount``: comma separated, quoted as CSV, so any path can stand in it."""
        fields = ["type=bind", f"source={self.source}", f"destination={self.target}"]
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(fields if self.writable else [*fields, "ro"])
        return text.getvalue()


def exec_argv(
    container: str,
    image: str,
    command: Sequence[str],
    *,
    mounts: Sequence[Mount],
    workdir: str,
    env_file: str,
    gpu: str | None,
) -> list[str]:
    """``apptainer exec ...`` as an argument list. ``gpu`` is ``nv``, ``rocm`` or None."""
    argv = [container, "exec", "--pid", "--cleanenv", "--no-home", "--no-eval", "--no-mount", "tmp,cwd"]
    if gpu:
        argv.append(f"--{gpu}")
    for mount in mounts:
        argv += ["--mount", mount.option()]
    return [*argv, "--pwd", workdir, "--env-file", env_file, image, *command]


def env_file(environment: Mapping[str, str]) -> int:
    """An open descriptor of an env-file that exists in memory only, so that no value is ever on a disk.

    Pass the descriptor on and name it ``/proc/self/fd/N``; the caller closes it. Values are quoted as a shell
    would, which is exact only together with ``--no-eval``.
    """
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items())
    descriptor = os.memfd_create("ade-env", os.MFD_CLOEXEC)
    os.write(descriptor, text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def gpu_flag(environ: Mapping[str, str], exists: Mapping[str, bool]) -> str | None:
    """NVIDIA or AMD, by what the job was given and which device files the node has."""
    if exists.get("/dev/nvidiactl") or (environ.get("CUDA_VISIBLE_DEVICES") and not exists.get("/dev/kfd")):
        return "nv"
    return "rocm" if exists.get("/dev/kfd") else None
