# SPDX-License-Identifier: Apache-2.0
"""The embedded scheduler, for real: processes that outlive their submitter, wait for one another, and end clean."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ade_hpc.errors import SchedulerError, SubmitRefused, SubmitUnclear
from ade_hpc.model import JobRef, JobTruth, Submission
from ade_hpc.scheduler import local, local_job
from ade_hpc.scheduler.local import LocalScheduler
from ade_hpc.scheduler.process import Process
from ade_hpc.scheduler.states import conclude

CANARY = "canary-90ab"
# What job/ leaves behind, in few words: an owner, an exit record, a trainer in a session of its own
PAYLOAD = r"""
record() {
    mkdir -p "$1/exit"
    printf '{"job_id": "%s", "cause": "%s", "returncode": %d, "final": true, "ended_at": %d}' \
        "$ADE_JOB_ID" "$2" "$3" "$(date +%s)" > "$1/exit/.new" && mv "$1/exit/.new" "$1/exit/0.here.json"
    exit $3
}
date +%s.%N > "$1/begun"
echo "$$ $ADE_JOB_ID" >> "$1/starts"
env > "$1/env"
"""
IDLE = "while :; do sleep 0.1; done"


class Jobs:
    """A local scheduler and the attempts of one test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refs: list[JobRef] = []

    def scheduler(self, body: str) -> LocalScheduler:
        return LocalScheduler(["/bin/bash", "-c", PAYLOAD + body, "payload"])

    def attempt(self) -> Path:
        folder = self.root / f"{len(self.refs) + 1:04d}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def submit(self, body: str, **options) -> JobRef:
        """Submit a payload of which ``body`` is the bash text; ``$1`` is its attempt's folder."""
        folder = self.attempt()
        name = f"test.{folder.name}.{os.getpid()}"
        ref = JobRef(self.scheduler(body).submit(Submission(name, folder, **options)), name, folder)
        self.refs.append(ref)
        return ref

    def truth(self, ref: JobRef) -> JobTruth:
        seen = LocalScheduler([]).observe([ref])
        return conclude(seen.jobs[ref.job_id], seen.queue, seen.accounting)

    def ended(self, ref: JobRef) -> JobTruth:
        eventually(lambda: self.truth(ref).phase == "ended")
        return self.truth(ref)


def eventually(true: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def pid_of(ref: JobRef) -> int:
    return int(ref.job_id.partition(".")[0])


def alive(pid: int) -> bool:
    return Process.current(pid) is not None


def trainer(traps: str = "") -> str:
    """Start a trainer as job/ does, in its own session, with a worker below it; record it in trainer.json."""
    return f"""
    setsid bash -c '{traps} sleep 60 & echo $! > '"$1"'/worker; while :; do sleep 0.1; done' &
    t=$!
    until [ -s "$1/worker" ]; do sleep 0.02; done
    start=$(sed 's/.*) //' /proc/$t/stat | cut -d' ' -f20)
    printf '{{"pid": %d, "starttime": %d, "boot_id": "%s", "pgid": %d}}' \\
        $t $start "$(cat /proc/sys/kernel/random/boot_id)" $t > "$1/.trainer" && mv "$1/.trainer" "$1/trainer.json"
    """


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path / "attempts")
    yield made
    for ref in made.refs:
        for record in (ref.attempt_dir / "local" / "job.json", ref.attempt_dir / "trainer.json"):
            process = Process.from_json(json.loads(record.read_text())) if record.exists() else None
            if process is not None and process.send(signal.SIGKILL) and record.name == "trainer.json":
                os.killpg(process.pid, signal.SIGKILL)


# --- one job ----------------------------------------------------------------------------------------------------


def test_a_job_runs_in_the_process_that_was_claimed(jobs):
    ref = jobs.submit('until [ -e "$1/go" ]; do sleep 0.02; done; record "$1" completed 0')
    eventually((ref.attempt_dir / "env").exists)  # written after `starts`
    truth = jobs.truth(ref)
    assert (truth.phase, truth.state) == ("running", "RUNNING")
    assert (ref.attempt_dir / "starts").read_text() == f"{pid_of(ref)} {ref.job_id}\n"
    (ref.attempt_dir / "go").touch()
    truth = jobs.ended(ref)
    assert (truth.state, truth.exit_code, truth.restarts) == ("COMPLETED", 0, 0)
    assert truth.end is not None
    assert truth.elapsed_s >= 0


@pytest.mark.parametrize(
    ("cause", "code", "state"),
    [("completed", 0, "COMPLETED"), ("failed", 3, "FAILED"), ("signal", 137, "FAILED"), ("fenced", 0, "COMPLETED"),
     ("superseded", 0, "CANCELLED"), ("image-missing", 1, "FAILED")],
)  # fmt: skip
def test_the_exit_record_says_how_it_ended(jobs, cause, code, state):
    truth = jobs.ended(jobs.submit(f'record "$1" {cause} {code}'))
    assert (truth.state, truth.exit_code) == (state, code)


def test_the_record_of_another_job_is_not_this_ones(jobs):
    ref = jobs.submit('ADE_JOB_ID=1.1; record "$1" completed 0')
    truth = jobs.ended(ref)
    assert (truth.state, truth.reason) == ("FAILED", "vanished")


def test_setup_lines_run_first_and_the_script_is_what_was_shown(jobs):
    ref = jobs.submit('record "$1" completed 0', setup=("export FROM_SETUP=yes", "echo in setup"))
    jobs.ended(ref)
    assert "FROM_SETUP=yes" in (ref.attempt_dir / "env").read_text()
    assert "in setup" in (ref.attempt_dir / "logs" / "local.out").read_text()
    job = Submission(ref.name, ref.attempt_dir, setup=("export FROM_SETUP=yes", "echo in setup"))
    shown = jobs.scheduler('record "$1" completed 0').script(job)
    assert (ref.attempt_dir / "local" / "job.sh").read_text() == shown


def test_no_secret_and_no_directive_reaches_a_job(jobs, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    ref = jobs.submit('record "$1" completed 0', directives={"partition": "gpu"})
    jobs.ended(ref)
    environ = (ref.attempt_dir / "env").read_text()
    assert CANARY not in environ
    assert "CUDA_VISIBLE_DEVICES=1" in environ


def test_files_are_the_users_alone(jobs):
    before = os.umask(0o022)
    try:
        ref = jobs.submit("touch $1/made; record $1 completed 0")
    finally:
        os.umask(before)
    jobs.ended(ref)
    paths = [*ref.attempt_dir.joinpath("local").rglob("*"), *ref.attempt_dir.joinpath("logs").rglob("*")]
    assert len(paths) >= 5
    assert not [path for path in [*paths, ref.attempt_dir / "made"] if path.stat().st_mode & 0o077]


# --- who submits, who asks --------------------------------------------------------------------------------------


SUBMIT = """
import signal, sys
from pathlib import Path
for number in (signal.SIGHUP, signal.SIGINT):  # nohup and a shell's & hand down ignored ones
    signal.signal(number, signal.SIG_DFL)
from ade_hpc.model import Submission
from ade_hpc.scheduler.local import LocalScheduler
scheduler = LocalScheduler(["/bin/bash", "-c", "while :; do sleep 0.1; done"])
print(scheduler.submit(Submission("outlives", Path(sys.argv[1]))), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_job_survives_what_ends_its_submitters_group(jobs, number):
    folder = jobs.attempt()
    submitter = subprocess.Popen(
        [sys.executable, "-c", SUBMIT, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    with submitter:
        ref = JobRef(submitter.stdout.readline().strip(), "outlives", folder)
        jobs.refs.append(ref)
        os.killpg(submitter.pid, number)
        submitter.wait(10)
    time.sleep(0.3)
    assert jobs.truth(ref).phase == "running"


def test_any_process_can_ask_and_cancel(jobs):
    ref = jobs.submit('trap "record $1 cancelled 143" TERM; touch $1/ready; while :; do sleep 0.05; done')
    eventually((ref.attempt_dir / "ready").exists)
    code = (
        "import sys; from pathlib import Path; from ade_hpc.model import JobRef;"
        "from ade_hpc.scheduler.local import LocalScheduler;"
        "ref = JobRef(sys.argv[1], sys.argv[2], Path(sys.argv[3])); asked = LocalScheduler([]);"
        "print(asked.observe([ref]).jobs[ref.job_id].queue.state, asked.find(ref.name, 0).jobs); asked.cancel(ref)"
    )
    argv = [sys.executable, "-c", code, ref.job_id, ref.name, str(ref.attempt_dir)]
    other = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    assert other.stdout.strip() == f"RUNNING ('{ref.job_id}',)"
    truth = jobs.ended(ref)
    assert (truth.state, truth.exit_code) == ("CANCELLED", 143)


def test_a_second_submission_of_an_attempt_is_the_first_ones_job(jobs):
    ref = jobs.submit("sleep 0.3; record $1 completed 0")
    again = jobs.scheduler("sleep 0.3; record $1 completed 0").submit(Submission(ref.name, ref.attempt_dir))
    assert again == ref.job_id
    jobs.ended(ref)
    assert jobs.scheduler("true").submit(Submission(ref.name, ref.attempt_dir)) == ref.job_id
    assert len((ref.attempt_dir / "starts").read_text().splitlines()) == 1


def test_submissions_at_the_same_time_make_one_job(jobs):
    folder, ids = jobs.attempt(), []
    submission = Submission("raced", folder)
    scheduler = jobs.scheduler("sleep 0.2; record $1 completed 0")
    threads = [threading.Thread(target=lambda: ids.append(scheduler.submit(submission))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(ids) == 4
    assert len(set(ids)) == 1
    jobs.refs.append(JobRef(ids[0], "raced", folder))
    jobs.ended(jobs.refs[0])
    assert len((folder / "starts").read_text().splitlines()) == 1


def test_an_attempt_that_has_a_job_of_another_name_is_refused(jobs):
    ref = jobs.submit("record $1 completed 0")
    with pytest.raises(SubmitRefused, match="has a job already"):
        jobs.scheduler("true").submit(Submission("another", ref.attempt_dir))


def test_find_tells_live_jobs_by_name(jobs):
    one, two = jobs.submit(IDLE), jobs.submit(IDLE)
    lookup = LocalScheduler([]).find(two.name, 0)
    assert (lookup.answered, lookup.jobs) == (True, (two.job_id,))
    os.kill(pid_of(two), signal.SIGKILL)
    eventually(lambda: LocalScheduler([]).find(two.name, 0).jobs == ())
    assert LocalScheduler([]).find(one.name, 0).jobs == (one.job_id,)


def test_a_runner_that_can_not_start_is_no_job(jobs, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SchedulerError, match=r"could not start: see .*local\.out"):
        jobs.submit("record $1 completed 0")
    assert not (jobs.attempt() / "local" / "job.json").exists()


def test_a_runner_that_does_not_claim_is_unclear_and_is_seen(jobs, monkeypatch, tmp_path):
    """As on a machine that hangs: a lookup is no answer as long as a runner may still claim."""
    slow = tmp_path / "slow"
    go = tmp_path / "go"
    slow.write_text(f"#!/bin/bash\n(for _ in {{1..600}}; do [ -e {go} ] && break; sleep 0.1; done) >/dev/null 2>&1 &\n")
    slow.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(slow))
    monkeypatch.setattr(local, "CLAIM_S", 0.1)
    with pytest.raises(SubmitUnclear, match="it may still do so"):
        jobs.submit("record $1 completed 0")
    name = json.loads((jobs.attempt() / "local" / "request.json").read_text())["name"]
    assert not LocalScheduler([]).find(name, 0).answered
    assert LocalScheduler([]).find("another", 0).answered
    go.touch()
    eventually(lambda: LocalScheduler([]).find(name, 0).answered)


# --- dependency -------------------------------------------------------------------------------------------------


def test_a_job_waits_for_the_one_before_it(jobs):
    first = jobs.submit('until [ -e "$1/go" ]; do sleep 0.02; done; date +%s.%N > "$1/gone"; record "$1" completed 0')
    second = jobs.submit('record "$1" completed 0', after=first)
    time.sleep(0.4)
    truth = jobs.truth(second)
    assert (truth.phase, truth.reason) == ("pending", "Dependency")
    assert not (second.attempt_dir / "starts").exists()
    (first.attempt_dir / "go").touch()
    assert jobs.ended(second).state == "COMPLETED"
    assert float((second.attempt_dir / "begun").read_text()) > float((first.attempt_dir / "gone").read_text())


def test_a_job_that_waits_can_be_cancelled_and_never_starts(jobs):
    first = jobs.submit(IDLE)
    second = jobs.submit('record "$1" completed 0', after=first)
    eventually((first.attempt_dir / "starts").exists)
    assert jobs.truth(second).phase == "pending"
    LocalScheduler([]).cancel(second)
    assert jobs.ended(second).state == "CANCELLED"
    assert not (second.attempt_dir / "starts").exists()
    assert jobs.truth(first).phase == "running"


def test_a_dependency_on_a_job_that_is_gone_is_met(jobs):
    first = jobs.submit('record "$1" completed 0')
    jobs.ended(first)
    assert jobs.ended(jobs.submit('record "$1" completed 0', after=first)).state == "COMPLETED"
    nobody = JobRef("1.1", "nobody", jobs.root / "nowhere")
    assert jobs.ended(jobs.submit('record "$1" completed 0', after=nobody)).state == "COMPLETED"


def test_a_job_does_not_start_before_the_old_ones_trainer_is_gone(jobs):
    first = jobs.submit(trainer() + "wait")
    eventually((first.attempt_dir / "trainer.json").exists)
    second = jobs.submit(
        f'cat /proc/$(cat {first.attempt_dir}/worker)/stat > "$1/seen"; record "$1" completed 0', after=first
    )
    os.kill(pid_of(first), signal.SIGKILL)
    assert jobs.ended(second).state == "COMPLETED"
    seen = (second.attempt_dir / "seen").read_text()
    assert seen == "" or ") Z " in seen


# --- cancel -----------------------------------------------------------------------------------------------------


def test_a_job_that_ignores_term_is_killed_after_the_grace(jobs, monkeypatch):
    """Who cancels does not wait for it; who looks after the grace sends KILL."""
    monkeypatch.setattr(local_job, "CANCEL_GRACE_S", 3600)
    ref = jobs.submit('trap "" TERM; touch $1/ready; while :; do sleep 0.05; done')
    eventually((ref.attempt_dir / "ready").exists)
    asked = time.time()
    LocalScheduler([]).cancel(ref)
    truth = jobs.truth(ref)
    assert (truth.phase, truth.state) == ("running", "COMPLETING")
    monkeypatch.setattr(local_job, "CANCEL_GRACE_S", 0.5)
    assert jobs.ended(ref).state == "CANCELLED"
    assert time.time() - asked >= 0.5


def test_cancel_twice_and_after_the_end_is_fine(jobs):
    ref = jobs.submit('trap "record $1 cancelled 143" TERM; touch $1/ready; while :; do sleep 0.05; done')
    eventually((ref.attempt_dir / "ready").exists)
    for _ in range(2):
        LocalScheduler([]).cancel(ref)
    assert jobs.ended(ref).state == "CANCELLED"
    LocalScheduler([]).cancel(ref)
    done = jobs.submit('record "$1" completed 0')
    jobs.ended(done)
    LocalScheduler([]).cancel(done)
    assert jobs.truth(done).state == "COMPLETED"
    LocalScheduler([]).cancel(JobRef("1.1", "nobody", jobs.root / "nowhere"))


def test_a_process_that_got_the_jobs_pid_is_left_alone(jobs):
    """The record names another start time: the pid is somebody else's now."""
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        now = Process.current(stranger.pid)
        old = Process(now.pid, now.starttime - 1, now.boot_id)
        folder = jobs.attempt()
        local_job.folder(folder).mkdir(mode=0o700)
        assert local_job.claim(folder, "old", old)
        (folder / "trainer.json").write_text(json.dumps(vars(old)))
        ref = JobRef(f"{old.pid}.{old.starttime}", "old", folder)
        LocalScheduler([]).cancel(ref)
        assert jobs.truth(ref).phase == "ended"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


# --- what goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("traps", ["", 'trap "" TERM;'])
def test_a_trainer_that_outlived_its_payload_is_ended_before_the_job_is(jobs, monkeypatch, traps):
    monkeypatch.setattr(local_job, "LEFTOVER_GRACE_S", 0.5)
    ref = jobs.submit(trainer(traps) + "wait")
    eventually((ref.attempt_dir / "trainer.json").exists)
    pids = [
        json.loads((ref.attempt_dir / "trainer.json").read_text())["pid"],
        int((ref.attempt_dir / "worker").read_text()),
    ]
    os.kill(pid_of(ref), signal.SIGKILL)
    eventually(lambda: not alive(pid_of(ref)))
    assert all(map(alive, pids))
    truth = jobs.truth(ref)
    assert (truth.phase, truth.state, truth.reason) == ("ended", "FAILED", "vanished")
    assert not any(map(alive, pids))


def test_workers_whose_leader_is_gone_are_ended_too(jobs, monkeypatch):
    monkeypatch.setattr(local_job, "LEFTOVER_GRACE_S", 0.5)
    ref = jobs.submit(trainer() + "wait")
    eventually((ref.attempt_dir / "trainer.json").exists)
    leader = json.loads((ref.attempt_dir / "trainer.json").read_text())["pid"]
    worker = int((ref.attempt_dir / "worker").read_text())
    os.kill(pid_of(ref), signal.SIGKILL)
    os.kill(leader, signal.SIGKILL)
    eventually(lambda: not alive(leader))
    assert alive(worker)
    eventually(lambda: jobs.truth(ref).phase == "ended")
    assert not alive(worker)


def test_after_the_end_nothing_is_signalled_any_more(jobs):
    """Its pids may be anybody's by then."""
    ref = jobs.submit('record "$1" completed 0')
    jobs.ended(ref)
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        (ref.attempt_dir / "trainer.json").write_text(json.dumps(vars(Process.current(stranger.pid))))
        assert jobs.truth(ref).state == "COMPLETED"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def forge(ref: JobRef, **changes) -> None:
    path = ref.attempt_dir / "local" / "job.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_job_of_before_the_reboot_is_a_lost_node(jobs):
    ref = jobs.submit(IDLE)
    pid = pid_of(ref)
    forge(ref, boot_id="0-0")
    assert jobs.truth(ref).state == "NODE_FAIL"
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_job_of_another_machine_is_unknown_here(jobs):
    ref = jobs.submit(IDLE)
    eventually((ref.attempt_dir / "starts").exists)
    before = json.loads((ref.attempt_dir / "local" / "job.json").read_text())["host"]
    forge(ref, host="elsewhere")
    assert jobs.truth(ref).phase == "unknown"
    with pytest.raises(SchedulerError, match="elsewhere"):
        LocalScheduler([]).cancel(ref)
    forge(ref, host=before)
    assert jobs.truth(ref).phase == "running"


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", '{"pid": "x"}', "\0" * 100, '{"pid": 9, "starttime": 1, "boot_id": "", "time": NaN}']
)
def test_a_claim_that_can_not_be_read_is_unknown(jobs, damage):
    ref = jobs.submit(IDLE)
    eventually((ref.attempt_dir / "starts").exists)
    path = ref.attempt_dir / "local" / "job.json"
    whole = path.read_text()
    path.write_text(damage)
    assert jobs.truth(ref).phase == "unknown"
    LocalScheduler([]).cancel(ref)
    path.write_text(whole)
    assert jobs.truth(ref).phase == "running"


def test_hours_of_a_job_that_vanished_count_until_its_last_heartbeat(jobs):
    ref = jobs.submit(IDLE)
    eventually((ref.attempt_dir / "starts").exists)
    (ref.attempt_dir / "heartbeat").mkdir()
    beat = ref.attempt_dir / "heartbeat" / "here.json"
    beat.write_text("{}")
    last = jobs.truth(ref).start + 90
    os.utime(beat, (last, last))
    os.kill(pid_of(ref), signal.SIGKILL)
    assert jobs.ended(ref).elapsed_s == pytest.approx(90)


def test_a_kernel_without_pidfd(jobs, monkeypatch):
    def missing(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    ref = jobs.submit('trap "record $1 cancelled 143" TERM; touch $1/ready; while :; do sleep 0.05; done')
    eventually((ref.attempt_dir / "ready").exists)
    LocalScheduler([]).cancel(ref)
    assert jobs.ended(ref).state == "CANCELLED"
