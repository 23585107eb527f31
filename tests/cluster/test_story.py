# SPDX-License-Identifier: Apache-2.0
"""The main job on a real Slurm, in a real Apptainer image, as a user submits it from experiment.yaml."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ade_hpc.launch.plan import Plan
from ade_hpc.metrics.collect import collect
from ade_hpc.store.records import load_attempt, load_exits, load_heartbeats
from tests.support.lab import Lab
from tests.support.project import REPOSITORY, Project, assert_no_overlap, lives, make_project, wait_for

RESOURCES = {"time": "10", "mem": "1500M", "cpus_per_task": 1}
IN_IMAGE = ["python3", "train.py", "--config", "{config}", "--tensorboard", "{tensorboard}"]
LEARNS = {"optimizer": {"lr": 0.05}}


def on_slurm(root: Path, *, image: Path | None = None, partition: str = "main", **changes: Any) -> Project:
    experiment = {"partition": partition, **RESOURCES, **changes.pop("experiment", {})}
    if image is not None:
        command = [*IN_IMAGE, "--checkpoints", "{checkpoints}", "{resume}"]
        experiment = {"image": str(image), "command": command, **experiment}
    return make_project(root, kind="slurm", experiment=experiment, **changes)


@pytest.mark.container
def test_a_diverging_run_is_repaired_in_its_container(in_lab: Lab, tmp_path: Path, base_image: Path) -> None:
    """Found, committed, resubmitted from the pinned checkpoint, proved; and sacct agrees with the exit records."""
    project = on_slurm(tmp_path, image=base_image, config={"steps": 1500})  # it diverges for seconds, and is seen to
    _, first_job = project.submit()

    reports = project.run_to_end(90)

    assert reports[-1].health.cause == "completed"
    first, second = project.folder.attempts()
    record = load_attempt(second)
    assert record is not None
    assert record.image is not None
    assert record.parent is not None
    assert record.config["optimizer.lr"] == 0.05
    curves = collect(second.starts(), None)
    assert curves.series["lr"].values[0] == pytest.approx(0.05)
    assert curves.series["accuracy/val"].values[-1] > 0.97
    assert_no_overlap(project)
    second_job = load_exits(second)[-1].job_id
    for job, state in ((first_job, "CANCELLED"), (second_job, "COMPLETED")):
        in_lab.wait_state(job, [state])
        assert in_lab.states(job) == [state]
    assert load_exits(first)[-1].cause in ("superseded", "cancelled")


@pytest.mark.container
def test_torch_trains_in_the_image(in_lab: Lab, tmp_path: Path, trainer_image: Path) -> None:
    """The example trainer in the image of trainer.def: sacct, heartbeat, exit record and TensorBoard agree."""
    project = on_slurm(tmp_path, image=trainer_image, experiment={"mem": "2500M"})
    shutil.copy(REPOSITORY / "jobs/train.py", project.path)
    config = yaml.safe_load((REPOSITORY / "jobs/config.yaml").read_text())
    config["optimizer"]["lr"] = 0.05
    project.write("config.yaml", yaml.safe_dump({**config, "steps": 300}))
    project.commit("the real trainer")
    _, job = project.submit()

    assert project.wait_for_exit(1, 200) == "completed"

    assert in_lab.wait_state(job, ["COMPLETED"]) == "COMPLETED"
    attempt = project.folder.attempt(1)
    beat, exit_record = load_heartbeats(attempt)[0], load_exits(attempt)[-1]
    assert beat.counter > 2
    assert beat.event_bytes > 0
    assert (exit_record.job_id, exit_record.returncode) == (job, 0)
    events = EventAccumulator(str(attempt.tensorboard / "0"), size_guidance={"scalars": 0})
    events.Reload()
    assert events.Scalars("loss/train")[-1].step == 300


@pytest.mark.container
def test_the_trainer_can_write_its_own_folders_and_nothing_else(in_lab: Lab, tmp_path: Path, base_image: Path) -> None:
    """Not the ledger, not the heartbeat, not the exit records, not the preferences, not its own code (invariant 10)."""
    project = on_slurm(tmp_path, image=base_image)
    targets = [
        str(project.folder.ledger),
        str(project.folder.attempt(1).heartbeats / "x"),
        str(project.path / "preferences.md"),
        "/ade/code/project/x",
        "/ade/code/x",
        "/ade/start/x",
    ]
    project.write(
        "train.py",
        "import json, os\n"
        "def can(path):\n"
        "    try:\n        open(path, 'a').close()\n        return True\n    except OSError:\n        return False\n"
        f"own = [os.environ[n] + '/x' for n in ('ADE_TENSORBOARD', 'ADE_CHECKPOINTS', 'TMPDIR')] + ['/tmp/x']\n"
        f"print('RESULT', json.dumps([[can(p) for p in own], [can(p) for p in {targets!r}]]), flush=True)\n",
    )
    project.commit("try to write")
    project.submit()

    assert project.wait_for_exit(1) == "completed"

    log = "".join(path.read_text() for path in project.folder.attempt(1).logs.iterdir())
    own, foreign = json.loads(log.partition("RESULT ")[2].splitlines()[0])
    assert own == [True] * 4
    assert foreign == [False] * len(targets)


@pytest.mark.container
def test_a_two_process_torchrun_job_on_one_node(in_lab: Lab, tmp_path: Path, trainer_image: Path) -> None:
    project = on_slurm(tmp_path, image=trainer_image, experiment={"mem": "3500M", "cpus_per_task": 2})
    project.write(
        "train.py",
        "import os, torch, torch.distributed as dist\n"
        "from torch.utils.tensorboard import SummaryWriter\n"
        "dist.init_process_group('gloo')\n"
        "total = torch.tensor([float(dist.get_rank() + 1)]); dist.all_reduce(total)\n"
        "if dist.get_rank() == 0:\n"
        "    writer = SummaryWriter(os.environ['ADE_TENSORBOARD'])\n"
        "    writer.add_scalar('total', total.item(), 1); writer.close()\n"
        "dist.destroy_process_group()\n",
    )
    command = ["python3", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    fields = yaml.safe_load((project.path / "experiment.yaml").read_text())
    project.write("experiment.yaml", yaml.safe_dump({**fields, "command": command}))
    project.commit("torchrun")
    _, job = project.submit()

    assert project.wait_for_exit(1, 200) == "completed"

    assert in_lab.wait_state(job, ["COMPLETED"]) == "COMPLETED"
    assert collect(project.folder.attempt(1).starts(), None).series["total"].values.tolist() == [3.0]


@pytest.mark.container
@pytest.mark.xdist_group("cgroups")  # the nodes of all labs that have cgroups share one folder of the machine
@pytest.mark.parametrize("partition", ["main", "side"])
def test_a_requeued_job_continues_where_it_was(in_lab: Lab, tmp_path: Path, base_image: Path, partition: str) -> None:
    """USR2 near the time limit: the trainer saves, Slurm queues the job again, and not one step is lost or repeated.

    Partition side has cgroups and signals only the task, as production does. In main Slurm's signal reaches all of the
    container as well: this trainer lives on, because it tells its stacks on USR2, but Apptainer's own processes may
    not, and then the last periodic checkpoint counts.
    """
    project = on_slurm(tmp_path, image=base_image, partition=partition, config={**LEARNS, "steps": 600, "step_s": 0.02})
    _, job = project.submit()
    attempt = project.folder.attempt(1)
    wait_for(lambda: len(collect(attempt.starts(), None).series.get("lr", ())) > 60, 60, "it never trained")
    in_lab.run(["scancel", "--signal=USR2", job])

    wait_for(lambda: len(attempt.starts()) == 2, 60, "it was not queued again")
    assert project.wait_for_exit(1) == "completed"

    first, second = (collect([start], None).series["lr"].steps for start in attempt.starts())
    lost = first[-1] + 1 - second[0]
    assert lost == 0 or (partition == "main" and 0 < lost <= 20 and second[0] % 20 == 1)
    assert second[-1] == 600
    in_lab.wait_state(job, ["COMPLETED"])
    assert [record.cause for record in load_exits(attempt)] == ["time-limit", "completed"]
    assert_no_overlap(project)
    assert len(project.folder.attempts()) == 1


def test_a_job_that_would_go_over_its_gpu_hours_is_not_queued_again(in_lab: Lab, tmp_path: Path) -> None:
    """Near its time limit it would queue itself again and ask nobody: the bound holds there, too, and at the tick."""
    project = on_slurm(tmp_path, config={**LEARNS, "steps": 4000}, experiment={"gpus_per_node": 1})
    preferences = (project.path / "preferences.md").read_text()
    project.write("preferences.md", preferences.replace("cooldown: 0s", "cooldown: 0s, gpu_hours: 0.1667"))
    project.commit()
    _, job = project.submit()
    attempt = project.folder.attempt(1)
    wait_for(lambda: collect(attempt.starts(), None).series.get("lr"), 60, "it never trained")
    in_lab.run(["scancel", "--signal=USR2", job])

    assert project.wait_until_over(1) == "time-limit"
    record = load_exits(attempt)[-1]
    assert not record.requeued
    assert "gpu_hours" in record.detail
    report = project.tick()
    assert report.decision is not None
    assert any(refusal.startswith("gpu_hours") for refusal in report.decision.refusals)
    assert report.code == 4
    assert len(in_lab.states(job)) == 1


def test_a_job_that_got_nowhere_is_not_queued_again(in_lab: Lab, tmp_path: Path) -> None:
    """A start without one logged step before its time limit would be followed by others like it."""
    project = on_slurm(tmp_path)
    fields = yaml.safe_load((project.path / "experiment.yaml").read_text())
    project.write("experiment.yaml", yaml.safe_dump({**fields, "command": ["sleep", "300"]}))
    project.commit("only sleep")
    _, job = project.submit()
    wait_for(lambda: lives(project), 60, "it never started")
    in_lab.run(["scancel", "--signal=USR2", job])

    assert project.wait_until_over(1) == "time-limit"
    record = load_exits(project.folder.attempt(1))[-1]
    assert not record.requeued
    assert record.detail == "not queued again: it made no progress in this start"
    assert in_lab.wait_state(job, ["FAILED"]) == "FAILED"


def test_a_cancelled_job_stays_cancelled(in_lab: Lab, tmp_path: Path) -> None:
    """scancel sends TERM as preemption does; a requeue then would bring the job back from the dead."""
    project = on_slurm(tmp_path, config={**LEARNS, "steps": 4000})
    _, job = project.submit()
    wait_for(lambda: lives(project), 60, "it never started")
    in_lab.run(["scancel", job])

    assert project.wait_until_over(1) == "cancelled"
    assert in_lab.wait_state(job, ["CANCELLED"]) == "CANCELLED"
    report = project.tick()
    assert report.health.verdict == "ended"
    assert report.decision is None
    assert len(project.folder.attempts()) == 1


def test_no_key_of_the_submitter_is_anywhere(in_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A canary in the environment of `submit`: not in the run folder, the commits, accounting, or the trainer."""
    canary = "sk-canary-7f3a9b2e"
    monkeypatch.setenv("OPENAI_API_KEY", canary)
    project = on_slurm(tmp_path, config={**LEARNS, "steps": 1500})
    _, job = project.submit()
    attempt = project.folder.attempt(1)
    beat = wait_for(
        lambda: next((beat for beat in load_heartbeats(attempt) if beat.trainer_pid), None), 60, "it never started"
    )

    assert canary.encode() not in Path(f"/proc/{beat.trainer_pid}/environ").read_bytes()

    def stored() -> str:
        text = in_lab.run(["sacct", "-j", job, "--env-vars"]).stdout
        return text if "PATH=" in text else ""

    assert canary not in wait_for(stored, 60, "accounting stored no environment")
    project.tick()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]
    assert canary not in project.git("log", "--all", "--patch")
    project.scheduler.cancel(_job(project, job))


def _job(project: Project, job_id: str) -> Any:
    from ade_hpc.launch.lineage import job_of

    job = job_of(project.folder, project.ledger, 1)
    assert job is not None
    assert job.job_id == job_id
    return job


def test_what_slurm_refuses_is_said_and_a_later_submit_works(in_lab: Lab, tmp_path: Path) -> None:
    project = on_slurm(tmp_path, partition="nowhere", config={**LEARNS, "steps": 20})
    with pytest.raises(Exception, match="partition") as refused:
        project.submit()
    assert "main" in str(refused.value)
    assert [entry.kind for entry in project.ledger.entries][-1] == "refused"

    fields = yaml.safe_load((project.path / "experiment.yaml").read_text())
    project.write("experiment.yaml", yaml.safe_dump({**fields, "partition": "main"}))
    project.commit("a partition that exists")
    number, _ = project.submit()

    assert number == 2
    assert project.wait_for_exit(2) == "completed"


@pytest.mark.container
@pytest.mark.parametrize(("now", "cause"), [(b"another image", "image-changed"), (None, "image-missing")])
def test_an_image_that_is_not_the_one_of_the_submit_does_not_start(
    in_lab: Lab, tmp_path: Path, base_image: Path, now: bytes | None, cause: str
) -> None:
    image = tmp_path / "image.sif"
    shutil.copy(base_image, image)
    project = on_slurm(tmp_path, image=image, experiment={"sbatch": {"begin": "now+1hour"}})
    _, job = project.submit()
    image.unlink()
    if now is not None:
        image.write_bytes(now)
    in_lab.run(["scontrol", "update", f"JobId={job}", "StartTime=now"])

    assert project.wait_for_exit(1) == cause

    assert not lives(project)


@pytest.mark.xdist_group("cgroups")
def test_a_node_is_let_in_again_where_there_is_no_other(in_lab: Lab, tmp_path: Path) -> None:
    """Kept out, its only node leaves Slurm nothing to run it on: that is tried once, and then again without."""
    crashes = {**LEARNS, "exit_at": 30, "exit_with": 3}
    project = on_slurm(tmp_path, partition="side", config=crashes)
    rule = "rules: [{name: elsewhere, when: {health: failed}, do: {exclude_node: true}}]"
    text = (project.path / "preferences.md").read_text()
    project.write("preferences.md", re.sub("rules: .*", rule, text))
    project.commit("not there again")
    project.submit()
    project.wait_until_over(1)

    reports = [project.tick(), project.tick()]

    assert any("refused" in problem for problem in reports[0].problems)
    assert reports[1].done
    assert [entry.data["attempt"] for entry in project.ledger.of_kind("refused")] == [2]
    plans = [Plan.from_json(entry.data) for entry in project.ledger.of_kind("intent")]
    assert [plan.directives.get("exclude") for plan in plans] == [None, "n4", None]
    project.wait_until_over(3)
