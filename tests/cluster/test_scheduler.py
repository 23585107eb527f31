# SPDX-License-Identifier: Apache-2.0
"""The Slurm client on a real Slurm: what it submits runs, and what it says of a job is so."""

from __future__ import annotations

import functools
import os
import re
import stat
import subprocess
import time
from pathlib import Path

import pytest

from ade_hpc.errors import SubmitRefused, SubmitUnclear
from ade_hpc.model import JobRef, JobTruth, Submission
from ade_hpc.scheduler.slurm import SlurmScheduler
from ade_hpc.scheduler.states import PHASES, conclude

CANARY = "canary-e2d8"
SMALL = {"mem": 300, "time": 3}


class Cluster:
    """The client under test, and the attempts of one test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0
        self.refs: list[JobRef] = []

    def scheduler(self, body: str = "true", **options) -> SlurmScheduler:
        """``body`` is what the payload does: a bash text, with the attempt's folder as $1."""
        return SlurmScheduler(
            lambda path: functools.partial(subprocess.check_call, ["bash", "-c", body, "payload", str(path)]), **options
        )

    def submission(self, **options) -> Submission:
        self.count += 1
        folder = self.root / f"{self.count:04d}"
        folder.mkdir(mode=0o700)
        name = f"test.{self.count:04d}.{time.monotonic_ns()}"
        return Submission(name, folder, **{**options, "directives": {**SMALL, **options.get("directives", {})}})

    def submit(self, body: str = "true", **options) -> JobRef:
        job = self.submission(**options)
        return self.ref(self.scheduler(body).submit(job), job)

    def ref(self, job_id: str, job: Submission) -> JobRef:
        self.refs.append(JobRef(job_id, job.name, job.attempt_dir))
        return self.refs[-1]

    def truth(self, ref: JobRef) -> JobTruth:
        seen = self.scheduler().observe([ref])
        return conclude(seen.jobs[ref.job_id], seen.queue, seen.accounting)

    def wait(self, ref: JobRef, phase: str, seconds: float = 40) -> JobTruth:
        until = time.monotonic() + seconds
        while (truth := self.truth(ref)).phase != phase:
            assert time.monotonic() < until, f"{truth}, and not {phase}"
            time.sleep(0.3)
        return truth

    def over(self, ref: JobRef) -> JobTruth:
        """It has ended, and accounting knows how: that comes some seconds after the queue."""
        until = time.monotonic() + 40
        while (truth := self.wait(ref, "ended")).end is None:
            assert time.monotonic() < until, f"{truth}: accounting does not say how"
            time.sleep(0.3)
        return truth

    def log(self, ref: JobRef) -> str:
        return "".join(path.read_text() for path in sorted((ref.attempt_dir / "logs").glob("*.out")))


@pytest.fixture
def cluster(in_lab, tmp_path):
    """A root with a space, a quote and a # in its name: every path goes through sbatch, bash and srun."""
    root = tmp_path / "it's a #root"
    root.mkdir()
    made = Cluster(root)
    yield made
    for ref in made.refs:
        made.scheduler().cancel(ref)


def show(cluster_job: JobRef, lab) -> str:
    return lab.run(["scontrol", "show", "job", cluster_job.job_id]).stdout


# --- submit -----------------------------------------------------------------------------------------------------


def test_a_job_runs_and_ends(cluster):
    ref = cluster.submit('echo "payload of $1"; pwd', setup=("echo setup here",), directives={"cpus_per_task": 2})
    truth = cluster.over(ref)
    assert (truth.state, truth.exit_code, truth.restarts) == ("COMPLETED", 0, 0), cluster.log(ref)
    assert truth.start <= truth.end
    assert f"payload of {ref.attempt_dir}\n{ref.attempt_dir}\n" in cluster.log(ref)
    assert "setup here" in cluster.log(ref)
    assert (ref.attempt_dir / "submitit" / f"{ref.job_id}_submitted.pkl").exists()
    files = [path for path in ref.attempt_dir.rglob("*") if path.stat().st_mode & 0o077 and not path.is_dir()]
    assert files == []


def test_a_job_that_fails_says_so(cluster):
    truth = cluster.over(cluster.submit("exit 3"))
    assert (truth.state, truth.exit_code) == ("FAILED", 1)


def test_values_arrive_as_they_were_written(cluster, in_lab):
    comment = """says "hi" to 'you' \\ and \\\\ #not a comment $HOME `id` ü =a,b;c"""
    ref = cluster.submit("sleep 20", directives={"comment": comment, "exclusive": True})
    assert f"Comment={comment} " in show(ref, in_lab) + " "


def test_nothing_of_a_surrounding_job_and_no_secret_gets_into_the_new_one(cluster, in_lab, monkeypatch):
    """Each of these breaks or redirects a job where sbatch inherits it."""
    leaks = {
        "SLURM_ARRAY_JOB_ID": "1183", "SLURM_ARRAY_TASK_ID": "7", "SLURM_MEM_PER_CPU": "100",
        "SLURM_EXPORT_ENV": "NONE", "SLURM_JOB_ID": "1183", "SLURM_NTASKS_PER_NODE": "2", "SBATCH_JOB_NAME": "evil",
        "SBATCH_PARTITION": "nope", "SBATCH_TIMELIMIT": "9", "OPENAI_API_KEY": CANARY, "SBATCH_EXPORT": "NONE",
    }  # fmt: skip
    for name, value in leaks.items():
        monkeypatch.setenv(name, value)
    ref = cluster.submit('env > "$1/env"')
    assert cluster.over(ref).state == "COMPLETED", cluster.log(ref)
    environ = (ref.attempt_dir / "env").read_text()
    assert CANARY not in environ
    assert f"SLURM_JOB_ID={ref.job_id}\n" in environ
    assert "evil" not in environ
    for option in ("--env-vars", "--batch-script"):
        stored = in_lab.run(["sacct", "-j", ref.job_id, option]).stdout
        assert ref.job_id in stored
        assert CANARY not in stored


def test_a_job_that_exports_nothing_still_finds_its_worker(cluster):
    ref = cluster.submit("true", directives={"export": "NONE"})
    assert cluster.wait(ref, "ended").state == "COMPLETED", cluster.log(ref)


@pytest.mark.parametrize(
    ("directives", "words"),
    [
        ({"partition": "nope"}, r"Set partition to one of: .*main.*spot"),
        ({"time": "banana"}, "Write time as"),
        ({"no-such-option": True}, "does not know the option"),
        ({"gres": "gpu:99"}, "ask for fewer gpus"),
        ({"constraint": "nope"}, "constraint"),
    ],
)
def test_a_refusal_says_what_to_change(cluster, directives, words):
    with pytest.raises(SubmitRefused, match=words):
        cluster.scheduler().submit(cluster.submission(directives=directives))


def test_what_a_refused_submission_leaves_is_not_found_as_a_job(cluster, in_lab):
    """A refused --gres=gpu:99 leaves a FAILED row of its name in the queue, and some seconds later in accounting."""
    job = cluster.submission(directives={"gres": "gpu:99"})
    with pytest.raises(SubmitRefused):
        cluster.scheduler().submit(job)
    in_accounting = ["sacct", "-n", "-S", "now-60", "--name", job.name]
    while in_lab.run(in_accounting).stdout == "":
        lookup = cluster.scheduler().find(job.name, time.time() - 60)
        assert (lookup.answered, lookup.jobs) == (True, ())
        time.sleep(0.3)
    assert cluster.scheduler().find(job.name, time.time() - 60).jobs == ()
    job = Submission(job.name, job.attempt_dir, SMALL)
    ref = cluster.ref(cluster.scheduler().submit(job), job)
    assert cluster.scheduler().find(job.name, time.time() - 60).jobs == (ref.job_id,)


@pytest.mark.parametrize("then", ["sleep 60", "kill -9 $$", "echo 'sbatch: error: Socket timed out' >&2; exit 1"])
def test_a_submission_whose_answer_was_lost_is_found_by_name_and_runs(cluster, tmp_path, monkeypatch, then):
    """The job needs nothing more of its submitter: the script itself links the pickle."""
    wrapper = tmp_path / "bin" / "sbatch"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/bash\n/usr/bin/sbatch "$@" >/dev/null\n{then}\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    job = cluster.submission()
    with pytest.raises(SubmitUnclear, match="the job may exist"):
        cluster.scheduler(timeout=10).submit(job)
    lookup = cluster.scheduler().find(job.name, time.time() - 60)
    assert lookup.answered
    ref = cluster.ref(*lookup.jobs, job)
    assert cluster.wait(ref, "ended").state == "COMPLETED", cluster.log(ref)
    assert cluster.scheduler().find(job.name, time.time() - 60).jobs == (ref.job_id,)


def test_an_attempt_that_is_submitted_twice_runs_one_at_a_time(cluster):
    job = cluster.submission()
    body = 'echo begin >> "$1/order"; sleep 2; echo end >> "$1/order"'
    refs = [cluster.ref(cluster.scheduler(body).submit(job), job) for _ in range(2)]
    for ref in refs:
        assert cluster.wait(ref, "ended").state == "COMPLETED", cluster.log(ref)
    assert (job.attempt_dir / "order").read_text().split() == ["begin", "end"] * 2
    assert set(cluster.scheduler().find(job.name, time.time() - 60).jobs) == {ref.job_id for ref in refs}


def test_settle_is_the_labs_message_timeout(cluster):
    assert cluster.scheduler(timeout=20).settle_s == 35.0


# --- replace ----------------------------------------------------------------------------------------------------


def test_a_successor_waits_for_the_old_job(cluster, in_lab):
    old = cluster.submit("sleep 60")
    new = cluster.submit("true", after=old)
    assert f"afterany:{old.job_id}" in show(new, in_lab)
    cluster.wait(old, "running")
    truth = cluster.truth(new)
    assert (truth.phase, truth.reason) == ("pending", "Dependency")
    cluster.scheduler().cancel(old)
    assert cluster.wait(old, "ended").state == "CANCELLED"
    assert cluster.wait(new, "ended").state == "COMPLETED", cluster.log(new)


@pytest.mark.parametrize("job_id", ["99999999", "1"])
def test_a_successor_of_a_job_that_slurm_has_forgotten_does_not_depend_on_it(cluster, in_lab, job_id):
    new = cluster.submit("true", after=JobRef(job_id, "forgotten", cluster.root))
    assert "afterany" not in show(new, in_lab)
    assert cluster.wait(new, "ended").state == "COMPLETED", cluster.log(new)


# --- observe ----------------------------------------------------------------------------------------------------


def test_a_requeued_job_is_at_no_moment_ended(cluster, in_lab):
    """22.05 shows the old row, REQUEUED, for seconds after the queue says PENDING."""
    ref = cluster.submit('echo start >> "$1/starts"; [ "$SLURM_RESTART_COUNT" = 1 ] || sleep 60')
    cluster.wait(ref, "running")
    while not (ref.attempt_dir / "starts").exists():
        time.sleep(0.1)
    time.sleep(1.5)  # accounting counts whole seconds
    in_lab.run(["scontrol", "requeue", ref.job_id])
    seen = set()
    until = time.monotonic() + 40
    while (truth := cluster.truth(ref)).phase != "ended":
        seen.add((truth.phase, truth.restarts))
        assert time.monotonic() < until
        time.sleep(0.1)
    assert ("pending", 1) in seen
    assert (truth.state, truth.restarts) == ("COMPLETED", 1), cluster.log(ref)
    assert (ref.attempt_dir / "starts").read_text().split() == ["start"] * 2
    assert truth.elapsed_s >= 1


def test_many_jobs_with_one_question_each(cluster):
    held = [cluster.submit(directives={"hold": True}) for _ in range(2)]
    done = cluster.submit()
    cluster.wait(done, "ended")
    unknown = JobRef("99999999", "unknown", cluster.root)
    seen = cluster.scheduler().observe([*held, done, unknown])
    truths = {job_id: conclude(view, seen.queue, seen.accounting) for job_id, view in seen.jobs.items()}
    assert [truths[ref.job_id].reason for ref in held] == ["JobHeldUser"] * 2
    assert truths[done.job_id].state == "COMPLETED"
    assert truths["99999999"].phase == "unknown"
    assert (seen.queue.detail, seen.accounting.detail) == ("", "")


def test_one_unknown_job_alone(cluster):
    assert cluster.truth(JobRef("99999999", "unknown", cluster.root)).phase == "unknown"


def test_a_job_that_was_cancelled_before_it_was_eligible(cluster):
    ref = cluster.submit(directives={"begin": "now+1hour"})
    assert cluster.truth(ref).phase == "pending"
    cluster.scheduler().cancel(ref)
    assert cluster.wait(ref, "ended").state == "CANCELLED"


def client_conf(in_lab, tmp_path: Path, old: str, new: str) -> str:
    """The lab's slurm.conf with one line changed, for clients only."""
    text = Path(in_lab.env["SLURM_CONF"]).read_text()
    assert old in text
    lines = [new if line.startswith(old) else line for line in text.splitlines()]
    path = tmp_path / "slurm.conf"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_accounting_that_the_cluster_has_not_is_off(cluster, in_lab, tmp_path, monkeypatch):
    ref = cluster.submit("sleep 60")
    conf = client_conf(in_lab, tmp_path, "AccountingStorageType", "AccountingStorageType=accounting_storage/none")
    monkeypatch.setenv("SLURM_CONF", conf)
    seen = cluster.scheduler().observe([ref])
    assert (seen.queue.answer, seen.accounting.answer) == ("answered", "off")
    unknown = JobRef("99999999", "gone", cluster.root)
    truth = cluster.truth(unknown)
    assert (truth.phase, truth.state) == ("ended", "")


@pytest.mark.parametrize(
    ("line", "value", "answers"),
    [
        ("AccountingStoragePort", "AccountingStoragePort=1", ("answered", "failed")),
        ("SlurmctldPort", "SlurmctldPort=1", ("failed", "answered")),
    ],
)
def test_a_daemon_that_is_down_is_silence(cluster, in_lab, tmp_path, monkeypatch, line, value, answers):
    ref = cluster.submit()
    cluster.wait(ref, "ended")
    with monkeypatch.context() as patched:
        patched.setenv("SLURM_CONF", client_conf(in_lab, tmp_path, line, value))
        seen = cluster.scheduler(timeout=4).observe([ref])
        lookup = cluster.scheduler(timeout=4).find("nobody.has.this.name", time.time())
    assert (seen.queue.answer, seen.accounting.answer) == answers
    assert not lookup.answered
    if answers[0] == "failed":
        assert conclude(seen.jobs[ref.job_id], seen.queue, seen.accounting).phase == "unknown"


def test_every_state_that_this_slurm_can_name_is_known(in_lab):
    """squeue lists them itself where it is asked for one that does not exist."""
    said = in_lab.run(["squeue", "--states=nonsense"], check=False).stderr
    named = re.findall(r"\b[A-Z][A-Z_]{3,}\b", said.partition("include:")[2])
    assert {"PENDING", "NODE_FAIL", "SIGNALING"} <= set(named), said
    assert set(named) <= set(PHASES)


# --- cancel -----------------------------------------------------------------------------------------------------


def test_cancel_of_running_waiting_ended_and_unknown_jobs(cluster):
    running, held = cluster.submit("sleep 60"), cluster.submit(directives={"hold": True})
    cluster.wait(running, "running")
    for ref in (running, held):
        cluster.scheduler().cancel(ref)
        assert cluster.wait(ref, "ended").state == "CANCELLED"
        cluster.scheduler().cancel(ref)
    cluster.scheduler().cancel(JobRef("99999999", "unknown", cluster.root))


def test_cancel_with_a_wrong_id_leaves_the_other_job_alone(cluster):
    ref = cluster.submit("sleep 60")
    cluster.scheduler().cancel(JobRef(ref.job_id, "another.name", cluster.root))
    time.sleep(1)
    assert cluster.truth(ref).phase in ("pending", "running")
