# SPDX-License-Identifier: Apache-2.0
"""What the recipes of the test split share: their book, the habits of eight trainers, how nets meet data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from curves_lab.data import Data
from curves_lab.log import Log
from curves_lab.recipe import Book
from curves_lab.supervised import Fit, Names, Plan
from curves_lab.unseen import data, nets, policy, rivals, worlds

BOOK = Book("test", data, nets, policy, rivals, worlds)
Rng = np.random.Generator


@dataclass(frozen=True)
class Trainer:
    """A trainer's habits: tags of losses and scores, and of what else it logs; whether its scores are per cent."""

    names: Names
    health: Mapping[str, str] = field(default_factory=dict)
    percent: bool = False


HF = Trainer(
    Names("train/loss", "eval/loss", "eval/accuracy"), {"lr": "train/learning_rate", "grad_norm": "train/grad_norm"}
)
LIGHTNING = Trainer(Names("train_loss_step", "val_loss", "val_acc"), {"lr": "lr-AdamW"})
LIGHTNING_EPOCHS = Trainer(Names("train_loss_epoch", "val_loss", "val_acc", by_epoch=True))
KERAS = Trainer(
    Names(
        "train:epoch_loss", "validation:epoch_loss", "validation:epoch_accuracy", "train:epoch_accuracy", by_epoch=True
    )
)
FASTAI = Trainer(Names("train_loss", "valid_loss", "accuracy"), {"lr": "lr_0"})
MMENGINE = Trainer(Names("loss", "val/loss", "accuracy/top1"), {"lr": "lr", "grad_norm": "grad_norm"}, percent=True)
COMPOSER = Trainer(
    Names("loss/train/total", "metrics/eval/CrossEntropy", "metrics/eval/MulticlassAccuracy"),
    {"lr": "lr-DecoupledAdamW/group0"},
)
NANOGPT = Trainer(Names("train/loss_iter", "val/loss", ""), {"lr": "lr"})
TUTORIAL = Trainer(Names("Loss/train", "Loss/valid", "Acc/valid", "Acc/train"), percent=True)
IGNITE = Trainer(Names("training/batchloss", "validation/mse", ""))
TRAINERS = (HF, LIGHTNING, LIGHTNING_EPOCHS, KERAS, FASTAI, MMENGINE, COMPOSER, NANOGPT, TUTORIAL, IGNITE)


class Habit(Log):
    """The log of a trainer: it renames what it logs of its health, and leaves out the rest."""

    def __init__(self, log: Log, trainer: Trainer) -> None:
        super().__init__(log.folder)
        self.log, self.trainer = log, trainer

    def restart(self, name: str, gap_s: float = 30.0) -> None:
        super().restart(name, gap_s)
        self.log.restart(name, gap_s)

    def scalar(self, tag: str, value: float, step: int) -> None:
        names = self.trainer.names
        if tag in ("lr", "grad_norm", "update_ratio", "dead_frac"):
            tag = self.trainer.health.get(tag, "")
        elif tag in (names.val_score, names.train_score) and self.trainer.percent:
            value = 100 * value
        if tag:
            self.log.clock = self.clock
            self.log.scalar(tag, value, step)


def teach(log: Log, rng: Rng, trainer: Trainer, model: nn.Module, found: Data, plan: Plan, how: type[Fit] = Fit) -> Fit:
    """A fit that logs as ``trainer`` does; not yet run."""
    plan.names = trainer.names
    return how(Habit(log, trainer), model, found, plan, rng)


def silence(at: Mapping[int, float]) -> Callable[[int, Fit, Log], None]:
    """After each of these steps nothing happens for so many seconds."""

    def after(step: int, fit: Fit, out: Log) -> None:
        out.tick(at.get(step, 0.0))

    return after


def cosine(steps: int, warm: int = 0, least: float = 0.0) -> Callable[[int], float]:
    """Up in a line, down in half a cosine to ``least``."""

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))

    return factor


def linear(steps: int, warm: int = 0) -> Callable[[int], float]:
    """Up in a line, down in a line to nothing."""
    return lambda s: (s + 1) / warm if s < warm else max(0.0, (steps - s) / (steps - warm))
