# SPDX-License-Identifier: Apache-2.0
"""A failed sbatch: refused for good, or is there perhaps a job?"""

from __future__ import annotations

import pytest

from ade_hpc.scheduler.refusal import is_unclear, own_words, what_to_change
from ade_hpc.scheduler.run import Completed

UNCLEAR = {"ctld-down/sbatch", "client-conf/sbatch-no-munge", "client-conf/sbatch-not-installed"}
NOT_OURS = {"errors/sbatch-test-only-bad", "submit/sbatch-wait-exit7"}  # other ways to call sbatch


def no_partitions() -> str:
    return ""


def test_recorded_refusals_are_told_from_lost_answers(recorded):
    failed = {
        name: call
        for name, call in recorded.calls.items()
        if "/sbatch" in name and call.returncode != 0 and name not in NOT_OURS
    }
    assert len(failed) > 30
    assert {name for name, call in failed.items() if is_unclear(call)} == UNCLEAR


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Unexpected message received",
        "sbatch: error: Batch job submission failed: Unspecified error",
        "sbatch: error: slurm_receive_msg: Connection reset by peer",
        "",
        "Killed",
        "/usr/local/bin/sbatch: line 3: segmentation fault",
    ],
)
def test_words_after_which_the_job_may_exist(words):
    assert is_unclear(Completed(1, "", words))


@pytest.mark.parametrize("returncode", [-9, -15, 137, 143, 2, 127])
def test_exit_codes_that_are_not_sbatchs_own(returncode):
    assert is_unclear(Completed(returncode, "", "sbatch: error: Invalid --time specification"))


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("errors/sbatch-bad-account", "account"), ("errors/sbatch-bad-qos", "qos"),
        ("errors/sbatch-bad-constraint", "constraint"), ("errors/sbatch-bad-time", "D-HH:MM:SS"),
        ("errors/sbatch-bad-mem", "mem"), ("errors/sbatch-gpu9", "fewer gpus"),
        ("errors/sbatch-gres-unknown", "gres"), ("errors/sbatch-submit-limit", "limit of your account"),
        ("errors/sbatch-bad-option", "skip"), ("client-conf/sbatch-bad-key", "SLURM_CONF"),
        ("errors/sbatch-inactive-partition", "partition"),
    ],
)  # fmt: skip
def test_recorded_refusals_say_what_to_change(recorded, call, hint):
    assert hint in what_to_change(recorded.calls[call], no_partitions)


def test_a_wrong_partition_is_answered_with_the_right_ones(recorded):
    call = recorded.calls["errors/sbatch-bad-partition"]
    assert what_to_change(call, lambda: "main spot") == "Set partition to one of: main spot."
    assert "sbatch: error" not in own_words(call)
    assert "Invalid partition name specified" in own_words(call)


def test_the_partitions_are_asked_for_only_where_they_help(recorded):
    def asked() -> str:
        raise AssertionError

    assert what_to_change(recorded.calls["errors/sbatch-bad-qos"], asked)
