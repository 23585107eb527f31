# SPDX-License-Identifier: Apache-2.0
"""Train a small convolutional network on scikit-learn's handwritten digits: an ordinary torch script to start from.

    python train.py --config config.yaml --tensorboard DIR --checkpoints DIR [--resume FILE] [--steps N]

It knows nothing of ade-hpc. Five habits make it a trainer that can be supervised, stopped and continued:

1.  **The config wins over the checkpoint.** ``load_state_dict`` brings back the *old* learning rate, in the optimizer
    and again in the scheduler, so that a changed config followed by a resume would change nothing. ``Training.load``
    puts back every hyper-parameter that the config has just set: lr, momentum, weight decay. (A clip is not stored.)
2.  **What is in force is logged, from the first step of every start.** Tag ``lr`` is the base learning rate that the
    optimizer holds (its ``initial_lr``): at any step it must equal ``optimizer.lr`` of the config, so that the two can
    be compared. Warm-up and decay show in ``lr_scheduled``, the rate of that very step.
3.  **A checkpoint is complete or it is not there.** It is written under a hidden name, synced and then renamed. It
    holds all that the next step depends on: a resumed run is the same run, bit for bit (on a CPU, with one thread).
4.  **SIGUSR1 means: save at the next step boundary, and leave** with exit code 85, "interrupted, to be continued".
    0 always means that training is complete.
5.  **It can say where it hangs.** Where ``ADE_STACKS`` names a file, SIGUSR2 writes the stacks of all threads there, by
    ``faulthandler``, which needs no running Python code. A trainer that does not do this is never sent that signal.

A loss that is not finite does not end the run: whether to go on is for whoever watches to say.
Steps count finished updates: what is logged at 500, and ``step-000500.pt``, come after the 500th.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":
    # Blocked, not handled: the signal waits, even during the slow imports below, until a step boundary asks for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

import argparse
import faulthandler
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_, parameters_to_vector
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.tensorboard import SummaryWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERRUPTED = 85  # free in sysexits.h (64 to 78) and below the shell's own codes (126 and up)
SETTINGS: dict[str, type[int | float]] = {
    "seed": int,
    "steps": int,
    "batch_size": int,
    "threads": int,
    "model.width": int,
    "optimizer.lr": float,
    "optimizer.momentum": float,
    "optimizer.weight_decay": float,
    "optimizer.clip": float,
    "schedule.warmup_steps": int,
    "schedule.final_factor": float,
    "log_every": int,
    "eval_every": int,
    "checkpoint_every": int,
}
Config = dict[str, Any]


# --- config and data --------------------------------------------------------------------------------------------------


def read_config(path: Path) -> Config:
    """Every setting by its dotted name (``optimizer.lr``). Whatever is wrong with the file ends the program."""
    try:
        given = dict(flatten(yaml.safe_load(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        sys.exit(f"{path} can't be read: {error}")
    if wrong := sorted(SETTINGS.keys() ^ given.keys()):
        sys.exit(f"{path}: missing or unknown: {', '.join(wrong)}")
    return {name: number(f"{path}: {name}", kind, given[name]) for name, kind in SETTINGS.items()}


def number(name: str, kind: type[int | float], value: object) -> int | float:
    """By way of str, since YAML reads 1e-4 (without a dot) as text, and since int(0.5) would be a silent 0."""
    try:
        return kind(str(value))
    except ValueError:
        sys.exit(f"{name} must be a {'whole ' if kind is int else ''}number, not {value!r}")


def flatten(tree: object, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(tree, dict):
        return [(prefix, tree)]
    return [pair for key, value in tree.items() for pair in flatten(value, f"{prefix}.{key}" if prefix else str(key))]


def digits(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (n, 1, 8, 8) in 0..1 and labels (n,): 1,437 to train on; on ``device``, 360 to validate on.

    The split does not depend on the config's seed: all runs are judged on the same images.
    """
    images, labels = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    x_train, x_val = (torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16 for x in (x_train, x_val))
    return x_train, torch.tensor(y_train), x_val.to(device), torch.tensor(y_val).to(device)


def batch_at(step: int, images: Tensor, labels: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """The batch of update ``step`` (from 0). The order is a function of seed and step: there is no state to save."""
    epoch, place = divmod(step, len(images) // size)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1_000_003 * seed + epoch))
    chosen = order[place * size : (place + 1) * size]
    return shifted(images[chosen]), labels[chosen]


def shifted(images: Tensor) -> Tensor:
    """Each image moved by up to one pixel either way: augmentation, drawn from torch's global generator on the CPU."""
    count, _, height, width = images.shape
    down, right = torch.randint(0, 3, (2, count, 1))
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    padded = functional.pad(images, (1, 1, 1, 1))
    return padded[torch.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


# --- model, optimizer, schedule: all that a checkpoint holds ----------------------------------------------------------


def build_model(width: int) -> nn.Module:
    """Two convolutions and two linear layers, about 40,000 weights at width 16; returns logits (n, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, width, kernel_size=3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(width, 2 * width, kernel_size=3, padding=1),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * 4 * 4, 4 * width),
        nn.LeakyReLU(0.1),
        nn.Linear(4 * width, 10),
    )


def schedule(config: Config) -> Callable[[int], float]:
    """The factor of ``optimizer.lr``: linear warm-up to 1, then half a cosine down to ``final_factor`` at the end."""
    warmup, final = config["schedule.warmup_steps"], config["schedule.final_factor"]

    def factor(step: int) -> float:
        if step < warmup:
            return float((step + 1) / warmup)
        progress = min(1.0, (step - warmup) / max(1, config["steps"] - warmup))
        return float(final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)

    return factor


@dataclass
class Training:
    """What one update changes; ``step`` is the number of finished updates."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    step: int = 0

    @classmethod
    def fresh(cls, config: Config, device: torch.device) -> Training:
        model = build_model(config["model.width"]).to(device)
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=config["optimizer.lr"],
            momentum=config["optimizer.momentum"],
            weight_decay=config["optimizer.weight_decay"],
        )
        return cls(model, optimizer, LambdaLR(optimizer, schedule(config)))

    def save(self, folder: Path) -> None:
        """Write ``folder/step-NNNNNN.pt``: whole, or not at all."""
        final = folder / f"step-{self.step:06d}.pt"
        hidden = folder / f".{final.name}.tmp"
        with hidden.open("wb") as file:
            parts = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "scheduler")}
            torch.save({**parts, "step": self.step, "rng": torch.get_rng_state()}, file)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(final)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint, with the hyper-parameters that the optimizer has now: those of the config."""
        configured = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name in ("model", "optimizer", "scheduler"):
            getattr(self, name).load_state_dict(saved[name])
        self.step = saved["step"]
        torch.set_rng_state(saved["rng"])
        # From here on the config wins: in lr, in initial_lr, and in base_lrs, of which the scheduler makes the next lr.
        self.scheduler.base_lrs = [settings["initial_lr"] for settings in configured]
        groups, factors = self.optimizer.param_groups, self.scheduler.lr_lambdas
        for group, settings, factor in zip(groups, configured, factors, strict=True):
            group.update(settings, lr=settings["initial_lr"] * factor(self.scheduler.last_epoch))

    def load_weights(self, path: Path) -> None:
        """Start from the weights of a checkpoint and nothing else: step 0, a fresh optimizer, a new schedule."""
        self.model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])


# --- the loop ---------------------------------------------------------------------------------------------------------


def update(training: Training, images: Tensor, labels: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """One step of the optimizer and the schedule. Returns the loss, and the norm of the gradient before clipping."""
    loss = functional.cross_entropy(training.model(images), labels)
    training.optimizer.zero_grad()
    loss.backward()
    grad_norm = clip_grad_norm_(training.model.parameters(), clip or math.inf)
    training.optimizer.step()
    training.scheduler.step()
    training.step += 1
    return loss.detach(), grad_norm


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    model.eval()
    logits = model(images)
    model.train()
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return {"loss/val": functional.cross_entropy(logits, labels).item(), "accuracy/val": accuracy.item()}


def weights_of(model: nn.Module) -> Tensor:
    return parameters_to_vector(model.parameters()).detach()


def write(writer: SummaryWriter, step: int, scalars: dict[str, float]) -> None:
    for tag, value in scalars.items():
        writer.add_scalar(tag, value, step)


def train(training: Training, config: Config, writer: SummaryWriter, checkpoints: Path, device: torch.device) -> int:
    """Train up to ``steps``, log and save on the way. Returns the exit code: 0, or 85 if told to stop before that."""
    x_train, y_train, x_val, y_val = digits(device)
    first, last, group = training.step + 1, config["steps"], training.optimizer.param_groups[0]
    losses: list[Tensor] = []  # since the last logged step
    while training.step < last:
        images, labels = batch_at(training.step, x_train, y_train, config["batch_size"], config["seed"])
        step, rate = training.step + 1, group["lr"]
        logged = step in (first, last) or step % config["log_every"] == 0
        before = weights_of(training.model) if logged else None
        loss, grad_norm = update(training, images.to(device), labels.to(device), config["optimizer.clip"])
        losses.append(loss)
        if before is not None:
            moved = (weights_of(training.model) - before).norm() / before.norm()
            write(writer, step, {"loss/train": torch.stack(losses).mean().item(), "grad_norm": grad_norm.item()})
            write(writer, step, {"lr": group["initial_lr"], "lr_scheduled": rate, "update_ratio": moved.item()})
            losses.clear()
        if step == last or step % config["eval_every"] == 0:
            scores = evaluate(training.model, x_val, y_val)
            write(writer, step, scores)
            print(f"step {step}", *(f"{tag} {value:.4f}" for tag, value in scores.items()), flush=True)
        told_to_stop = signal.SIGUSR1 in signal.sigpending()
        if told_to_stop or step == last or step % config["checkpoint_every"] == 0:
            training.save(checkpoints)
        if told_to_stop and step < last:
            return INTERRUPTED
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train a small network on handwritten digits.")
    parser.add_argument("--config", type=Path, required=True, help="YAML file with every setting")
    parser.add_argument("--tensorboard", type=Path, required=True, metavar="DIR", help="where the event file goes")
    parser.add_argument("--checkpoints", type=Path, required=True, metavar="DIR", help="where step-NNNNNN.pt go")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", type=Path, metavar="FILE", help="continue from this checkpoint")
    start.add_argument("--weights", type=Path, metavar="FILE", help="start anew from the weights of this checkpoint")
    parser.add_argument("--steps", type=int, metavar="N", help="in place of the config's steps, for a quick try")
    arguments = parser.parse_args(argv)
    if stacks := os.environ.get("ADE_STACKS"):
        faulthandler.register(signal.SIGUSR2, file=open(stacks, "w"))  # noqa: SIM115 - open as long as it trains
    config = read_config(arguments.config)
    if arguments.steps is not None:
        config["steps"] = arguments.steps
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = Training.fresh(config, device)
    if arguments.resume:
        training.load(arguments.resume)
    if arguments.weights:
        training.load_weights(arguments.weights)
    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    with SummaryWriter(str(arguments.tensorboard), flush_secs=5) as writer:
        return train(training, config, writer, arguments.checkpoints, device)


if __name__ == "__main__":
    sys.exit(main())
