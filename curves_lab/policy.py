# SPDX-License-Identifier: Apache-2.0
"""Reinforcement learning small enough for seconds: five environments, an actor-critic and a Q-learner.

Returns are not normalised, so a healthy critic's loss rises with the returns that it predicts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from curves_lab.log import Log
from curves_lab.nets import mlp

Floats = np.ndarray


class Env(Protocol):
    """``n`` copies in step; an episode that ends starts anew at once."""

    n: int
    size: int
    actions: int

    def observe(self) -> Floats: ...
    def act(self, actions: np.ndarray) -> tuple[Floats, np.ndarray]: ...


class CartPole:
    """The classic: +1 for each step upright, at most 200."""

    size, actions = 4, 2

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.n, self.rng = n, rng
        self.state = rng.uniform(-0.05, 0.05, (n, 4))
        self.age = np.zeros(n, int)

    def observe(self) -> Floats:
        return self.state * np.array([0.5, 0.5, 4.0, 0.5])

    def act(self, actions: np.ndarray) -> tuple[Floats, np.ndarray]:
        x, v, angle, spin = self.state.T
        force = np.where(actions == 1, 10.0, -10.0)
        common = (force + 0.05 * spin**2 * np.sin(angle)) / 1.1
        turn = (9.8 * np.sin(angle) - np.cos(angle) * common) / (0.5 * (4 / 3 - 0.1 * np.cos(angle) ** 2 / 1.1))
        push = common - 0.05 * turn * np.cos(angle) / 1.1
        self.state = np.stack([x + 0.02 * v, v + 0.02 * push, angle + 0.02 * spin, spin + 0.02 * turn], axis=1)
        self.age += 1
        done = (abs(self.state[:, 0]) > 2.4) | (abs(self.state[:, 2]) > 0.21) | (self.age >= 200)
        self.state[done] = self.rng.uniform(-0.05, 0.05, (int(done.sum()), 4))
        self.age[done] = 0
        return np.ones(self.n), done


class PointMass:
    """Hold a mass at a goal on a line: reward is minus the distance, 40 steps; returns are negative."""

    size, actions = 2, 3

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.n, self.rng = n, rng
        self.place, self.speed, self.age = rng.uniform(-1, 1, n), np.zeros(n), rng.integers(0, 40, n)

    def observe(self) -> Floats:
        return np.stack([self.place, self.speed], axis=1)

    def act(self, actions: np.ndarray) -> tuple[Floats, np.ndarray]:
        self.speed = 0.9 * self.speed + 0.08 * (actions - 1)
        self.place = np.clip(self.place + self.speed, -2, 2)
        self.age += 1
        reward, done = -abs(self.place), self.age >= 40
        self.place[done] = self.rng.uniform(-1, 1, int(done.sum()))
        self.speed[done], self.age[done] = 0, 0
        return reward, done


class Corridor:
    """Sparse reward: 1 for the far end of a corridor, nothing before; takes off late."""

    actions = 2

    def __init__(self, n: int, rng: np.random.Generator, length: int = 9) -> None:
        self.n, self.size = n, length
        self.place, self.age = np.zeros(n, int), rng.integers(0, 3 * length, n)

    def observe(self) -> Floats:
        return np.eye(self.size)[self.place]

    def act(self, actions: np.ndarray) -> tuple[Floats, np.ndarray]:
        self.place = np.clip(self.place + 2 * actions - 1, 0, self.size - 1)
        self.age += 1
        won = self.place == self.size - 1
        done = won | (self.age >= 3 * self.size)
        self.place[done], self.age[done] = 0, 0
        return won.astype(float), done


class Catch:
    """A ball falls through a 5 x 7 grid; a paddle at the bottom has to be under it: +1 or -1 per episode."""

    size, actions = 3, 3

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.n, self.rng = n, rng
        self.ball, self.height = rng.integers(0, 5, n), rng.integers(1, 7, n)
        self.paddle = np.full(n, 2)

    def observe(self) -> Floats:
        return np.stack([self.ball / 2 - 1, self.paddle / 2 - 1, self.height / 3 - 1], axis=1)

    def act(self, actions: np.ndarray) -> tuple[Floats, np.ndarray]:
        self.paddle = np.clip(self.paddle + actions - 1, 0, 4)
        self.height = self.height - 1
        done = self.height <= 0
        reward = np.where(done, np.where(self.paddle == self.ball, 1.0, -1.0), 0.0)
        self.ball[done], self.height[done] = self.rng.integers(0, 5, int(done.sum())), 6
        return reward, done


class Cliff:
    """Walk along a cliff to the goal: -1 a step, -30 and back to the start for a fall, 60 steps at most."""

    size, actions = 2, 4

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.n, self.rng = n, rng
        self.x, self.y, self.age = np.zeros(n, int), np.zeros(n, int), rng.integers(0, 60, n)

    def observe(self) -> Floats:
        return np.stack([self.x / 3 - 1, self.y - 1], axis=1).astype(float)

    def act(self, actions: np.ndarray) -> tuple[Floats, np.ndarray]:
        self.x = np.clip(self.x + (actions == 0) - (actions == 1), 0, 6)
        self.y = np.clip(self.y + (actions == 2) - (actions == 3), 0, 2)
        self.age += 1
        fell = (self.y == 0) & (self.x > 0) & (self.x < 6)
        home = (self.y == 0) & (self.x == 6)
        done = home | (self.age >= 60)
        self.x[fell | done], self.y[fell | done], self.age[done] = 0, 0, 0
        return np.where(fell, -30.0, -1.0) + 20.0 * home, done


@dataclass
class Course:
    """How to learn a policy. ``change`` may turn any of these knobs at an update: that is where faults come in.

    raw: log every episode's return, as some trainers do, instead of the mean over the last twenty.
    """

    updates: int = 250
    length: int = 16
    lr: float = 3e-3
    gamma: float = 0.98
    entropy: float = 0.01
    clip: float | None = None
    epochs: int = 1
    grad_clip: float = 1.0
    raw: bool = False
    reward_scale: float = 1.0
    return_tag: str = "charts/episodic_return"
    change: Callable[[int, Course, nn.Module], None] = lambda update, course, net: None


class Returns:
    """Sums up the episodes of all copies."""

    def __init__(self, env: Env) -> None:
        self.running = np.zeros(env.n)
        self.recent: deque[float] = deque(maxlen=20)

    def add(self, reward: Floats, done: np.ndarray) -> list[float]:
        self.running += reward
        ended = [float(r) for r in self.running[done]]
        self.running[done] = 0
        self.recent.extend(ended)
        return ended


def actor_critic(log: Log, env: Env, course: Course, rng: np.random.Generator) -> None:
    """A2C, or PPO where ``clip`` is set; the step is the count of environment steps."""
    net = mlp(env.size, env.actions + 1, 48, 2, nn.Tanh)
    optimizer = torch.optim.Adam(net.parameters(), course.lr)
    returns, steps = Returns(env), 0
    for update in range(course.updates):
        course.change(update, course, net)
        for group in optimizer.param_groups:
            group["lr"] = course.lr
        rollout = _rollout(net, env, course, returns, log, steps, rng)
        steps += course.length * env.n
        losses = _improve(net, optimizer, course, *rollout)
        if returns.recent and not course.raw:
            log.scalar(course.return_tag, float(np.mean(returns.recent)), steps)
        for name, value in zip(("value_loss", "policy_loss", "entropy"), losses, strict=True):
            log.scalar(f"losses/{name}", value, steps)
        log.scalar("charts/learning_rate", course.lr, steps)
        log.tick()


def _rollout(
    net: nn.Module, env: Env, course: Course, returns: Returns, log: Log, steps: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    seen, acted, rewards, ends = [], [], [], []
    for t in range(course.length):
        x = torch.from_numpy(env.observe().astype(np.float32))
        with torch.no_grad():
            logits = net(x)[:, :-1]
        noise = torch.from_numpy(rng.gumbel(size=logits.shape).astype(np.float32))
        action = torch.nan_to_num(logits + noise).argmax(1)
        reward, done = env.act(action.numpy())
        for value in returns.add(reward, done):
            if course.raw:
                log.scalar(course.return_tag, value, steps + t * env.n)
        seen.append(x), acted.append(action), rewards.append(reward * course.reward_scale), ends.append(done)
    with torch.no_grad():
        ahead = net(torch.from_numpy(env.observe().astype(np.float32)))[:, -1].numpy().astype(float)
    goals = []
    for reward, done in zip(reversed(rewards), reversed(ends), strict=True):
        ahead = reward + course.gamma * ahead * ~done
        goals.append(ahead)
    target = torch.from_numpy(np.stack(goals[::-1]).astype(np.float32))
    return torch.stack(seen).flatten(0, 1), torch.stack(acted).flatten(), target.flatten(), target


def _improve(
    net: nn.Module, optimizer: torch.optim.Optimizer, course: Course, x: Tensor, action: Tensor, goal: Tensor, _: Tensor
) -> tuple[float, float, float]:
    with torch.no_grad():
        old = torch.log_softmax(net(x)[:, :-1], 1).gather(1, action[:, None])[:, 0]
    for _epoch in range(course.epochs):
        out = net(x)
        chances, value = torch.log_softmax(out[:, :-1], 1), out[:, -1]
        gain = (goal - value).detach()
        gain = (gain - gain.mean()) / (gain.std() + 1e-6)
        log_p = chances.gather(1, action[:, None])[:, 0]
        ratio = (log_p - old).exp()
        bounded = ratio.clamp(1 - course.clip, 1 + course.clip) if course.clip else ratio
        policy_loss = -torch.minimum(ratio * gain, bounded * gain).mean()
        value_loss = ((goal - value) ** 2).mean()
        entropy = -(chances.exp() * chances).sum(1).mean()
        optimizer.zero_grad()
        (policy_loss + 0.5 * value_loss / 10 - course.entropy * entropy).backward()
        nn.utils.clip_grad_norm_(net.parameters(), course.grad_clip)
        optimizer.step()
    return float(value_loss.detach()), float(policy_loss.detach()), float(entropy.detach())


def q_learning(log: Log, env: Env, course: Course, rng: np.random.Generator, target_every: int = 50) -> None:
    """DQN with a replay buffer and a target net; epsilon falls over the first third."""
    net, target = mlp(env.size, env.actions, 48), mlp(env.size, env.actions, 48)
    target.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), course.lr)
    memory: deque[tuple[Floats, int, float, Floats, bool]] = deque(maxlen=6000)
    returns = Returns(env)
    for update in range(course.updates):
        course.change(update, course, net)
        for group in optimizer.param_groups:
            group["lr"] = course.lr
        epsilon = max(0.05, 1 - 3 * update / course.updates)
        before = env.observe().astype(np.float32)
        with torch.no_grad():
            best = torch.nan_to_num(net(torch.from_numpy(before))).argmax(1).numpy()
        action = np.where(rng.random(env.n) < epsilon, rng.integers(0, env.actions, env.n), best)
        reward, done = env.act(action)
        after = env.observe().astype(np.float32)
        memory.extend(zip(before, action, reward * course.reward_scale, after, done, strict=True))
        ended = returns.add(reward, done)
        step = update * env.n
        for value in ended if course.raw else ():
            log.scalar(course.return_tag, value, step)
        if ended and not course.raw:
            log.scalar(course.return_tag, float(np.mean(returns.recent)), step)
        if len(memory) >= 64:
            loss = _fit_q(net, target, optimizer, course, memory, rng)
            if update % 10 == 0:
                log.scalar("losses/td_loss", loss, step)
        if update % target_every == 0:
            target.load_state_dict(net.state_dict())
        log.tick()


def _fit_q(
    net: nn.Module,
    target: nn.Module,
    optimizer: torch.optim.Optimizer,
    course: Course,
    memory: deque[tuple[Floats, int, float, Floats, bool]],
    rng: np.random.Generator,
) -> float:
    batch = [memory[i] for i in rng.integers(0, len(memory), 64)]
    x, action, reward, after, done = (torch.from_numpy(np.array(part)) for part in zip(*batch, strict=True))
    with torch.no_grad():
        goal = reward.float() + course.gamma * target(after).max(1)[0] * ~done
    loss = ((net(x).gather(1, action.long()[:, None])[:, 0] - goal) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), course.grad_clip)
    optimizer.step()
    return float(loss.detach())
