# SPDX-License-Identifier: Apache-2.0
"""A generator against a critic: their losses tell little; the distance of what is made from what is real tells all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from curves_lab.log import Log

Rng = np.random.Generator


@dataclass
class Game:
    """How they play; ``change`` may turn any knob at a round. penalty: on the critic's slope at real points."""

    rounds: int = 900
    lr: float = 2e-3
    critic_lr: float = 2e-3
    momentum: float = 0.5
    penalty: float = 0.3
    every: int = 20
    change: Callable[[int, Game], None] = lambda number, game: None


def _net(inputs: int, outputs: int, width: int = 48) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )  # fmt: skip


def spots(n: int, rng: Rng) -> Tensor:
    """Points at six places on a circle, a little spread."""
    angle = np.pi / 3 * rng.integers(0, 6, n)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.08 * rng.standard_normal((n, 2))
    return torch.from_numpy(x.astype(np.float32))


def distance(a: Tensor, b: Tensor) -> float:
    """The sliced Wasserstein distance of two samples of equal size: the mean over sixteen directions."""
    angle = torch.arange(16) * torch.pi / 16
    along = torch.stack([angle.cos(), angle.sin()])
    return float(((a @ along).sort(dim=0)[0] - (b @ along).sort(dim=0)[0]).abs().mean())


def play(log: Log, game: Game, rng: Rng, names: tuple[str, str, str] = ("loss/G", "loss/D", "eval/swd")) -> None:
    """Non-saturating losses, one step each."""
    made, judge = _net(4, 2), _net(2, 1)
    held_out, soft = spots(400, rng), nn.functional.softplus
    first = torch.optim.Adam(made.parameters(), game.lr, betas=(game.momentum, 0.99))
    second = torch.optim.Adam(judge.parameters(), game.critic_lr, betas=(game.momentum, 0.99))
    for number in range(game.rounds):
        game.change(number, game)
        first.param_groups[0]["lr"], second.param_groups[0]["lr"] = game.lr, game.critic_lr
        real = spots(64, rng).requires_grad_(True)
        fake = made(torch.randn(64, 4))
        answer = judge(real)
        (slope,) = torch.autograd.grad(answer.sum(), real, create_graph=True)
        critic_loss = soft(-answer).mean() + soft(judge(fake.detach())).mean()
        second.zero_grad()
        (critic_loss + game.penalty * (slope**2).sum(dim=1).mean()).backward()
        second.step()
        loss = soft(-judge(fake)).mean()
        first.zero_grad()
        loss.backward()
        first.step()
        log.tick()
        if number % 5 == 0:
            log.scalar(names[0], float(loss.detach()), number)
            log.scalar(names[1], float(critic_loss.detach()), number)
        if number % game.every == 0:
            with torch.no_grad():
                log.scalar(names[2], distance(made(torch.randn(400, 4)), held_out), number)
