# SPDX-License-Identifier: Apache-2.0
"""Policies of the test split: A2C with GAE, TD3, Sarsa, the cross-entropy method and a contextual bandit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from curves_lab.log import Log
from curves_lab.unseen.worlds import Boiler, Lander, Shop, Visitors, Wind

Rng = np.random.Generator
Floats = np.ndarray
TRIES = 80  # updates of TD3 in which it acts at random and does not learn


@dataclass
class Course:
    """How to learn; ``change`` may turn any knob at an update (an episode for Sarsa, a round for the others).

    explore: the entropy bonus of A2C, the noise of TD3, Sarsa's and the bandit's epsilon, the least spread of the
    cross-entropy method. every: updates from log to log. epochs: optimizer steps for each update, where there are any.
    """

    updates: int = 300
    lr: float = 3e-3
    gamma: float = 0.95
    explore: float = 0.01
    sign: float = 1.0
    every: int = 1
    epochs: int = 1
    change: Callable[[int, Course], None] = lambda update, course: None


def _net(inputs: int, outputs: int, width: int = 32) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ELU(), nn.Linear(width, width), nn.ELU(), nn.Linear(width, outputs)
    )


class Episodes:
    """The returns of the last twenty episodes of ``n`` copies."""

    def __init__(self, n: int) -> None:
        self.running, self.recent = np.zeros(n), deque[float](maxlen=20)
        self.whole = np.zeros(n, bool)  # the first of each copy began in its midst

    def add(self, reward: Floats, done: np.ndarray) -> None:
        self.running += reward
        self.recent.extend(self.running[done & self.whole].tolist())
        self.whole |= done
        self.running[done] = 0


def advantage_actor_critic(log: Log, shop: Shop, course: Course, rng: Rng, length: int = 10) -> None:
    """A2C with generalised advantages, actor and critic apart; tags as Stable-Baselines3 writes them."""
    actor, critic, episodes = _net(shop.size, shop.actions), _net(shop.size, 1), Episodes(shop.n)
    optimizer = torch.optim.RMSprop([*actor.parameters(), *critic.parameters()], course.lr)
    for update in range(course.updates):
        course.change(update, course)
        optimizer.param_groups[0]["lr"] = course.lr
        seen, done, rewards, ends = [], [], [], []
        for _ in range(length):
            x = torch.from_numpy(shop.observe())
            with torch.no_grad():
                noise = torch.from_numpy(rng.gumbel(size=(shop.n, shop.actions)).astype(np.float32))
                action = torch.nan_to_num(actor(x) + noise).argmax(dim=1)
            reward, end = shop.act(action.numpy())
            episodes.add(reward, end)
            seen.append(x), done.append(action), rewards.append(course.sign * reward), ends.append(end)
        x = torch.stack([*seen, torch.from_numpy(shop.observe())])
        gains, goals = _generalised(critic, x, rewards, ends, course.gamma)
        losses = _step(actor, critic, optimizer, x[:-1].flatten(0, 1), torch.cat(done), gains, goals, course.explore)
        step = (update + 1) * length * shop.n
        log.tick()
        if update % course.every == 0 and episodes.recent:
            log.scalar("rollout/ep_rew_mean", float(np.mean(episodes.recent)), step)
            for name, value in zip(("policy_loss", "value_loss", "entropy_loss"), losses, strict=True):
                log.scalar(f"train/{name}", value, step)
            log.scalar("train/learning_rate", course.lr, step)


def _generalised(
    critic: nn.Module, x: Tensor, rewards: list[Floats], ends: list[np.ndarray], gamma: float, trace: float = 0.9
) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        worth = critic(x)[..., 0].numpy()
    gain, gains = np.zeros(x.shape[1]), []
    for t in reversed(range(len(rewards))):
        surprise = rewards[t] + gamma * worth[t + 1] * ~ends[t] - worth[t]
        gain = surprise + gamma * trace * gain * ~ends[t]
        gains.append(gain)
    flat = np.concatenate(gains[::-1]).astype(np.float32)
    return torch.from_numpy(flat), torch.from_numpy(flat + worth[:-1].ravel().astype(np.float32))


def _step(
    actor: nn.Module, critic: nn.Module, optimizer: torch.optim.Optimizer,
    x: Tensor, action: Tensor, gain: Tensor, goal: Tensor, bonus: float,
) -> tuple[float, float, float]:  # fmt: skip
    chances = torch.log_softmax(actor(x), dim=1)
    entropy = -(chances.exp() * chances).sum(dim=1).mean()
    scaled = (gain - gain.mean()) / (gain.std() + 1e-6)
    policy_loss = -(scaled * chances.gather(1, action[:, None])[:, 0]).mean()
    value_loss = ((critic(x)[:, 0] - goal) ** 2).mean()
    optimizer.zero_grad()
    (policy_loss + 0.1 * value_loss - bonus * entropy).backward()
    nn.utils.clip_grad_norm_(actor.parameters(), 0.5)
    optimizer.step()
    return float(policy_loss.detach()), float(value_loss.detach()), -float(entropy.detach())


def twin_delayed(log: Log, boiler: Boiler, course: Course, rng: Rng) -> None:
    """TD3: two critics, slow targets, a late actor; tags as CleanRL writes them."""
    actor, critics = _net(3, 1), [_net(4, 1), _net(4, 1)]
    slow_actor, slow_critics = _net(3, 1), [_net(4, 1), _net(4, 1)]
    pairs = [(actor, slow_actor), *zip(critics, slow_critics, strict=True)]
    for net, slow in pairs:
        slow.load_state_dict(net.state_dict())
    optimizers = [torch.optim.Adam(actor.parameters()), torch.optim.Adam([p for c in critics for p in c.parameters()])]
    memory, episodes, losses = deque[tuple[Floats, Floats, Floats, Floats]](maxlen=600), Episodes(boiler.n), (0.0, 0.0)
    for update in range(course.updates):
        course.change(update, course)
        before = boiler.observe()
        with torch.no_grad():
            valve = torch.tanh(actor(torch.from_numpy(before)))[:, 0].numpy()
        valve = np.clip(valve + course.explore * rng.standard_normal(boiler.n), -1, 1).astype(np.float32)
        if update < TRIES:
            valve = rng.uniform(-1, 1, boiler.n).astype(np.float32)
        reward, done = boiler.act(valve)
        memory.append((before, valve, (course.sign * reward).astype(np.float32), boiler.observe()))
        episodes.add(reward, done)
        log.tick()
        if update >= TRIES:
            for optimizer in optimizers:
                optimizer.param_groups[0]["lr"] = course.lr
            losses = _improve(pairs, optimizers, course, memory, rng, late=update % 2 == 0)
        if update % course.every == 0 and episodes.recent and update >= TRIES:
            step = update * boiler.n
            log.scalar("charts/episodic_return", float(np.mean(episodes.recent)), step)
            log.scalar("losses/qf_loss", losses[0], step)
            log.scalar("losses/actor_loss", losses[1], step)


def _improve(
    pairs: list[tuple[nn.Sequential, nn.Sequential]], optimizers: list[torch.optim.Adam], course: Course,
    memory: deque[tuple[Floats, Floats, Floats, Floats]], rng: Rng, late: bool,
) -> tuple[float, float]:  # fmt: skip
    (actor, slow_actor), *critics = pairs
    rows = [memory[i] for i in rng.integers(0, len(memory), 12)]
    x, valve, reward, after = (torch.from_numpy(np.concatenate(part)) for part in zip(*rows, strict=True))
    with torch.no_grad():
        ahead = torch.tanh(slow_actor(after)) + (0.1 * torch.randn(len(x), 1)).clamp(-0.2, 0.2)
        follow = torch.cat([after, ahead.clamp(-1, 1)], dim=1)
        goal = reward[:, None] + course.gamma * torch.minimum(*(slow(follow) for _, slow in critics))
    done = torch.cat([x, valve[:, None]], dim=1)
    critic_loss = sum((((net(done) - goal) ** 2).mean() for net, _ in critics), torch.zeros(()))
    optimizers[1].zero_grad()
    critic_loss.backward()
    optimizers[1].step()
    actor_loss = -critics[0][0](torch.cat([x, torch.tanh(actor(x))], dim=1)).mean()
    if late:
        optimizers[0].zero_grad()
        actor_loss.backward()
        optimizers[0].step()
        with torch.no_grad():
            for net, slow in pairs:
                for new, old in zip(net.parameters(), slow.parameters(), strict=True):
                    old.lerp_(new, 0.03)
    return float(critic_loss.detach()), float(actor_loss.detach())


def sarsa(log: Log, wind: Wind, course: Course, rng: Rng) -> None:
    """Sarsa over a table; tags as RLlib writes them, means over the episodes since the last."""
    table, returns = np.zeros((wind.cells, wind.actions)), []

    def choose(cell: int) -> int:
        greedy = rng.random() >= course.explore
        return int(table[cell].argmax()) if greedy else int(rng.integers(wind.actions))

    for update in range(course.updates):
        course.change(update, course)
        cell, done, total, errors = wind.start(), False, 0.0, []
        action = choose(cell)
        while not done:
            after, reward, done = wind.act(action)
            ahead = choose(after)
            error = course.sign * reward + course.gamma * table[after, ahead] * (not done) - table[cell, action]
            table[cell, action] += course.lr * error
            errors.append(error**2)
            total, cell, action = total + reward, after, ahead
        log.tick()
        returns.append(total)
        if update % course.every == 0:
            log.scalar("ray/tune/env_runners/episode_return_mean", float(np.mean(returns)), update)
            log.scalar("ray/tune/learners/default_policy/td_error", float(np.mean(errors)), update)
            returns.clear()


def cross_entropy(log: Log, lander: Lander, course: Course, rng: Rng, tried: int = 40) -> None:
    """The cross-entropy method: the next are sought where the best fifth of the tried are. There is no loss."""
    centre, spread = np.zeros(4), np.full(4, 0.5)
    for update in range(course.updates):
        course.change(update, course)
        knobs = centre + spread * rng.standard_normal((tried, 4))
        returns = lander.returns(knobs)
        best = knobs[(course.sign * returns).argsort()[-tried // 5 :]]
        centre = centre + course.lr * (best.mean(axis=0) - centre)
        spread = np.maximum(spread + course.lr * (best.std(axis=0) - spread), course.explore)
        log.tick()
        log.scalar("eval/episode_reward", float(lander.returns(np.tile(centre, (60, 1))).mean()), update)
        log.scalar("cem/spread", float(spread.mean()), update)


def bandit(log: Log, visitors: Visitors, course: Course, rng: Rng) -> None:
    """Logistic models of the clicks, one for each page, and the best page for most; regret only grows."""
    models, regret = np.zeros((visitors.features, visitors.pages)), 0.0
    for update in range(course.updates):
        course.change(update, course)
        seen = visitors.come()
        chances = 1 / (1 + np.exp(-(seen @ models)))
        at_random = rng.random(visitors.n) < course.explore
        shown = np.where(at_random, rng.integers(0, visitors.pages, visitors.n), chances.argmax(axis=1))
        clicks = visitors.click(seen, shown)
        guessed = np.clip(chances[np.arange(visitors.n), shown], 1e-6, 1 - 1e-6)
        log_loss = -float((clicks * np.log(guessed) + (1 - clicks) * np.log(1 - guessed)).mean())
        for page in range(visitors.pages):
            mine = shown == page
            models[:, page] += course.lr * seen[mine].T @ (course.sign * (clicks - guessed)[mine]) / visitors.n
        likes = seen @ visitors.taste
        regret += float((likes.max(axis=1) - likes[np.arange(visitors.n), shown]).mean())
        log.tick()
        if update % course.every == 0:
            log.scalar("online/click_rate", float(clicks.mean()), update)
            log.scalar("online/log_loss", log_loss, update)
            log.scalar("online/regret", regret, update)
