# SPDX-License-Identifier: Apache-2.0
"""Policies of the third part: soft actor-critic, REINFORCE and an evolution strategy on two small worlds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from curves_lab.log import Log

Rng = np.random.Generator
Floats = np.ndarray


class Hover:
    """``n`` masses pulled down, to be held at zero by a push in [-1, 1]; thirty steps, cost grows with distance."""

    def __init__(self, n: int, rng: Rng) -> None:
        self.n, self.rng = n, rng
        self.place, self.speed = rng.uniform(-1, 1, n), np.zeros(n)
        self.age = rng.integers(0, 30, n)

    def observe(self) -> Floats:
        return np.stack([self.place, self.speed], axis=1).astype(np.float32)

    def act(self, push: Floats) -> tuple[Floats, np.ndarray]:
        self.speed = 0.9 * self.speed + 0.2 * (np.clip(push, -1, 1) - 0.3)
        self.place = np.clip(self.place + 0.3 * self.speed, -3, 3)
        self.age += 1
        reward, done = -(self.place**2) - 0.05 * self.speed**2, self.age >= 30
        self.place[done], self.speed[done], self.age[done] = self.rng.uniform(-1, 1, int(done.sum())), 0, 0
        return reward, done


class Signs:
    """Eight signs in a row, four things to do at each: 1 for the right one. With ``all_or_nothing`` only for all."""

    def __init__(self, n: int, rng: Rng, length: int = 8, all_or_nothing: bool = False) -> None:
        self.n, self.rng, self.length, self.sparse = n, rng, length, all_or_nothing
        self.right = rng.integers(0, 4, 6)

    def episodes(self, choose: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray, Floats]:
        """One episode of each copy: the signs and what was done, shape (length, n), and the returns, shape (n,)."""
        seen = self.rng.integers(0, 6, (self.length, self.n))
        done = np.stack([choose(row) for row in seen])
        hits = (done == self.right[seen]).sum(axis=0)
        return seen, done, (hits == self.length).astype(float) if self.sparse else hits.astype(float)


@dataclass
class Course:
    """How to learn; ``change`` may turn any knob at an update. entropy: the temperature of the soft actor-critic."""

    updates: int = 700
    lr: float = 3e-3
    entropy: float = 0.02
    sign: float = 1.0
    spread: float = 0.3
    tag: str = "rollout/ep_rew_mean"
    change: Callable[[int, Course], None] = lambda update, course: None


def _net(inputs: int, outputs: int, width: int = 32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                         nn.Linear(width, outputs))  # fmt: skip


def _sample(actor: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_std = actor(x).chunk(2, dim=1)
    log_std = log_std.clamp(-4, 1)
    noise = torch.randn_like(mean)
    push = torch.tanh(mean + log_std.exp() * noise)
    return push, -0.5 * noise**2 - log_std - torch.log(1 - push**2 + 1e-4)


def soft_actor_critic(log: Log, env: Hover, course: Course, rng: Rng) -> None:
    """Two critics, slow targets, a squashed Gaussian; one update per step of all copies."""
    actor, critics, targets = _net(2, 2), [_net(3, 1) for _ in range(2)], [_net(3, 1) for _ in range(2)]
    for critic, target in zip(critics, targets, strict=True):
        target.load_state_dict(critic.state_dict())
    weights = [p for critic in critics for p in critic.parameters()]
    optimizers = torch.optim.Adam(actor.parameters(), course.lr), torch.optim.Adam(weights, course.lr)
    memory: deque[tuple[Floats, float, float, Floats]] = deque(maxlen=5000)
    running, recent = np.zeros(env.n), deque[float](maxlen=20)
    for update in range(course.updates):
        course.change(update, course)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = course.lr
        before = env.observe()
        with torch.no_grad():
            push = _sample(actor, torch.from_numpy(before))[0][:, 0].numpy()
        reward, done = env.act(push)
        memory.extend(zip(before, push, course.sign * reward, env.observe(), strict=True))
        running += reward
        recent.extend(running[done].tolist())
        running[done] = 0
        log.tick()
        losses = _improve(actor, critics, targets, optimizers, course.entropy, memory, rng)
        if update % 5 == 0 and recent:
            for tag, value in zip(("critic_loss", "actor_loss"), losses, strict=True):
                log.scalar(f"train/{tag}", value, update * env.n)
            log.scalar("train/ent_coef", course.entropy, update * env.n)
            log.scalar(course.tag, float(np.mean(recent)), update * env.n)


def _improve(
    actor: nn.Module,
    critics: list[nn.Sequential],
    targets: list[nn.Sequential],
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    entropy: float,
    memory: deque[tuple[Floats, float, float, Floats]],
    rng: Rng,
) -> tuple[float, float]:
    batch = [memory[i] for i in rng.integers(0, len(memory), 48)]
    x, push, reward, after = (torch.from_numpy(np.array(part, np.float32)) for part in zip(*batch, strict=True))
    with torch.no_grad():
        ahead, log_p = _sample(actor, after)
        worth = torch.minimum(*(target(torch.cat([after, ahead], dim=1)) for target in targets))
        goal = reward[:, None] + 0.95 * (worth - entropy * log_p)
    seen = torch.cat([x, push[:, None]], dim=1)
    critic_loss = sum(((critic(seen) - goal) ** 2).mean() for critic in critics)
    optimizers[1].zero_grad()
    critic_loss.backward()
    optimizers[1].step()
    new, log_p = _sample(actor, x)
    worth = torch.minimum(*(critic(torch.cat([x, new], dim=1)) for critic in critics))
    actor_loss = (entropy * log_p - worth).mean()
    optimizers[0].zero_grad()
    actor_loss.backward()
    optimizers[0].step()
    with torch.no_grad():
        for critic, target in zip(critics, targets, strict=True):
            for new_p, old_p in zip(critic.parameters(), target.parameters(), strict=True):
                old_p.lerp_(new_p, 0.02)
    return float(critic_loss.detach()), float(actor_loss.detach())


def reinforce(log: Log, env: Signs, course: Course, rng: Rng) -> None:
    """The plain policy gradient, with the mean return as its baseline."""
    policy = nn.Embedding(6, 4)
    nn.init.zeros_(policy.weight)
    optimizer = torch.optim.SGD(policy.parameters(), course.lr)

    def choose(signs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            noise = torch.from_numpy(rng.gumbel(size=(len(signs), 4)).astype(np.float32))
            return (policy(torch.from_numpy(signs)) + noise).argmax(dim=1).numpy()

    for update in range(course.updates):
        course.change(update, course)
        optimizer.param_groups[0]["lr"] = course.lr
        seen, done, returns = env.episodes(choose)
        gain = torch.from_numpy((course.sign * (returns - returns.mean())).astype(np.float32))
        chances = torch.log_softmax(policy(torch.from_numpy(seen)), dim=2)
        log_p = chances.gather(2, torch.from_numpy(done)[..., None])[..., 0].sum(dim=0)
        loss = -(gain * log_p).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        log.tick()
        log.scalar(course.tag, float(returns.mean()), update)
        log.scalar("policy_loss", float(loss.detach()), update)


def evolve(log: Log, env: Hover, course: Course, rng: Rng) -> None:
    """An evolution strategy over a linear controller; ``spread`` is its sigma, and the log knows no loss at all."""
    centre = np.zeros(3)
    for update in range(course.updates):
        course.change(update, course)
        tried = rng.standard_normal((env.n, 3))
        env.age[:] = 0
        env.place, env.speed = rng.uniform(-1, 1, env.n), np.zeros(env.n)
        knobs, fitness = centre + course.spread * tried, np.zeros(env.n)
        for _ in range(29):
            seen = env.observe()
            reward, _ = env.act(knobs[:, 0] * seen[:, 0] + knobs[:, 1] * seen[:, 1] + knobs[:, 2])
            fitness += reward
        rank = fitness.argsort().argsort() / (env.n - 1) - 0.5
        centre = centre + course.sign * course.lr * (rank @ tried) / (env.n * course.spread)
        log.tick()
        log.scalar(course.tag, float(fitness.mean()), update)
        log.scalar("population/spread", float(fitness.std()), update)
