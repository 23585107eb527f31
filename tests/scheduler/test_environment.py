# SPDX-License-Identifier: Apache-2.0
"""What sbatch and the job get to see: an allow-list, and no secret."""

from __future__ import annotations

from ade_hpc.scheduler.environment import clean_env, query_env

CANARY = "canary-7f3a"
SECRETS = [
    "OPENAI_API_KEY", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "GITHUB_TOKEN", "SSH_AUTH_SOCK",
    "SLURM_JWT", "http_proxy", "HTTPS_PROXY", "BASH_FUNC_module%%", "PYTHONPATH", "LD_PRELOAD", "BASH_ENV", "TMPDIR",
]  # fmt: skip
LEAKS = [
    "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_MEM_PER_CPU", "SLURM_EXPORT_ENV", "SLURM_CPUS_PER_TASK",
    "SLURM_CONF_SERVER", "SBATCH_PARTITION", "SBATCH_JOB_NAME", "SRUN_EXPORT_ENV", "SALLOC_QOS", "SACCT_FORMAT",
    "SQUEUE_FORMAT", "SUBMITIT_EXECUTOR", "PMI_RANK", "CUDA_VISIBLE_DEVICES",
]  # fmt: skip


def test_no_secret_and_no_trace_of_another_job_gets_through():
    environ = {**dict.fromkeys([*SECRETS, *LEAKS], CANARY), "PATH": "/usr/bin", "HOME": "/home/me"}
    assert clean_env(environ) == {"PATH": "/usr/bin", "HOME": "/home/me"}
    assert CANARY not in query_env(environ).values()


def test_what_a_user_and_a_cluster_need_stays():
    environ = {"USER": "me", "LANG": "C.UTF-8", "LC_ALL": "C", "TZ": "UTC", "SLURM_CONF": "/etc/x.conf", "PATH": "/bin"}
    assert clean_env(environ) == environ


def test_cron_without_a_path():
    assert "/usr/bin" in clean_env({})["PATH"].split(":")


def test_seconds_are_asked_of_queries_and_not_passed_to_jobs():
    assert query_env({})["SLURM_TIME_FORMAT"] == "%s"
    assert "SLURM_TIME_FORMAT" not in clean_env({"SLURM_TIME_FORMAT": "%s"})
