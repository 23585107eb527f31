# SPDX-License-Identifier: Apache-2.0
"""How each fault is made to happen to a run, and what only looks like one. Real things: signals, daemons, mounts.

Every injector takes a `Run` that trains (unless its row says that it submits it itself) and returns once the trouble
is there; `Run.strike` marks the moment from which seconds are counted. Nothing here needs pytest.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from ade_hpc.job.checkpoints import list_checkpoints
from ade_hpc.store.records import load_exits, save_heartbeat
from tests.faults.run import Run
from tests.support.lies import SACCT, SBATCH, liar
from tests.support.project import kill_at, wait_for

Injector = Callable[[Run], None]
HEALTHY = ("pending", "starting", "running")


def order(word: str) -> Injector:
    """The trainer does it itself: see ORDERS of tests/support/tiny_trainer.py."""
    return lambda run: run.order(word)


def nothing(run: Run) -> None:
    run.strike()


# --- signals ----------------------------------------------------------------------------------------------------


def kill_trainer(run: Run) -> None:
    _signal(run, run.trainer_pid, signal.SIGKILL)


def kill_apptainer(run: Run) -> None:
    """The program that the payload started, and that started the trainer."""
    assert run.child_of_payload != run.trainer_pid, "there is no container around the trainer"
    _signal(run, run.child_of_payload, signal.SIGKILL)


def kill_sidecar(run: Run) -> None:
    """The payload, which writes the heartbeat: nobody is left to say how the job ended."""
    _signal(run, run.payload, signal.SIGKILL)


def stop_trainer(run: Run) -> None:
    _signal(run, run.trainer_pid, signal.SIGSTOP)


def pause_sidecar(run: Run) -> None:
    """Longer than three beats: a node that is busy with something else."""
    payload = run.payload
    _signal(run, payload, signal.SIGSTOP)
    try:
        time.sleep(4)
        _looks_on(run, 1)
    finally:
        os.kill(payload, signal.SIGCONT)


def suspend_and_resume(run: Run) -> None:
    """As an administrator or gang scheduling does: everything of the job stands still, by Slurm's will."""
    run.strike()
    run.lab.run(["scontrol", "suspend", run.job])
    wait_for(lambda: run.lab.queued(run.job) == "SUSPENDED", 20, "it was not suspended")
    time.sleep(12)
    _looks_on(run, 2)
    run.lab.run(["scontrol", "resume", run.job])


def _signal(run: Run, pid: int, number: int) -> None:
    run.strike()
    os.kill(pid, number)


# --- daemons and nodes ------------------------------------------------------------------------------------------


def cut_power(run: Run) -> None:
    node = run.beat.node
    run.strike()
    run.lab.cut_power(node)
    run.repairs.append(partial(run.lab.start, f"slurmd.{node}"))


def cut_power_and_wait(run: Run) -> None:
    """Nobody looks before Slurm itself has noticed."""
    cut_power(run)
    wait_for(lambda: run.lab.queued(run.job) != "RUNNING", 60, "Slurm does not notice that the node is gone")


def kill_slurmd(run: Run) -> None:
    """The daemon alone: for Slurm the node is down, and the trainer lives on there."""
    node = run.beat.node
    run.strike()
    run.lab.kill(f"slurmd.{node}")
    run.repairs.append(partial(run.lab.start, f"slurmd.{node}"))


def restart_slurmd(run: Run) -> None:
    run.strike()
    with run.lab.without(f"slurmd.{run.beat.node}"):
        pass


def crash_without(daemon: str, run: Run) -> None:
    """The daemon goes; nothing is done, and that is said. The trainer crashes. The daemon comes back.

    Without slurmctld still nothing is done; without slurmdbd the queue and the exit record are proof enough.
    """
    _let_it_save()
    with run.lab.without(daemon):
        _blind(run)
        run.order("exit")
        wait_for(lambda: load_exits(run.attempt)[-1:], 20, "it did not crash")
        if daemon == "slurmctld":
            _blind(run)
        else:
            assert run.tick().code == 3, "a tick without accounting must say so"


def restart(daemon: str, run: Run) -> None:
    _let_it_save()
    run.strike()
    with run.lab.without(daemon):
        pass


def lose_job(run: Run) -> None:
    """slurmctld is killed before it has saved the job: it comes back without it, and has the orphan killed.

    The next job that is submitted gets the same id.
    """
    _let_it_save()
    state = run.lab.root / "state" / "ctld"
    saved = {file: file.read_bytes() for file in state.glob("job_state*")}
    run.submit()
    run.strike()
    with run.lab.without("slurmctld"):
        for file in state.glob("job_state*"):
            file.unlink()
        for file, content in saved.items():
            file.write_bytes(content)


def restart_while_it_waits(run: Run, how: tuple[str, ...] = ()) -> None:
    """With ``-c`` slurmctld starts without its state, and accounting calls the job CANCELLED, by nobody."""
    run.submit(until_step=0)
    _let_it_save()
    run.strike()
    with run.lab.without("slurmctld", *how):
        pass


def _let_it_save() -> None:
    """slurmctld puts on disk what is new every five seconds."""
    time.sleep(6)


# --- sources that lie -------------------------------------------------------------------------------------------


@contextmanager
def lying_sacct(run: Run, lie: str) -> Iterator[None]:
    liars = liar(run.project.path.parent / "bin", "sacct", SACCT, os.environ["PATH"])
    before, os.environ["PATH"] = os.environ["PATH"], liars.path
    liars.plan.write_text(lie)
    try:
        yield
    finally:
        os.environ["PATH"] = before


def crash_behind(lie: str, run: Run) -> None:
    """Accounting lies, and nothing is done on its word; then the trainer crashes; then accounting is itself again."""
    with lying_sacct(run, lie):
        _looks_on(run, 2)
        run.order("exit")
        wait_for(lambda: load_exits(run.attempt)[-1:], 20, "it did not crash")
        run.tick()


def slow_sacct(run: Run) -> None:
    run.strike()
    with lying_sacct(run, "late"):
        _looks_on(run, 2)


def accounting_off(run: Run) -> None:
    """From now on this cluster keeps no accounting, as slurm.conf tells the clients; then the trainer crashes."""
    _without_accounting(run)
    _looks_on(run, 2)
    run.order("exit")


def accounting_off_and_well(run: Run) -> None:
    run.strike()
    _without_accounting(run)


def _without_accounting(run: Run) -> None:
    folder = run.project.path.parent / "etc"
    shutil.copytree(Path(os.environ["SLURM_CONF"]).parent, folder)
    lines = (folder / "slurm.conf").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("AccountingStor")]
    (folder / "slurm.conf").write_text("\n".join([*kept, "AccountingStorageType=accounting_storage/none", ""]))
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")


def forget_job(run: Run) -> None:
    """The trainer crashes, and before anybody looks the queue and accounting have forgotten the job."""
    run.order("exit")
    _purge(run)


def _purge(run: Run) -> None:
    wait_for(lambda: not run.lab.queued(run.job), 100, "the queue does not forget it")
    run.lab.sql(f"delete from lab_job_table where id_job={int(run.job)}")  # noqa: S608 - an int


def end_and_forget(run: Run) -> None:
    run.order("finish")
    _purge(run)


# --- by hand ----------------------------------------------------------------------------------------------------


def scontrol(*words: str) -> Injector:
    def inject(run: Run) -> None:
        run.strike()
        run.lab.run(["scontrol", *words, run.job])

    return inject


def scancel(run: Run) -> None:
    run.strike()
    run.lab.run(["scancel", run.job])


def scancel_by_admin(run: Run) -> None:
    """A lab has one user, so the name of who did it is put into accounting afterwards."""
    scancel(run)
    run.lab.wait_state(run.job, ["CANCELLED"])
    run.lab.sql(f"update lab_job_table set kill_requid=4242 where id_job={int(run.job)}")  # noqa: S608 - an int


def hold(word: str) -> Injector:
    """Before it starts. ``uhold`` is a user's own hold, ``hold`` by root an administrator's."""

    def inject(run: Run) -> None:
        run.submit(until_step=0)
        run.strike()
        run.lab.run(["scontrol", word, run.job])

    return inject


def harmless_signal(run: Run) -> None:
    run.strike()
    run.lab.run(["scancel", "--signal=CONT", run.job])


def submit_only(run: Run) -> None:
    run.strike()
    run.submit(until_step=0)


def lose_constraint(run: Run) -> None:
    """A feature that the job asks for is taken from all nodes while it waits."""
    run.lab.run(["scontrol", "update", "NodeName=n1", "AvailableFeatures=rare", "ActiveFeatures=rare"])
    run.submit(until_step=0)
    run.strike()
    run.lab.run(["scontrol", "update", "NodeName=n1", "AvailableFeatures=", "ActiveFeatures="])
    run.lab.run(["scontrol", "update", f"JobId={run.job}", "StartTime=now"])


def revive_predecessor(run: Run) -> None:
    """The job of an attempt that has been replaced is queued again by hand."""
    old = run.job
    run.order("exit")
    wait_for(lambda: run.tick().done, 30, "it was not replaced")
    run.wait_until_it_trains(25)
    run.lab.run(["scontrol", "requeue", old])
    wait_for(lambda: run.lab.queued(old) == "COMPLETED", 60, "the old job did not end at the fence")


# --- time and preemption ----------------------------------------------------------------------------------------


def preempt(run: Run) -> None:
    """A job of more weight takes the whole node, for a few seconds."""
    run.strike()
    other = run.lab.sbatch("sleep 1", "-w", run.beat.node, "-c", "8", "-p", "main")
    wait_for(lambda: run.lab.queued(other) in ("RUNNING", "COMPLETED"), 60, "nothing was preempted")


def preempt_elsewhere(run: Run) -> None:
    run.strike()
    run.lab.sbatch("sleep 1", "-w", "n2", "-c", "1", "-p", "main")


def partition(name: str, options: str) -> Injector:
    """One whose jobs `main` preempts as the options say."""
    words = f"PartitionName={name} Nodes=n3 PriorityTier=1 MaxTime=1:00:00 State=UP {options}".split()
    return lambda run: run.lab.run(["scontrol", "create", *words])


def shorten_time_limit(run: Run) -> None:
    """As an administrator may: the job reaches its limit within the minute. A later life has time again."""
    run.strike()
    run.lab.run(["scontrol", "update", f"JobId={run.job}", "TimeLimit=1"])
    wait_for(lambda: run.lab.queued(run.job) != "RUNNING", 110, "it did not reach its time limit")
    run.lab.run(["scontrol", "update", f"JobId={run.job}", "TimeLimit=10"], check=False)


def longer_time_limit(run: Run) -> None:
    run.strike()
    run.lab.run(["scontrol", "update", f"JobId={run.job}", "TimeLimit=20"])


# --- files ------------------------------------------------------------------------------------------------------


@contextmanager
def heartbeats_on(run: Run, options: str) -> Iterator[Path]:
    """The heartbeats of a job that is about to start lie on a filesystem of their own."""
    run.submit(until_step=0)
    folder = run.attempt.heartbeats
    run.lab.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)])
    try:
        run.lab.run(["scontrol", "release", run.job])
        run.wait_until_it_trains(25)
        yield folder
    finally:
        run.lab.run(["umount", "--lazy", str(folder)])


def heartbeat_on_full_disk(run: Run) -> None:
    with heartbeats_on(run, "size=32k,mode=700") as folder:
        run.strike()
        with suppress(OSError), (folder / "filler").open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        _stands_still(run)
        _looks_on(run, 2)


def heartbeat_on_read_only_disk(run: Run) -> None:
    with heartbeats_on(run, "size=1m,mode=700") as folder:
        run.strike()
        run.lab.run(["mount", "-o", "remount,ro", str(folder)])
        _stands_still(run)
        _looks_on(run, 2)


def heartbeat_on_nearly_full_disk(run: Run) -> None:
    with heartbeats_on(run, "size=64k,mode=700") as folder:
        run.strike()
        (folder / "filler").write_bytes(b"x" * 32_768)
        _looks_on(run, 2)


def _stands_still(run: Run) -> None:
    """Longer than the three beats after which a heartbeat is old."""
    counter = run.beat.counter
    time.sleep(4)
    assert run.beat.counter == counter, "the heartbeat could be written"


def truncate_heartbeat(run: Run) -> None:
    path = run.attempt.heartbeats / f"{run.beat.node}.json"
    run.strike()
    os.truncate(path, path.stat().st_size // 2)
    _looks_on(run, 2)


def foreign_heartbeat(run: Run) -> None:
    """Of a job that stood still, on a node of its own, in this attempt's folder."""
    beat = replace(run.beat, node="elsewhere", job_id="1", attempt=77, trainer_state="T", counter=5)
    run.strike()
    save_heartbeat(run.attempt, replace(beat, restart=beat.restart + 1, written_at=time.time() + 60))
    _looks_on(run, 2)


def truncate_checkpoints(run: Run) -> None:
    """It crashes, and of its newest checkpoints none is whole: empty, one byte, half, all but one byte."""
    run.order("exit")
    wait_for(lambda: load_exits(run.attempt)[-1:], 20, "it did not crash")
    saved = sorted(list_checkpoints(run.attempt.checkpoints, "step-{step}.pt"), key=lambda one: one.step or 0)
    for checkpoint, share in zip(reversed(saved), (0, 0.01, 0.5, 0.99), strict=False):
        size = checkpoint.path.stat().st_size
        os.truncate(checkpoint.path, min(int(size * share), size - 1))


def partial_checkpoint(run: Run) -> None:
    """A file that its writer has not yet renamed."""
    run.strike()
    (run.attempt.checkpoints / "step-999999.partial").write_bytes(b"half of it")


def crash_after_looks(run: Run) -> None:
    _looks_on(run, 2)
    run.order("exit")


def look_at_status(run: Run) -> None:
    run.strike()
    for words in (["status"], ["history", run.project.folder.name]):
        shown = run.command(*words)
        assert not shown.wait(60), shown.communicate()


def lose_registry(run: Run) -> None:
    _lose(run, run.project.registry)


def lose_run_folder(run: Run) -> None:
    _lose(run, run.project.folder.path)


def _lose(run: Run, path: Path) -> None:
    """It can't be seen for one tick, which must not look like health; then the trainer crashes."""
    gone = path.with_name(f"{path.name}.gone")
    path.rename(gone)
    try:
        ended = run.command("tick", "--no-llm")
        said = ended.communicate(timeout=60)[0]
        assert ended.returncode == 3, f"ade-hpc tick ended with {ended.returncode}: {said}"
    finally:
        gone.rename(path)
    run.order("exit")


# --- ticks ------------------------------------------------------------------------------------------------------


def two_ticks_at_once(run: Run) -> None:
    """A crash is seen by two hosts at the same moment."""
    run.order("exit")
    wait_for(lambda: run.lab.states(run.job) == ["FAILED"], 30, "Slurm does not say that it failed")
    _two_ticks(run)


def two_ticks_when_well(run: Run) -> None:
    run.strike()
    _two_ticks(run)


def _two_ticks(run: Run) -> None:
    hosts = [("unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh") for host in ("left", "right")]
    ticks = [run.command("tick", run.project.folder.name, "--no-llm", prefix=host) for host in hosts]
    said = [tick.communicate(timeout=60)[0] for tick in ticks]
    assert {tick.returncode for tick in ticks} <= {0, 3}, said


def reboot_in_a_tick(run: Run) -> None:
    """The login host goes down right after `sbatch`; when it is up, another process has the number of the tick."""
    run.order("exit")
    kill_at(run.project, "tick", "sbatch:after")
    lease = run.project.folder.lease
    held = json.loads(lease.read_text())
    lease.write_text(json.dumps({**held, "pid": os.getppid(), "boot": "of another time"}))


def late_sbatch(run: Run) -> None:
    """It submits 30 s after it was asked, when its client is long dead and the retry trains.

    How that job ends at the fence when its turn comes is shown in tests/cluster/test_kills.py.
    """
    run.order("exit")
    lying = liar(run.project.path.parent / "bin", "sbatch", SBATCH, os.environ["PATH"])
    os.environ["PATH"] = lying.path
    lying.plan.write_text("submit-late")
    wait_for(lambda: run.tick().attempt == 2, 100, "it was not submitted again")
    wait_for(lambda: len(run.lab.named(run.name)) == 2, 60, "the late job never came")


# --- what a tick must not do meanwhile --------------------------------------------------------------------------


def _looks_on(run: Run, ticks: int) -> None:
    """While this lasts, nothing is done and nobody is asked."""
    attempts = len(run.project.folder.attempts())
    for _ in range(ticks):
        report = run.tick()
        assert report.decision is None, f"{report.health}: {report.decision}"
        assert report.health.verdict in (*HEALTHY, "unknown"), report.health
        time.sleep(0.5)
    assert len(run.project.folder.attempts()) == attempts, "a new attempt was made"


def _blind(run: Run) -> None:
    """A tick that can't see says so (exit code 3), and does nothing."""
    attempts = len(run.project.folder.attempts())
    report = run.tick()
    assert report.code == 3, f"a blind tick ended with {report.code}: {report.health}"
    assert len(run.project.folder.attempts()) == attempts, "a new attempt was made by a blind tick"
