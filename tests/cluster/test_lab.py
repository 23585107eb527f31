# SPDX-License-Identifier: Apache-2.0
"""scripts/slurm-lab gives a real Slurm, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot_run
from tests.support.lab import SLURM_LAB, Lab, lab_in, slurm_lab

# The nodes of all labs that have cgroups share one folder of the machine: one worker runs what starts jobs there
pytestmark = pytest.mark.xdist_group("cgroups")
AS_ROOT = os.geteuid() == 0
# Into a file: srun stops passing output on when its job is cancelled. The grandchild ends by itself: once orphaned,
# it is nobody's on a node without cgroups, and would hold its job in COMPLETING.
SIGNAL_TREE = """
export SAID=$PWD/$SLURM_JOB_ID.said
srun bash -c '
    trap "echo child >> $SAID" TERM
    (trap "echo grandchild >> $SAID" TERM; echo ready >> $SAID; for _ in {1..20}; do sleep 0.2; done) &
    wait; sleep 1'
"""


def processes_of(root: Path) -> list[str]:
    """The living processes that know this folder by command line or environment, as `pid name`."""
    found = []
    for proc in Path("/proc").iterdir():
        if not proc.name.isdigit():
            continue
        try:
            known = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
            comm = (proc / "comm").read_text().strip()
        except OSError:
            continue
        if os.fsencode(root) in known and int(proc.name) != os.getpid():
            found.append(f"{proc.name} {comm}")
    return found


def signalled(lab: Lab, partition: str) -> set[str]:
    """Who of a step's child and grandchild hears the TERM when their job is cancelled."""
    job = lab.sbatch(SIGNAL_TREE, "-p", partition)
    said = Path(lab.env["HOME"]) / f"{job}.said"
    wait_until(said.exists)
    lab.run(["scancel", job])
    wait_until(lambda: lab.run(["squeue", "-h", "-j", job], check=False).stdout == "")
    return set(said.read_text().split()) - {"ready"}


def wait_until(is_so: Callable[[], bool], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {timeout} s"
        time.sleep(0.1)


@pytest.fixture
def n4_contains(lab: Lab) -> None:
    """Node n4 of the lab keeps its jobs in cgroups."""
    if not json.loads((lab.root / "lab.json").read_text())["cgroup"]:
        cannot_run("n4 has no cgroups: they need root and a memory controller; to enable: sudo scripts/test")


@pytest.fixture
def second() -> Iterator[Lab]:
    """Another lab, beside the session's. Its path is short: a socket of each step lies in it (108 bytes, unix(7))."""
    folder = Path(tempfile.mkdtemp(prefix="ade-lab-"))
    root = folder / "second"
    try:
        assert slurm_lab("up", root).returncode == 0
        yield lab_in(root)
    finally:
        slurm_lab("down", root)
        shutil.rmtree(folder)


# --- it is a Slurm --------------------------------------------------------------------------------------------------


def test_a_job_runs_and_accounting_says_completed(lab: Lab) -> None:
    """With the fake GPUs that it asked for."""
    job = lab.sbatch("echo devices $CUDA_VISIBLE_DEVICES", "--gpus=2")
    assert lab.wait_state(job, {"COMPLETED", "FAILED"}) == "COMPLETED"
    assert lab.output(job) == "devices 0,1\n"


def test_a_failed_job_is_failed(lab: Lab) -> None:
    """The exit code of the script is the job's."""
    job = lab.sbatch("exit 3")
    assert lab.wait_state(job, {"COMPLETED", "FAILED"}) == "FAILED"
    assert lab.run(["sacct", "-X", "-n", "-P", "-j", job, "-o", "ExitCode"]).stdout == "3:0\n"


@pytest.fixture
def no_grace(lab: Lab) -> Iterator[None]:
    """Preempted jobs of `spot` give way at once."""
    lab.run(["scontrol", "update", "PartitionName=spot", "GraceTime=0"])
    yield
    lab.run(["scontrol", "update", "PartitionName=spot", "GraceTime=15"])


@pytest.mark.usefixtures("no_grace")
def test_preemption_requeues(lab: Lab) -> None:
    """A spot job gives way to a main job, and runs again afterwards under the same id: two lives, one job."""
    pinned = ("-w", "n1", "-c", "8", "--mem=800")
    spot = lab.sbatch('[ "$SLURM_RESTART_COUNT" ] || sleep 60', "-p", "spot", "--requeue", *pinned)
    lab.wait_state(spot, {"RUNNING"})
    main = lab.sbatch("sleep 1", *pinned)
    assert lab.wait_state(main, {"COMPLETED"}) == "COMPLETED"
    assert lab.wait_state(spot, {"COMPLETED"}) == "COMPLETED"
    assert lab.states(spot) == ["PREEMPTED", "COMPLETED"]


def test_linuxproc_signals_the_whole_tree(lab: Lab) -> None:
    """Nodes n1 to n3 signal every descendant of a step, as no production cluster does."""
    assert signalled(lab, "main") == {"child", "grandchild"}


@pytest.mark.usefixtures("n4_contains")
def test_n4_signals_only_the_task(lab: Lab) -> None:
    """As production does: a grandchild hears nothing before the KILL."""
    assert signalled(lab, "side") == {"child"}


@pytest.mark.usefixtures("n4_contains")
def test_n4_kills_for_memory(lab: Lab) -> None:
    """A job over its --mem is OUT_OF_MEMORY there."""
    job = lab.sbatch("exec /usr/bin/python3 -c 'bytearray(400 << 20)'", "-p", "side")
    assert lab.wait_state(job, {"OUT_OF_MEMORY", "COMPLETED", "FAILED"}) == "OUT_OF_MEMORY"


# --- up, down -------------------------------------------------------------------------------------------------------


def test_two_labs_live_side_by_side_and_down_leaves_nothing(lab: Lab, second: Lab) -> None:
    """Neither sees the other's jobs; ending one, with a job that tries to survive, leaves the other alone."""
    job = second.sbatch("(setsid sleep 300 &) ; sleep 300", "-p", "side")
    second.wait_state(job, {"RUNNING"})
    assert lab.states(job) == []
    assert processes_of(second.root)
    assert slurm_lab("down", second.root).returncode == 0
    assert processes_of(second.root) == []
    assert not second.root.exists()
    assert list(Path("/sys/fs/cgroup").glob(f"*/slurm_n4/uid_*/job_{job}")) == []
    assert slurm_lab("status", lab.root).returncode == 0


def test_up_is_idempotent(lab: Lab) -> None:
    """A second `up` says so, and the daemons are the ones that were there."""
    before = {path.name: path.read_text() for path in (lab.root / "run").glob("*.pid")}
    again = slurm_lab("up", lab.root)
    assert again.returncode == 0
    assert "already up" in again.stdout
    assert {path.name: path.read_text() for path in (lab.root / "run").glob("*.pid")} == before


def test_up_mends_a_lab_that_lost_a_daemon(second: Lab) -> None:
    """`status` says that something is gone, and `up` makes the lab anew."""
    pid = int((second.root / "run/slurmctld.pid").read_text())
    os.kill(pid, 9)
    broken = slurm_lab("status", second.root)
    assert broken.returncode == 1
    assert "slurmctld    not running" in broken.stdout
    assert slurm_lab("up", second.root).returncode == 0
    assert slurm_lab("status", second.root).returncode == 0


def test_a_daemon_that_fails_is_explained(tmp_path: Path) -> None:
    """`up` ends with the failed daemon's name and log, and nothing of the lab stays alive."""
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/slurmctld"
    fake.write_text("#!/bin/sh\necho no controller today >&2\nexit 7\n")
    fake.chmod(0o755)
    root = tmp_path / "lab"
    up = slurm_lab("up", root, env={**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"})
    assert up.returncode == 1
    assert "slurmctld ended with 7: no controller today" in up.stderr
    assert str(root / "log/slurmctld.log") in up.stderr
    assert processes_of(root) == []
    assert slurm_lab("down", root).returncode == 0


def test_an_up_that_was_killed_is_cleaned_up(tmp_path: Path) -> None:
    """Wherever the KILL came, also where a daemon had no pid file yet, `down` leaves nothing."""
    root = tmp_path / "lab"
    for log in ("munged.log", "mysqld.log", "slurmdbd.log", "slurmctld.log"):
        up = subprocess.Popen([SLURM_LAB, "up", "--dir", root], stdout=subprocess.DEVNULL)
        wait_until((root / "log" / log).exists)
        up.kill()
        up.wait(10)
        assert slurm_lab("down", root).returncode == 0
        assert processes_of(root) == []


def test_env_is_for_eval(lab: Lab) -> None:
    """What `env` prints makes a shell a user of the lab."""
    shell = f'eval "$({SLURM_LAB} env --dir {lab.root})" && echo "$SLURM_CONF"'
    assert lab.run(["env", "-u", "SLURM_CONF", "bash", "-c", shell]).stdout == f"{lab.root}/etc/slurm.conf\n"


# --- whose folder it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_folder_that_is_no_lab_is_refused(tmp_path: Path, command: str) -> None:
    """`down` removes the lab's folder, so neither command takes one with other things in it."""
    root = tmp_path / "thesis"
    root.mkdir(mode=0o700)
    (root / "chapter1.tex").write_text("precious")
    refused = slurm_lab(command, root)
    assert refused.returncode == 1
    assert "is no lab" in refused.stderr
    assert (root / "chapter1.tex").read_text() == "precious"


def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    """The lab's keys lie in there."""
    root = tmp_path / "open"
    root.mkdir()
    root.chmod(0o755)
    refused = slurm_lab("up", root)
    assert refused.returncode == 1
    assert "open to other users" in refused.stderr


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    """In /tmp anyone may plant one."""
    (tmp_path / "theirs").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    refused = slurm_lab("up", tmp_path / "link")
    assert refused.returncode == 1
    assert "not a folder of yours" in refused.stderr


def test_missing_programs_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    """`check` never installs anything."""
    for tool in ("python3", "env"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    check = slurm_lab("check", tmp_path / "lab", env={"PATH": str(tmp_path)})
    assert check.returncode == 1
    assert "sbatch" in check.stderr
    assert "apt-get install" in check.stderr
    assert "slurm-client" in check.stderr


# --- without root ---------------------------------------------------------------------------------------------------


@pytest.fixture
def as_nobody(tmp_path: Path) -> Iterator[tuple[Path, list[str], dict[str, str]]]:
    """For runs as root: a folder of `nobody`'s with a copy of the script, the prefix of commands, the environment."""
    if not AS_ROOT:
        pytest.skip("the session's own lab is the one without root")
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    try:
        shutil.copytree(SLURM_LAB.parent, folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "nobody", "nogroup")
        prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        yield folder, prefix, {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    finally:
        shutil.rmtree(folder)


def test_an_ordinary_user_needs_no_root(as_nobody: tuple[Path, list[str], dict[str, str]]) -> None:
    """The lab comes up for an ordinary user, runs a job with GPUs, accounts for it and goes."""
    folder, prefix, env = as_nobody
    script = f"""
        cd {folder} && scripts/slurm-lab up --dir lab || exit 1
        eval "$(scripts/slurm-lab env --dir lab)"
        sbatch -W -p side --mem=100 --gpus=1 -o out --wrap 'id -un; echo $CUDA_VISIBLE_DEVICES'
        cat out
        for i in $(seq 50); do sacct -X -n -o State | grep COMPLETED && break; sleep 0.2; done
        scripts/slurm-lab down --dir lab
    """
    done = subprocess.run(
        [*prefix, "bash", "-c", script], env=env, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "n4: like the others" in done.stdout
    assert "nobody\n0\n" in done.stdout
    assert "COMPLETED" in done.stdout
    assert processes_of(folder) == []
