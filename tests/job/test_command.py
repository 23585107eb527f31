# SPDX-License-Identifier: Apache-2.0
"""The trainer's command line, environment, and the container's command line."""

from __future__ import annotations

import csv
import os
import shlex

from hypothesis import given
from hypothesis import strategies as st

from ade_hpc.job.command import Layout, as_flags, expand, host_environment, trainer_environment
from ade_hpc.job.container import Mount, env_file, exec_argv, gpu_flag

LAYOUT = Layout("/w", "/w/config.yaml", "/tb", "/ck", "/st", "/sc")


def test_placeholders_are_replaced_and_other_braces_stay() -> None:
    command = [
        "python",
        "t.py",
        "--c={config}",
        "{tensorboard}/x",
        "{resume}",
        "{other}",
        "{}",
        "{{config}}",
        "{params}",
    ]
    assert expand(command, LAYOUT, attempt=3, resume=["--resume", "/ck/a b.pt"], params={"lr": 0.1}) == [
        "python", "t.py", "--c=/w/config.yaml", "/tb/x", "--resume", "/ck/a b.pt", "{other}", "{}",
        "{/w/config.yaml}", "--lr", "0.1",
    ]  # fmt: skip


def test_without_a_checkpoint_resume_is_no_argument_at_all() -> None:
    assert expand(["t", "{resume}", "x"], LAYOUT, attempt=1, resume=[], params={}) == ["t", "x"]


def test_parameters_become_flags() -> None:
    assert as_flags({"a.b": 1.0e-5, "amp": True, "name": "x y", "none": None}) == [
        "--a.b", "1e-05", "--amp", "true", "--name", "x y",
    ]  # fmt: skip


def test_the_trainer_s_environment_is_an_allow_list() -> None:
    job = {"OPENAI_API_KEY": "k", "CUDA_VISIBLE_DEVICES": "0", "NCCL_DEBUG": "1", "SLURM_PROCID": "0", "WANDB": "w"}
    one = trainer_environment(
        job, layout=LAYOUT, resume=["--resume", "a b"], attempt=1, env={"A": "1"}, pass_env=("WANDB",), tasks=1
    )
    assert "OPENAI_API_KEY" not in one
    assert "SLURM_PROCID" not in one
    assert (one["CUDA_VISIBLE_DEVICES"], one["NCCL_DEBUG"], one["WANDB"], one["A"]) == ("0", "1", "w", "1")
    assert shlex.split(one["ADE_RESUME"]) == ["--resume", "a b"]
    many = trainer_environment(job, layout=LAYOUT, resume=[], attempt=1, env={}, pass_env=(), tasks=2)
    assert many["SLURM_PROCID"] == "0"


def test_on_the_host_the_job_s_environment_counts_less_what_is_slurm_s_and_ours() -> None:
    job = {"PATH": "/conda/bin", "SLURM_JOB_ID": "1", "SUBMITIT_X": "1", "ADE_JOB_ID": "2"}
    assert host_environment(job, {"ADE_CONFIG": "c"}) == {
        "PATH": "/conda/bin", "ADE_CONFIG": "c", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


paths = st.text(st.characters(blacklist_characters="\x00\n\r", blacklist_categories=["Cs"]), min_size=1, max_size=30)


@given(paths, paths)
def test_any_path_survives_as_a_mount(source: str, target: str) -> None:
    (fields,) = csv.reader([Mount(f"/{source}", f"/{target}").option()])
    assert fields == ["type=bind", f"source=/{source}", f"destination=/{target}", "ro"]


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), paths, max_size=5))
def test_the_env_file_is_quoted_and_on_no_disk(environment: dict[str, str]) -> None:
    descriptor = env_file(environment)
    try:
        text = os.read(descriptor, 1_000_000).decode()
        target = os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    assert target.startswith("/memfd:")
    words = shlex.split(text, posix=True)
    assert dict(word.partition("=")[::2] for word in words) == environment


def test_apptainer_gets_nothing_that_was_not_named() -> None:
    argv = exec_argv(
        "/usr/bin/apptainer", "/i.sif", ["python", "$(id)"], mounts=[Mount("/a", "/b")], workdir="/w", env_file="/e",
        gpu="nv",
    )  # fmt: skip
    assert argv == [
        "/usr/bin/apptainer", "exec", "--pid", "--cleanenv", "--no-home", "--no-eval", "--no-mount", "tmp,cwd", "--nv",
        "--mount", "type=bind,source=/a,destination=/b,ro", "--pwd", "/w", "--env-file", "/e", "/i.sif",
        "python", "$(id)",
    ]  # fmt: skip


def test_the_gpu_flag_follows_the_node() -> None:
    assert gpu_flag({}, {}) is None
    assert gpu_flag({"CUDA_VISIBLE_DEVICES": "0"}, {}) == "nv"
    assert gpu_flag({}, {"/dev/nvidiactl": True, "/dev/kfd": False}) == "nv"
    assert gpu_flag({"CUDA_VISIBLE_DEVICES": "0"}, {"/dev/kfd": True}) == "rocm"
