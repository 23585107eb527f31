# SPDX-License-Identifier: Apache-2.0
"""One training loop for every supervised run, with hooks where a fault can be put in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from curves_lab.data import Data
from curves_lab.log import Log

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Names:
    """Tags under which a trainer logs; people's habits differ."""

    train_loss: str = "loss/train"
    val_loss: str = "loss/val"
    val_score: str = "accuracy/val"
    train_score: str = ""
    by_epoch: bool = False


@dataclass
class Plan:
    """How to train.

    schedule: factor on the learning rate at a step. before: sees and may replace (step, fit, batch). after: sees the
    step's state. log_every, eval_every: in steps. epoch_means: log the mean training loss at each evaluation instead.
    smoothing: of the labels.
    """

    steps: int = 600
    batch: int = 32
    lr: float = 0.05
    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip: float | None = None
    schedule: Callable[[int], float] = lambda step: 1.0
    log_every: int = 2
    eval_every: int = 20
    names: Names = field(default_factory=Names)
    epoch_means: bool = False
    smoothing: float = 0.0
    before: Callable[[int, Fit, Batch], Batch] = lambda step, fit, batch: batch
    after: Callable[[int, Fit, Log], None] = lambda step, fit, log: None


class Fit:
    """A model in training: ``run`` goes from the step it has reached to ``until``."""

    def __init__(self, log: Log, model: nn.Module, data: Data, plan: Plan, rng: np.random.Generator) -> None:
        self.log, self.model, self.data, self.plan, self.rng = log, model, data, plan, rng
        with torch.no_grad():
            model(data.x[:2])  # lazy layers take their shape
        self.optimizer = _optimizer(plan, model)
        self.step = 0
        self.lr_factor = 1.0
        self._losses: list[float] = []
        self._dead = _watch_relus(model)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        out = self.model(x)
        if self.data.classes:
            return nn.functional.cross_entropy(out, y, label_smoothing=self.plan.smoothing)
        return nn.functional.mse_loss(out, y)

    def run(self, until: int | None = None) -> Fit:
        for _ in range(self.step, self.plan.steps if until is None else until):
            if self.step % self.plan.eval_every == 0:
                self._evaluate()
            self._train()
        self._evaluate()
        return self

    def _train(self) -> None:
        plan, names = self.plan, self.plan.names
        lr = plan.lr * plan.schedule(self.step) * self.lr_factor
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        pick = torch.from_numpy(self.rng.integers(0, len(self.data.x), plan.batch))
        x, y = plan.before(self.step, self, (self.data.x[pick], self.data.y[pick]))
        self.optimizer.zero_grad()
        loss = self.loss(x, y)
        if loss.requires_grad:
            loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), plan.clip or float("inf")))
        logs = self.step % plan.log_every == 0
        before = _flat(self.model) if logs else None
        self.optimizer.step()
        self.log.tick()
        self._losses.append(float(loss.detach()))
        if logs and before is not None:
            if not plan.epoch_means:
                self.log.scalar(names.train_loss, self._losses[-1], self.step)
            self.log.scalar("grad_norm", norm, self.step)
            self.log.scalar("lr", lr, self.step)
            self.log.scalar(
                "update_ratio", float((_flat(self.model) - before).norm() / (before.norm() + 1e-12)), self.step
            )
            if self._dead:
                self.log.scalar("dead_frac", float(np.mean(list(self._dead.values()))), self.step)
        plan.after(self.step, self, self.log)
        self.step += 1

    @torch.no_grad()
    def _evaluate(self) -> None:
        names, data = self.plan.names, self.data
        self.model.eval()
        step = self.step // self.plan.eval_every if names.by_epoch else self.step
        if self.plan.epoch_means and self._losses:
            self.log.scalar(names.train_loss, float(np.mean(self._losses)), step)
        self._losses.clear()
        self.log.scalar(names.val_loss, float(self.loss(data.x_val, data.y_val)), step)
        if data.classes and names.val_score:
            self.log.scalar(names.val_score, self.score(data.x_val, data.y_val), step)
        if data.classes and names.train_score:
            self.log.scalar(names.train_score, self.score(data.x[:400], data.y[:400]), step)
        self.model.train()
        self.log.tick(2.0)

    def score(self, x: Tensor, y: Tensor) -> float:
        return float((self.model(x).argmax(1) == y).float().mean())


def _optimizer(plan: Plan, model: nn.Module) -> torch.optim.Optimizer:
    if plan.optimizer == "adam":
        return torch.optim.AdamW(model.parameters(), plan.lr, weight_decay=plan.weight_decay)
    if plan.optimizer == "rmsprop":
        return torch.optim.RMSprop(model.parameters(), plan.lr, weight_decay=plan.weight_decay)
    return torch.optim.SGD(model.parameters(), plan.lr, momentum=plan.momentum, weight_decay=plan.weight_decay)


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _watch_relus(model: nn.Module) -> dict[int, float]:
    """Share of ReLU units that are silent on the whole batch, by layer, kept up to date by forward hooks."""
    dead: dict[int, float] = {}

    def note(key: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if module.training:
                dead[key] = float((output <= 0).flatten(1).all(dim=0).float().mean())

        return hook

    for key, module in enumerate(model.modules()):
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(note(key))
    return dead
