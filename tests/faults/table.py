# SPDX-License-Identifier: Apache-2.0
"""The fault matrix: every way in which a job, a node, a daemon or a file may fail, and what must come of it.

tests/faults/test_matrix.py runs the table in CI, `scripts/bench faults` measures it for docs/faults.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from tests.faults import injectors as do
from tests.faults.injectors import Injector
from tests.faults.run import USUAL, Setup
from tests.support.project import TRAINER

Does = Literal["restart", "change", "requeue", "ask", "nothing"]
Ward = Literal["side by side", "alone", "cgroups"]


@dataclass(frozen=True, eq=False)
class Twin:
    """What looks like the fault and is none: nothing may be done about it, and nobody asked.

    verdict: what it must be called in the end. inject submits by itself where ``submits``.
    """

    name: str
    inject: Injector
    verdict: str = "running"
    setup: Setup = USUAL
    ward: Ward = "side by side"
    holds: str = ""
    submits: bool = False

    @property
    def steady(self) -> Setup:
        """Its setup with a stall floor that a busy machine does not reach, and that covers a stop which the sidecar
        would not notice as one of its own (below 10 s)."""
        return replace(self.setup, experiment={"stall_floor": "12s", **self.setup.experiment})


@dataclass(frozen=True, eq=False)
class Fault:
    """One row.

    does: what must be done, where restart is a new attempt for an answer, change one by a rule, requeue a new start
    of the same job by Slurm, and nothing nothing. cause, domain: what it must be called, empty where it is no trouble;
    finding: what the curves must show instead. ward: which lab: `alone` has no other jobs beside it. holds: what only
    one row of a lab may use at a time. fast: the fast path answers it. lost: steps that may be lost at most.
    """

    name: str
    inject: Injector
    does: Does
    twin: Twin
    cause: str = ""
    domain: str = ""
    finding: str = ""
    setup: Setup = USUAL
    ward: Ward = "side by side"
    holds: str = ""
    submits: bool = False
    fast: bool = False
    lost: int = 12
    prepare: Injector = do.nothing

    @property
    def lives_on(self) -> bool:
        """Does the job hold its GPUs until somebody looks?"""
        return bool(self.finding) or self.cause in ("stalled", "lost")


def _setup(**experiment: object) -> Setup:
    return Setup(experiment=experiment)


def _clock(seconds: int) -> Setup:
    folder = Path(__file__).with_name("clock")
    return _setup(setup=[f"export PYTHONPATH={folder} CLOCK_OFF_S={seconds}"])


IMAGE = Setup(in_image=True)
HELD = _setup(sbatch={"hold": True})
LATER = _setup(sbatch={"begin": "now+1hour"})
SLOW_HEARTBEAT = Setup(site={"heartbeat_interval": "30s"})
CONTAINED = _setup(partition="side", mem="400M")
ONCE = {"no-requeue": True}
SPOT = {"partition": "spot", "sbatch": {"nodelist": "n3"}}

PLAIN = Twin("is left alone", do.nothing)
WORKER_EXITS = Twin("a worker exits with 3", do.order("exit in a child"))
WORKER_CRASHES = Twin("a worker segfaults", do.order("crash in a child"))
WORKER_RAISES = Twin("a worker's traceback", do.order("fail in a child"))
WORKER_KILLED = Twin("a worker is killed", do.order("kill in a child"), setup=IMAGE)
SLOW_IMPORT = Twin(
    "imports for 5 s", do.submit_only, submits=True,
    setup=Setup(trainer=TRAINER.read_text().replace("def main()", "time.sleep(5)\n\n\ndef main()")),
)  # fmt: skip
SLOW_SIDECAR = Twin("sidecar stands still for 6 s", do.pause_sidecar)
SUSPENDED = Twin("suspended by Slurm, resumed", do.suspend_and_resume)
PAUSES = Twin("evaluates for 3 s", do.order("pause"))
OTHER_NAN = Twin("NaN in another tag", do.order("nan in another tag"))
HUNGRY = Twin("uses most of its memory", do.order("eat much"), setup=CONTAINED, ward="cgroups")
SLURMD_RESTARTED = Twin("slurmd restarted", do.restart_slurmd, ward="alone")
CTLD_RESTARTED = Twin("slurmctld restarted", partial(do.restart, "slurmctld"), ward="alone")
CTLD_RESTARTED_WAITS = Twin("slurmctld restarted while it waits", do.restart_while_it_waits, "pending", setup=LATER,
                            submits=True, ward="alone")  # fmt: skip
DBD_RESTARTED = Twin("slurmdbd restarted", partial(do.restart, "slurmdbd"), ward="alone")
OTHER_NODE = Twin("another node is taken", do.preempt_elsewhere, setup=_setup(**SPOT), holds="n3")
LONGER = Twin("time limit raised", do.longer_time_limit)
SIGNALLED = Twin("scancel --signal=CONT", do.harmless_signal)
WAITS = Twin("waits for its begin time", do.submit_only, "pending", setup=LATER, submits=True)
SACCT_LATE = Twin("sacct takes a second", do.slow_sacct)
NO_ACCOUNTING = Twin("accounting off, all well", do.accounting_off_and_well)
NEARLY_FULL = Twin("heartbeat on a nearly full disk", do.heartbeat_on_nearly_full_disk, setup=HELD, submits=True)
CLOCK_NEARLY_RIGHT = Twin("clock 2 s off", do.nothing, setup=_clock(2))
PARTIAL = Twin("a checkpoint being written", do.partial_checkpoint)
TWO_TICKS = Twin("two ticks at once, all well", do.two_ticks_when_well)
FORGOTTEN = Twin("ended well, then purged", do.end_and_forget, "completed")
WATCHED = Twin("ade-hpc status meanwhile", do.look_at_status)

CRASH = {"does": "restart", "cause": "failed", "domain": "workload"}
SIGNAL = {"does": "restart", "cause": "signal", "domain": "unknown"}

FAULTS = (
    # the trainer
    Fault("exit code 3", do.order("exit"), twin=WORKER_EXITS, fast=True, **CRASH),
    Fault("segmentation fault", do.order("crash"), twin=WORKER_CRASHES, fast=True, **SIGNAL),
    Fault("Python exception", do.order("fail"), twin=WORKER_RAISES, fast=True, **CRASH),
    Fault("import error at start", do.submit_only, "ask", SLOW_IMPORT, "failed", "workload", submits=True,
          setup=Setup(trainer="import a_module_that_nobody_has\n")),
    Fault("SIGKILL of the trainer", do.kill_trainer, twin=WORKER_KILLED, setup=IMAGE, fast=True, **SIGNAL),
    Fault("SIGKILL of apptainer", do.kill_apptainer, twin=WORKER_KILLED, setup=IMAGE, fast=True, **SIGNAL),
    Fault("SIGKILL of the sidecar", do.kill_sidecar, twin=SLOW_SIDECAR, setup=CONTAINED, ward="cgroups", **CRASH),
    Fault("SIGSTOP of the trainer", do.stop_trainer, "restart", SUSPENDED, "stalled", "unknown", fast=True),
    Fault("deadlock in a data loader", do.order("deadlock"), "restart", PAUSES, "stalled", "unknown", fast=True),
    Fault("NaN loss", do.order("nan"), "change", OTHER_NAN, finding="nan", fast=True, lost=400),
    Fault("host out of memory", do.order("eat too much"), "change", HUNGRY, "out-of-memory", "workload",
          setup=CONTAINED, ward="cgroups"),
    # the node
    Fault("node loses power", do.cut_power, "restart", SLURMD_RESTARTED, "lost", "infrastructure", ward="alone"),
    Fault("node loses power, Slurm gives the job up", do.cut_power_and_wait, "restart", SLURMD_RESTARTED, "node-fail",
          "infrastructure", setup=_setup(sbatch=ONCE), ward="alone"),
    Fault("node loses power, Slurm queues the job again", do.cut_power_and_wait, "requeue", SLURMD_RESTARTED,
          ward="alone"),
    Fault("slurmd killed, trainer lives", do.kill_slurmd, "restart", SLURMD_RESTARTED, "node-fail", "infrastructure",
          setup=_setup(sbatch=ONCE), ward="alone", lost=10**6),
    Fault("slurmd killed, requeued beside a living trainer", do.kill_slurmd, "requeue", SLURMD_RESTARTED,
          ward="alone", lost=10**6),
    Fault("clock an hour ahead", do.crash_after_looks, twin=CLOCK_NEARLY_RIGHT, setup=_clock(3600), **CRASH),
    Fault("clock an hour behind", do.crash_after_looks, twin=CLOCK_NEARLY_RIGHT, setup=_clock(-3600), **CRASH),
    # Slurm's own decisions
    Fault("preempted, requeued", do.preempt, "requeue", OTHER_NODE, setup=_setup(**SPOT), holds="n3"),
    Fault("preempted, cancelled, no grace", do.preempt, "restart", OTHER_NODE, "preempted", "infrastructure",
          setup=_setup(**{**SPOT, "partition": "spotkill"}), holds="n3"),
    Fault("preempted, requeued, no grace", do.preempt, "requeue", OTHER_NODE, holds="n3",
          setup=_setup(**{**SPOT, "partition": "spotnow"}),
          prepare=do.partition("spotnow", "PreemptMode=REQUEUE GraceTime=0")),
    Fault("time limit, requeued", do.shorten_time_limit, "requeue", LONGER),
    Fault("time limit with a checkpoint", do.shorten_time_limit, "restart", LONGER, "time-limit", "workload",
          setup=_setup(sbatch=ONCE)),
    Fault("time limit without a checkpoint", do.shorten_time_limit, "ask", LONGER, "time-limit", "workload",
          setup=_setup(checkpoint=None)),
    Fault("bad constraint", do.lose_constraint, "ask", WAITS, submits=True,
          setup=_setup(constraint="rare", sbatch={"begin": "now+1hour"})),
    Fault("over-limit time", do.submit_only, "ask", WAITS, setup=_setup(time="5:00:00"), submits=True),
    # people
    Fault("scancel by its user", do.scancel, "nothing", SIGNALLED, "cancelled"),
    Fault("scancel by an administrator", do.scancel_by_admin, "nothing", SIGNALLED, "cancelled"),
    Fault("held by its user", do.hold("uhold"), "nothing", WAITS, setup=LATER, submits=True),
    Fault("held by an administrator", do.hold("hold"), "ask", WAITS, setup=LATER, submits=True),
    Fault("requeued by hand", do.scontrol("requeue"), "requeue", SIGNALLED),
    Fault("predecessor revived by scontrol requeue", do.revive_predecessor, twin=PLAIN, **CRASH),
    # sources
    Fault("slurmctld down", partial(do.crash_without, "slurmctld"), twin=CTLD_RESTARTED, ward="alone", **CRASH),
    Fault("slurmctld killed before it saved the job", do.lose_job, "restart", CTLD_RESTARTED, "forgotten",
          "infrastructure", submits=True, ward="alone"),
    Fault("slurmctld started without its state", partial(do.restart_while_it_waits, how=("-c",)), "ask",
          CTLD_RESTARTED_WAITS, "dropped", "unknown", setup=LATER, submits=True, ward="alone"),
    Fault("slurmdbd down", partial(do.crash_without, "slurmdbd"), twin=DBD_RESTARTED, ward="alone", **CRASH),
    Fault("accounting off", do.accounting_off, twin=NO_ACCOUNTING, **CRASH),
    Fault("sacct answers garbage", partial(do.crash_behind, "garbage"), twin=SACCT_LATE, **CRASH),
    Fault("sacct hangs", partial(do.crash_behind, "hang"), twin=SACCT_LATE, **CRASH),
    Fault("sacct answers for the wrong day", partial(do.crash_behind, "yesterday"), twin=SACCT_LATE, **CRASH),
    Fault("job record purged", do.forget_job, twin=FORGOTTEN, **CRASH),
    # files
    Fault("heartbeat on a full disk", do.heartbeat_on_full_disk, "nothing", NEARLY_FULL, setup=HELD, submits=True),
    Fault("heartbeat on a read-only disk", do.heartbeat_on_read_only_disk, "nothing", NEARLY_FULL, setup=HELD,
          submits=True),
    Fault("heartbeat truncated", do.truncate_heartbeat, "nothing", PLAIN, setup=SLOW_HEARTBEAT),
    Fault("heartbeat of another job", do.foreign_heartbeat, "nothing", PLAIN),
    Fault("checkpoints truncated", do.truncate_checkpoints, twin=PARTIAL, lost=52, **CRASH),
    Fault("registry unreachable", do.lose_registry, twin=WATCHED, **CRASH),
    Fault("run folder unreachable", do.lose_run_folder, twin=WATCHED, **CRASH),
    # ticks
    Fault("two ticks at once on two hosts", do.two_ticks_at_once, twin=TWO_TICKS, **CRASH),
    Fault("login host rebooted in a tick", do.reboot_in_a_tick, twin=TWO_TICKS, **CRASH),
    Fault("sbatch submits after its client died", do.late_sbatch, twin=PLAIN, **CRASH),
)  # fmt: skip
TWINS = tuple(dict.fromkeys(fault.twin for fault in FAULTS))
FAST = (*(fault for fault in FAULTS if fault.fast), *dict.fromkeys(fault.twin for fault in FAULTS if fault.fast))
