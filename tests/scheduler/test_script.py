# SPDX-License-Identifier: Apache-2.0
"""The script that is submitted: exactly this text, and no value can add a line to it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ade_hpc.errors import SubmitRefused
from ade_hpc.model import JobRef, Submission
from ade_hpc.scheduler.script import RESERVED, script_text

GOLDEN = Path(__file__).parent / "golden"
HERE = Path("/scratch/me/it's here/digits/attempts/0003")
PYTHON = "/home/me/my env/bin/python"
PLAIN = Submission("digits.0003.k3f9", HERE)
FULL = Submission(
    "digits.0003.k3f9",
    HERE,
    directives={
        "partition": "gpu",
        "gpus_per_node": 2,
        "cpus-per-task": 8,
        "time": "1-12:00:00",
        "signal": "USR2@300",
        "exclusive": True,
        "no-kill": False,
        "comment": 'says "hi" \\ # and `so` $on',
    },
    setup=("module load cuda/12.4", "source ~/env/bin/activate"),
    skip=("exclusive",),
    after=JobRef("41", "digits.0002.aaaa", HERE.with_name("0002")),
)


def script(**changes) -> str:
    return script_text(replace(PLAIN, **changes), PYTHON)


def directives(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("#SBATCH")]


@pytest.mark.parametrize(("job", "name"), [(PLAIN, "plain.sh"), (FULL, "full.sh")])
def test_golden_script(job, name):
    assert script_text(job, PYTHON) == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", ["plain.sh", "full.sh"])
def test_golden_script_is_bash(name):
    done = subprocess.run(["bash", "-n", str(GOLDEN / name)], capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_underscores_and_dashes_name_the_same_directive():
    assert script(directives={"gpus_per_node": 2}) == script(directives={"gpus-per-node": 2})


def test_no_wckey_unless_it_is_given():
    assert "wckey" not in script()
    assert "#SBATCH --wckey=mine" in script(directives={"wckey": "mine"})


def test_skipped_directives_are_not_in_the_text_even_where_they_are_ours():
    text = script(directives={"mem": 100}, skip=("mem", "requeue", "open_mode", "signal"))
    assert not [line for line in directives(text) if "mem" in line or "requeue" in line or "signal" in line]
    assert "#SBATCH --open-mode" not in text


def test_a_job_that_must_not_be_queued_again():
    assert "#SBATCH --requeue" in script()
    text = script(directives={"no_requeue": True})
    assert "#SBATCH --no-requeue" in text
    assert "#SBATCH --requeue" not in text


def test_the_step_gets_its_cpus_and_the_environment_again():
    """srun of 22.05 to 23.02 does not inherit --cpus-per-task; --export=NONE would hide everything from the step."""
    step = script(directives={"cpus_per_task": 8, "export": "NONE"}).splitlines()[-1]
    assert "--cpus-per-task=8" in step
    assert "--export=ALL" in step
    assert "--cpus-per-task" not in script(directives={"cpus_per_task": 8}, skip=("cpus-per-task",)).splitlines()[-1]


def test_one_at_a_time_and_after_the_old_one():
    assert "#SBATCH --dependency=singleton" in script()
    after = JobRef("41", "x", HERE)
    assert "#SBATCH --dependency=afterany:41,singleton" in script(after=after)


# --- injection --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", ["\n", "\r", "\0", "\x1b", "\u2028", "\x85", "\t"])
def test_a_value_with_a_line_break_is_refused(character):
    with pytest.raises(SubmitRefused, match="control character"):
        script(directives={"comment": f"a{character}#SBATCH --uid=0"})


@pytest.mark.parametrize("name", ["mem\n#SBATCH --x", "mem=1", "--mem", "p", "", "Mem", "mem x", "-p"])
def test_a_directive_that_is_no_name_is_refused(name):
    with pytest.raises(SubmitRefused):
        script(directives={name: "1"}, skip=())


@pytest.mark.parametrize("name", [*RESERVED, "job_name", "dep", "job-na", "outp"])
def test_what_makes_a_job_ours_can_not_be_given(name):
    """sbatch takes any unambiguous beginning of an option for the option."""
    with pytest.raises(SubmitRefused, match="set by ade-hpc itself"):
        script(directives={name: "x"})


def test_the_name_can_not_be_skipped():
    with pytest.raises(SubmitRefused, match="found again by its name"):
        script(skip=("job_name",))


@pytest.mark.parametrize("name", ["a b", "a,b", "a\nb", "", "-x", "a" * 300, "ä", "a/b", "$x"])
def test_a_name_that_slurm_would_read_otherwise_is_refused(name):
    with pytest.raises(SubmitRefused, match="job name"):
        script(name=name)


@pytest.mark.parametrize("path", ["/runs/100%j/1", "/runs/a\\b/1", "/runs/a\nb/1", "relative/1"])
def test_a_path_that_slurm_or_submitit_would_rewrite_is_refused(path):
    with pytest.raises(SubmitRefused, match="choose another runs_dir"):
        script(attempt_dir=Path(path))


def test_a_dependency_that_is_no_job_is_refused():
    with pytest.raises(SubmitRefused):
        script(after=JobRef("1,afterok:2\n#SBATCH --x", "x", HERE))


@given(value=st.text(max_size=30))
def test_no_value_adds_or_removes_a_line(value):
    usual = script_text(replace(PLAIN, directives={"comment": "x"}), PYTHON).count("\n")
    try:
        text = script_text(replace(PLAIN, directives={"comment": value}), PYTHON)
    except SubmitRefused:
        return
    assert text.count("\n") == usual
    assert len(text.splitlines()) == usual
    assert len(directives(text)) == len(directives(script(directives={"comment": "x"})))
