# SPDX-License-Identifier: Apache-2.0
"""The Slurm client against stand-ins that fail as real ones do; tests/cluster runs it against a real Slurm."""

from __future__ import annotations

import functools
import os
import pickle
import shlex
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ade_hpc.errors import SchedulerError, SchedulerSilent, SubmitRefused, SubmitUnclear
from ade_hpc.model import JobRef, JobView, Submission
from ade_hpc.scheduler.parse import SEPARATOR
from ade_hpc.scheduler.slurm import SlurmScheduler

CANARY = "canary-51c9"
LIVE = SEPARATOR.join(["41", "RUNNING", "100", "110", "n1", "None", "digits.0001.k3f9"])
GHOST = SEPARATOR.join(["43", "FAILED", "100", "100", "", "BadConstraints", "digits.0001.k3f9"])
ENDED = SEPARATOR.join(["7", "TIMEOUT", "0:0", "0:0", "100", "110", "170", "60", "n1", "None", "digits.0001.k3f9"])
GHOST_ROW = SEPARATOR.join(["43", "FAILED", "1:0", "0:0", "100", "100", "100", "0", "None assigned", "None", ""])


def scheduler(**options) -> SlurmScheduler:
    return SlurmScheduler(lambda path: functools.partial(os.path.exists, str(path)), **options)


def prints(row: str) -> str:
    return f"printf '%s\\n' {shlex.quote(row)}"


def fails(words: str, code: int = 1) -> str:
    return f"echo {shlex.quote(words)} >&2; exit {code}"


@pytest.fixture
def job(attempt_dir: Path) -> Submission:
    return Submission("digits.0001.k3f9", attempt_dir, {"partition": "gpu"})


def ref(job_id: str, attempt_dir: Path) -> JobRef:
    return JobRef(job_id, "digits.0001.k3f9", attempt_dir)


# --- submit -----------------------------------------------------------------------------------------------------


def test_submit_returns_the_id_and_submits_what_script_shows(slurm, job):
    assert scheduler().submit(job) == "42"
    script = job.attempt_dir / "submitit" / "attempt.sh"
    assert slurm.called("sbatch") == [f"sbatch --parsable {script}"]
    assert script.read_text() == scheduler().script(job)
    assert slurm.called("squeue") == slurm.called("sacct") == []


def test_the_pickle_is_a_class_by_reference_and_one_path(slurm, job):
    scheduler().submit(job)
    data = (job.attempt_dir / "submitit" / "attempt.pkl").read_bytes()
    delayed = pickle.loads(data)  # noqa: S301 - our own, written a line above
    assert delayed.function.args == (str(job.attempt_dir),)
    assert len(data) < 1000


def test_folders_and_files_are_the_users_alone(slurm, job):
    before = os.umask(0o022)
    try:
        scheduler().submit(job)
    finally:
        os.umask(before)
    paths = [job.attempt_dir / "logs", *job.attempt_dir.joinpath("submitit").rglob("*")]
    assert len(paths) == 3
    assert not [path for path in paths if path.stat().st_mode & 0o077]


def test_no_secret_reaches_sbatch_the_script_or_the_pickle(slurm, job, monkeypatch):
    for name in ("OPENAI_API_KEY", "SBATCH_PARTITION", "SLURM_JOB_ID", "PYTHONPATH"):
        monkeypatch.setenv(name, CANARY)
    scheduler().submit(job)
    assert CANARY not in slurm.environ("sbatch").values()
    assert "SLURM_TIME_FORMAT" not in slurm.environ("sbatch")
    files = [path for path in job.attempt_dir.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def test_the_same_attempt_can_be_submitted_again(slurm, job):
    assert scheduler().submit(job) == "42"
    slurm.program("sbatch", "echo '43;cluster'")
    assert scheduler().submit(job) == "43"


def test_waits_for_the_old_job_only_while_the_queue_lists_it(slurm, job):
    waiting = Submission(job.name, job.attempt_dir, after=ref("41", job.attempt_dir))
    script = job.attempt_dir / "submitit" / "attempt.sh"
    slurm.program("squeue", prints(LIVE))
    scheduler().submit(waiting)
    assert "--dependency=afterany:41,singleton" in script.read_text()
    assert len(slurm.called("squeue")) == 1
    slurm.program("squeue", fails("slurm_load_jobs error: Invalid job id specified"))
    scheduler().submit(waiting)
    assert "--dependency=singleton\n" in script.read_text()


def test_nothing_is_submitted_while_the_queue_can_not_say_whether_the_old_job_lives(slurm, job):
    slurm.program("squeue", fails("slurm_load_jobs error: Unable to contact slurm controller (connect failure)"))
    with pytest.raises(SchedulerSilent, match="nothing was submitted"):
        scheduler().submit(Submission(job.name, job.attempt_dir, after=ref("41", job.attempt_dir)))
    assert slurm.called("sbatch") == []


@pytest.mark.parametrize(
    "body",
    [
        "sleep 30",
        "kill -9 $$",
        "echo Submitted batch job 42",
        "echo",
        "echo 42; echo 43",
        "exit 0",
        fails("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"),
        fails("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"),
        "exit 1",
    ],
)
def test_a_submission_that_broke_off_is_unclear(slurm, job, body):
    slurm.program("sbatch", body)
    with pytest.raises(SubmitUnclear, match="the job may exist"):
        scheduler(timeout=0.5).submit(job)


def test_a_refusal_carries_slurms_words_and_the_partitions(slurm, job):
    slurm.program("sbatch", fails("sbatch: error: Batch job submission failed: Invalid partition name specified"))
    slurm.program("sinfo", "echo main; echo spot")
    with pytest.raises(SubmitRefused) as refused:
        scheduler().submit(job)
    assert str(refused.value) == (
        "Slurm refused the job: Invalid partition name specified. Set partition to one of: main spot."
    )


def test_options_that_sbatch_can_not_read_are_a_refusal(slurm, job):
    slurm.program("sbatch", fails("sbatch: error: Invalid --time specification", 255))
    with pytest.raises(SubmitRefused, match="Write time as"):
        scheduler().submit(job)


def test_a_directive_that_can_not_be_written_is_refused_before_anything_is_touched(slurm, attempt_dir):
    with pytest.raises(SubmitRefused):
        scheduler().submit(Submission("x", attempt_dir, {"comment": "a\n#SBATCH --uid=0"}))
    assert list(attempt_dir.iterdir()) == []
    assert slurm.called("sbatch") == []


def test_no_slurm_on_this_machine(job, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SchedulerError, match="load the site's Slurm module"):
        scheduler().submit(job)
    assert "srun" in scheduler().script(job)  # a dry run needs none


def test_no_space(slurm, job):
    (job.attempt_dir / "submitit").mkdir(mode=0o700)
    (job.attempt_dir / "submitit" / "attempt.pkl").mkdir()
    with pytest.raises(SchedulerError, match="can't be written"):
        scheduler().submit(job)
    assert slurm.called("sbatch") == []


# --- find -------------------------------------------------------------------------------------------------------


def test_find_in_the_queue(slurm):
    slurm.program("squeue", prints(LIVE))
    lookup = scheduler().find("digits.0001.k3f9", time.time())
    assert (lookup.answered, lookup.jobs) == (True, ("41",))
    assert slurm.called("sacct") == []
    (call,) = slurm.called("squeue")
    assert "--name digits.0001.k3f9" in call
    assert f"--user={os.getuid()}" in call


def test_find_in_accounting_what_left_the_queue(slurm):
    slurm.program("sacct", prints(ENDED))
    assert scheduler().find("digits.0001.k3f9", time.time() - 60).jobs == ("7",)
    (call,) = slurm.called("sacct")
    assert "--starttime now-36" in call


def test_what_a_refused_submission_left_is_not_found(slurm):
    slurm.program("squeue", prints(GHOST))
    slurm.program("sacct", prints(GHOST_ROW))
    lookup = scheduler().find("digits.0001.k3f9", time.time())
    assert (lookup.answered, lookup.jobs) == (True, ())


@pytest.mark.parametrize("source", ["squeue", "sacct"])
@pytest.mark.parametrize("body", ["exit 1", "sleep 30"])
def test_an_empty_lookup_is_no_answer_where_a_source_was_silent(slurm, source, body):
    slurm.program(source, body)
    assert not scheduler(timeout=0.5).find("digits.0001.k3f9", time.time()).answered


def test_without_accounting_the_queue_answers_alone(slurm):
    slurm.program("sacct", fails("Slurm accounting storage is disabled"))
    assert scheduler().find("digits.0001.k3f9", time.time()).answered


@pytest.mark.parametrize("name", ["a,b", "*", "", "--all"])
def test_a_name_that_is_a_list_or_a_pattern_is_never_asked_for(slurm, name):
    assert scheduler().find(name, time.time()).jobs == ()
    assert slurm.called("squeue") == []


# --- observe ----------------------------------------------------------------------------------------------------


def test_no_jobs_no_calls(slurm):
    seen = scheduler().observe([])
    assert (seen.queue.answered, seen.accounting.answered, seen.jobs) == (True, True, {})
    assert not slurm.calls.exists()


def test_one_call_each_for_all_jobs(slurm, attempt_dir):
    slurm.program("squeue", prints(LIVE))
    slurm.program("sacct", prints(ENDED))
    seen = scheduler().observe([ref(job_id, attempt_dir) for job_id in ("41", "7", "7", "8")])
    assert len(slurm.called("squeue")) == len(slurm.called("sacct")) == 1
    assert "--jobs 41,7,8" in slurm.called("squeue")[0]
    assert slurm.environ("sacct")["SLURM_TIME_FORMAT"] == "%s"
    assert seen.jobs["41"].queue is not None
    assert seen.jobs["41"].queue.start == 110.0
    assert [row.state for row in seen.jobs["7"].accounting] == ["TIMEOUT"]
    assert seen.jobs["8"] == JobView("8")


def test_of_two_jobs_with_one_id_the_later_is_meant(slurm, attempt_dir):
    """slurmctld gives the id of a job that it has lost to the next one."""
    slurm.program("squeue", prints(LIVE.replace("digits.0001.k3f9", "digits.0002.x7b2")))
    first, second, watched = (JobRef("41", f"digits.{tail}", attempt_dir) for tail in ("0001.k3f9", "0002.x7b2", "x"))
    assert scheduler().observe([first]).jobs["41"].queue is None
    assert scheduler().observe([first, second]).jobs["41"].queue is not None
    assert scheduler().observe([replace(watched, name="")]).jobs["41"].queue is not None


@pytest.mark.parametrize(("name", "known"), [("digits.0001.k3f9", 1), ("allocation", 1), ("", 1), ("somebody", 0)])
def test_a_row_of_another_job_with_its_id_says_nothing_of_a_job(slurm, attempt_dir, name, known):
    """slurmdbd may not have heard the name yet."""
    slurm.program("sacct", prints(ENDED.replace("digits.0001.k3f9", name)))
    seen = scheduler().observe([ref("7", attempt_dir), ref("8", attempt_dir)])
    watched = scheduler().observe([JobRef("7", "", attempt_dir)])
    assert (len(seen.jobs["7"].accounting), len(watched.jobs["7"].accounting)) == (known, 1)


def test_one_unknown_job_is_an_answer(slurm, attempt_dir):
    """squeue calls that an error, with one id; with two it says nothing."""
    slurm.program("squeue", fails("slurm_load_jobs error: Invalid job id specified"))
    assert scheduler().observe([ref("7", attempt_dir)]).queue.answered


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("exit 0", "answered"),
        (fails("Slurm accounting storage is disabled"), "off"),
        (fails("SLURM accounting storage is disabled"), "off"),
        (fails("sacct: error: Problem talking to the database: Connection refused"), "failed"),
        ("sleep 30", "failed"),
        ("kill -9 $$", "failed"),
    ],
)
def test_accounting_that_is_off_is_not_accounting_that_is_down(slurm, attempt_dir, body, answer):
    slurm.program("sacct", body)
    patience = 0.5 if "sleep" in body else 30.0
    assert scheduler(timeout=patience).observe([ref("7", attempt_dir)]).accounting.answer == answer


def test_ids_that_are_none_are_not_asked_and_do_not_spoil_the_rest(slurm, attempt_dir):
    seen = scheduler().observe([ref(job_id, attempt_dir) for job_id in ("41", "--all", "1.2", "7;id")])
    assert "--jobs 41 " in slurm.called("squeue")[0] + " "
    assert seen.jobs["--all"] == JobView("--all")


def test_a_query_that_can_not_run_is_a_source_that_failed(attempt_dir, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    seen = scheduler().observe([ref("7", attempt_dir)])
    assert (seen.queue.answer, seen.accounting.answer) == ("failed", "failed")
    assert "load the site's Slurm module" in seen.queue.detail


# --- cancel -----------------------------------------------------------------------------------------------------


def test_cancel_names_the_job_twice(slurm, attempt_dir):
    """A wrong id in a damaged record must not end somebody else's job."""
    scheduler().cancel(ref("41", attempt_dir))
    assert slurm.called("scancel") == ["scancel --name=digits.0001.k3f9 41"]


@pytest.mark.parametrize(
    "words",
    [
        "scancel: error: Kill job error on job id 41: Invalid job id specified",
        "scancel: error: Kill job error on job id 41: Job/step already completing or completed",
    ],
)
def test_cancel_of_a_job_that_is_gone_is_fine(slurm, attempt_dir, words):
    slurm.program("scancel", fails(words))
    scheduler().cancel(ref("41", attempt_dir))


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("scancel: error: Kill job error on job id 41: Access/permission denied", 210, SchedulerError),
        ("scancel: error: ...: Unable to contact slurm controller (connect failure)", 8, SchedulerSilent),
    ],
)
def test_cancel_that_did_not_happen(slurm, attempt_dir, words, code, error):
    slurm.program("scancel", fails(words, code))
    with pytest.raises(error) as raised:
        scheduler().cancel(ref("41", attempt_dir))
    assert type(raised.value) is error


def test_cancel_that_hangs(slurm, attempt_dir):
    slurm.program("scancel", "sleep 30")
    with pytest.raises(SchedulerSilent):
        scheduler(timeout=0.5).cancel(ref("41", attempt_dir))


@pytest.mark.parametrize("job_id", ["--state=RUNNING", "41 42", "", "1.2"])
def test_cancel_takes_nothing_but_a_job_id(slurm, attempt_dir, job_id):
    with pytest.raises(SchedulerError):
        scheduler().cancel(ref(job_id, attempt_dir))
    assert slurm.called("scancel") == []


# --- settle -----------------------------------------------------------------------------------------------------


def test_settle_outlasts_our_own_patience_and_the_clusters_message_timeout(slurm):
    slurm.program("scontrol", "echo 'MessageTimeout          = 100 sec'")
    patient = scheduler(timeout=20)
    assert patient.settle_s == patient.settle_s == 125.0
    assert len(slurm.called("scontrol")) == 1


def test_settle_without_an_answer_is_slurms_default(slurm):
    slurm.program("scontrol", "exit 1")
    assert scheduler(timeout=20).settle_s == 35.0
