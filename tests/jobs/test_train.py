# SPDX-License-Identifier: Apache-2.0
"""The example trainer keeps its four promises: exact resume, the config wins, whole checkpoints, SIGUSR1."""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

JOBS = Path(__file__).parents[2] / "jobs"
SMALL: dict[str, Any] = {
    "seed": 3,
    "steps": 40,
    "batch_size": 64,
    "threads": 1,
    "model": {"width": 4},
    "optimizer": {"lr": 0.08, "momentum": 0.9, "weight_decay": 1.0e-4, "clip": 0},
    "schedule": {"warmup_steps": 10, "final_factor": 0.1},
    "log_every": 5,
    "eval_every": 20,
    "checkpoint_every": 10,
}


def load_trainer() -> ModuleType:
    """train.py as a module: in this process a run costs a fifth of a second, in one of its own the import of torch."""
    spec = importlib.util.spec_from_file_location("digits_trainer", JOBS / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TRAINER = load_trainer()


class Run:
    """One start of the trainer in a folder of its own, with some settings changed by their dotted names."""

    def __init__(self, folder: Path, *more: str | Path, **changes: object) -> None:
        folder.mkdir()
        self.tensorboard, self.checkpoints, self.config = folder / "tb", folder / "checkpoints", folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(changed(changes)))
        given = ["--config", self.config, "--tensorboard", self.tensorboard, "--checkpoints", self.checkpoints, *more]
        self.arguments = [str(argument) for argument in given]

    def finish(self) -> Run:
        assert TRAINER.main(self.arguments) == 0
        return self

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """As a program of its own, which the test ends."""
        process = subprocess.Popen([sys.executable, JOBS / "train.py", *self.arguments], stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait(timeout=10)

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}.pt"

    def saved(self, step: int) -> dict[str, Any]:
        return dict(torch.load(self.checkpoint(step), weights_only=True))

    def scalars(self, tag: str) -> list[tuple[int, float]]:
        events = EventAccumulator(str(self.tensorboard), size_guidance={"scalars": 0})
        events.Reload()
        return [(event.step, event.value) for event in events.Scalars(tag)]


def changed(changes: dict[str, object]) -> dict[str, Any]:
    """``SMALL`` with e.g. ``optimizer__lr=0.1`` in place of its own value; None takes the setting out."""
    config: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in SMALL.items()}
    for name, value in changes.items():
        *path, key = name.split("__")
        section = config[path[0]] if path else config
        section[key] = value
        if value is None:
            del section[key]
    return config


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An uninterrupted run of 40 steps, as a program of its own."""
    run = Run(tmp_path_factory.mktemp("jobs") / "whole")
    with run.started() as process:
        assert process.wait(timeout=100) == 0
    return run


def wait_for(path: Path, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def test_a_resumed_run_is_the_same_run_to_the_last_bit(whole: Run, tmp_path: Path) -> None:
    resumed = Run(tmp_path / "run", "--resume", whole.checkpoint(20)).finish()
    assert sorted(path.name for path in resumed.checkpoints.iterdir()) == ["step-000030.pt", "step-000040.pt"]
    ours, theirs = resumed.saved(40), whole.saved(40)
    assert ours["step"] == theirs["step"] == 40
    assert all(torch.equal(ours["model"][name], weight) for name, weight in theirs["model"].items())
    for index, state in theirs["optimizer"]["state"].items():
        assert torch.equal(ours["optimizer"]["state"][index]["momentum_buffer"], state["momentum_buffer"])
    assert torch.equal(ours["rng"], theirs["rng"])
    assert ours["optimizer"]["param_groups"] == theirs["optimizer"]["param_groups"]


def test_a_run_that_ended_early_and_went_on_is_the_same_run(whole: Run, tmp_path: Path) -> None:
    """``--steps`` also ends the schedule, so this holds where warm-up is all of it."""
    first = Run(tmp_path / "first", "--steps", "10").finish()
    second = Run(tmp_path / "second", "--resume", first.checkpoint(10)).finish()
    assert all(torch.equal(second.saved(40)["model"][name], w) for name, w in whole.saved(40)["model"].items())


def test_another_seed_is_another_run(whole: Run, tmp_path: Path) -> None:
    other = Run(tmp_path / "run", seed=4).finish()
    assert not torch.equal(other.saved(40)["model"]["0.weight"], whole.saved(40)["model"]["0.weight"])


def test_after_loading_the_config_wins(whole: Run, tmp_path: Path) -> None:
    """lr, momentum and weight decay come from the config; in the group, in initial_lr and in the scheduler."""
    new = {"optimizer__lr": 0.008, "optimizer__weight_decay": 0.02, "optimizer__momentum": 0.5}
    resumed = Run(tmp_path / "run", "--resume", whole.checkpoint(20), **new).finish()
    for step in (30, 40):
        saved, before = resumed.saved(step), whole.saved(step)
        group, group_before = saved["optimizer"]["param_groups"][0], before["optimizer"]["param_groups"][0]
        assert (group["initial_lr"], group["weight_decay"], group["momentum"]) == (0.008, 0.02, 0.5)
        assert saved["scheduler"]["base_lrs"] == [0.008]
        assert group["lr"] == pytest.approx(group_before["lr"] / 10)


def test_after_loading_the_first_update_already_obeys(whole: Run, tmp_path: Path) -> None:
    """A learning rate of zero leaves the weights of the checkpoint as they are; so does no update from its momentum."""
    resumed = Run(tmp_path / "run", "--resume", whole.checkpoint(20), optimizer__lr=0.0).finish()
    before, after = whole.saved(20)["model"], resumed.saved(40)["model"]
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_the_weights_alone_begin_a_new_run(whole: Run, tmp_path: Path) -> None:
    """A learning rate of zero leaves them as they are; steps, schedule and optimizer are those of a first start."""
    anew = Run(tmp_path / "run", "--weights", whole.checkpoint(20), optimizer__lr=0.0, optimizer__momentum=0.0)
    before, saved = whole.saved(20), anew.finish().saved(10)
    assert all(torch.equal(saved["model"][name], weight) for name, weight in before["model"].items())
    assert saved["scheduler"]["last_epoch"] == saved["step"] == 10
    assert anew.scalars("lr_scheduled")[0][0] == 1
    assert saved["optimizer"]["state"] == {} or all(
        state["momentum_buffer"] is None for state in saved["optimizer"]["state"].values()
    )


def test_the_clip_of_the_config_is_in_force_after_loading(whole: Run, tmp_path: Path) -> None:
    """Without momentum a step is lr times the clipped gradient: a tiny clip bounds how far the weights can move."""
    new = {"optimizer__clip": 1.0e-6, "optimizer__momentum": 0.0, "optimizer__weight_decay": 0.0}
    resumed = Run(tmp_path / "run", "--resume", whole.checkpoint(20), **new).finish()
    before, after = whole.saved(20)["model"], resumed.saved(40)["model"]
    moved = sum(float((after[name] - weight).norm() ** 2) for name, weight in before.items()) ** 0.5
    assert 0 < moved <= 20 * 0.08 * 1.0e-6 * 1.5  # 20 steps; half as much again for float32 rounding of the weights
    assert all(norm > 0.01 for _, norm in resumed.scalars("grad_norm"))  # logged before clipping


def test_lr_is_logged_at_the_first_step_of_every_start_and_equals_the_config(whole: Run, tmp_path: Path) -> None:
    resumed = Run(tmp_path / "run", "--resume", whole.checkpoint(20), optimizer__lr=0.008).finish()
    for run, first, lr in ((whole, 1, 0.08), (resumed, 21, 0.008)):
        logged = run.scalars("lr")
        assert logged[0][0] == first
        assert all(value == pytest.approx(lr, rel=1e-6) for _, value in logged)  # an event holds a float32


def test_warm_up_and_decay_show_in_lr_scheduled(whole: Run) -> None:
    scheduled = dict(whole.scalars("lr_scheduled"))
    assert scheduled[1] == pytest.approx(0.08 * 1 / 10)
    assert scheduled[10] == pytest.approx(0.08)
    assert scheduled[10] > scheduled[20] > scheduled[30] > scheduled[40] > 0.008


def test_every_promised_tag_is_logged(whole: Run) -> None:
    for tag in ("loss/train", "grad_norm", "lr", "lr_scheduled", "update_ratio"):
        assert [step for step, _ in whole.scalars(tag)] == [1, 5, 10, 15, 20, 25, 30, 35, 40]
    for tag in ("loss/val", "accuracy/val"):
        assert [step for step, _ in whole.scalars(tag)] == [20, 40]
    assert whole.scalars("loss/val")[-1][1] < whole.scalars("loss/val")[0][1]


def test_sigusr1_saves_at_the_next_step_and_exits_85(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", steps=1_000_000, checkpoint_every=50)
    with run.started() as process:
        wait_for(run.checkpoint(50))
        process.send_signal(signal.SIGUSR1)
        assert process.wait(timeout=60) == 85
    last = max(run.checkpoints.iterdir())
    step = int(last.stem.removeprefix("step-"))
    assert torch.load(last, weights_only=True)["step"] == step
    assert step % 50, "the last checkpoint is a periodic one: the signal saved nothing"
    Run(tmp_path / "next", "--resume", last, steps=step + 5).finish()


def test_sigusr2_tells_where_it_is_and_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADE_STACKS", str(tmp_path / "stacks"))
    run = Run(tmp_path / "run", steps=1_000_000, checkpoint_every=50)
    with run.started() as process:
        wait_for(run.checkpoint(50))
        process.send_signal(signal.SIGUSR2)
        wait_for(run.checkpoint(150))
        assert process.poll() is None
    assert "in train" in (tmp_path / "stacks").read_text()


def test_sigusr1_during_the_imports_waits_for_the_first_step(tmp_path: Path) -> None:
    """Importing torch takes seconds, in which the default action of the signal would kill the trainer."""
    run = Run(tmp_path / "run", steps=1_000_000)
    with run.started() as process:
        wait_until_blocked(process.pid)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(timeout=60) == 85
    assert run.saved(1)["step"] == 1


def wait_until_blocked(pid: int) -> None:
    """Until SIGUSR1 is in the process's mask of blocked signals, see proc_pid_status(5)."""
    for _ in range(15_000):
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if int(status["SigBlk"], 16) >> (signal.SIGUSR1 - 1) & 1:
            return
        time.sleep(0.002)
    raise AssertionError("the trainer never blocked SIGUSR1")


def test_a_checkpoint_is_whole_whenever_the_trainer_is_killed(tmp_path: Path) -> None:
    """SIGKILL at random instants of a trainer that saves at every step: each file under its final name loads."""
    instants, seen = random.Random(0), 0
    for number in range(8):
        run = Run(tmp_path / str(number), steps=1_000_000, checkpoint_every=1, model__width=32)
        process = multiprocessing.get_context("fork").Process(target=TRAINER.main, args=(run.arguments,))
        process.start()
        wait_for(run.checkpoint(1))
        time.sleep(instants.uniform(0.0, 0.2))
        process.kill()
        process.join(timeout=10)
        for path in run.checkpoints.glob("step-*.pt"):
            assert torch.load(path, weights_only=True)["step"] == int(path.stem.removeprefix("step-"))
            seen += 1
    assert seen > 8


def test_a_loss_that_is_not_finite_does_not_end_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", optimizer__lr=1.0e9).finish()
    assert math.isnan(dict(run.scalars("loss/train"))[40])
    assert run.scalars("accuracy/val")[-1][1] < 0.2
    assert run.saved(40)["step"] == 40


def test_a_finished_run_has_nothing_left_to_do(whole: Run, tmp_path: Path) -> None:
    assert list(Run(tmp_path / "run", "--resume", whole.checkpoint(40)).finish().checkpoints.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer__lr": None}, "missing or unknown: optimizer.lr"),
        ({"optimizer__learning_rate": 0.1}, "missing or unknown: optimizer.learning_rate"),
        ({"optimizer__lr": "fast"}, "optimizer.lr must be a number, not 'fast'"),
        ({"steps": 0.5}, "steps must be a whole number, not 0.5"),
    ],
)
def test_a_wrong_config_is_said_in_one_line(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", **changes)
    with pytest.raises(SystemExit, match=said):
        TRAINER.main(run.arguments)
    assert not run.checkpoints.exists()
    assert not run.tensorboard.exists()


def test_the_committed_experiment_is_the_one_that_the_trainer_understands(capsys: pytest.CaptureFixture[str]) -> None:
    """The pattern, the signal and the flags in experiment.yaml, and the names in config.yaml, are those of train.py."""
    experiment = yaml.safe_load((JOBS / "experiment.yaml").read_text())
    checkpoint = experiment["checkpoint"]
    assert (checkpoint["pattern"], checkpoint["signal"]) == ("step-{step}.pt", "SIGUSR1")
    assert (checkpoint["resume"], checkpoint["weights"]) == ("--resume {path}", "--weights {path}")
    with pytest.raises(SystemExit):
        TRAINER.main(["--help"])
    listed = capsys.readouterr().out
    assert all(flag in listed for flag in experiment["command"] if flag.startswith("--"))
    assert all(checkpoint[key].split()[0] in listed for key in ("resume", "weights"))
    assert TRAINER.read_config(JOBS / "config.yaml").keys() == TRAINER.SETTINGS.keys()
