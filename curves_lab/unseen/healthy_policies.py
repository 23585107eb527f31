# SPDX-License-Identifier: Apache-2.0
"""Healthy policies of the test split, and a generator whose loss rises while what it makes gets better."""

from __future__ import annotations

import math

from curves_lab.log import Log
from curves_lab.unseen import policy, rivals, worlds
from curves_lab.unseen.book import BOOK, Rng
from curves_lab.unseen.policy import Course
from curves_lab.unseen.rivals import Game


@BOOK.add("healthy", "rollout/ep_rew_mean:max", 85)
def shop_actor_critic(log: Log, rng: Rng) -> None:
    policy.advantage_actor_critic(log, worlds.Shop(16, rng), Course(updates=300), rng)


@BOOK.add("healthy", "rollout/ep_rew_mean:max", 75)
def shop_rate_decays(log: Log, rng: Rng) -> None:
    """Few shops, so that returns are noisy; rate and entropy bonus go down to nothing, as in most recipes for Atari."""

    def change(update: int, course: Course) -> None:
        course.lr, course.explore = 1.5e-3 * (1 - update / 500), 0.05 * (1 - update / 500)

    policy.advantage_actor_critic(log, worlds.Shop(8, rng), Course(updates=500, every=2, change=change), rng)


@BOOK.add("healthy", "charts/episodic_return:max", -6, allowed="diverging")
def boiler_twin_delayed(log: Log, rng: Rng) -> None:
    """Worse than chance before it gets better; its critics' loss falls and rises."""
    course = Course(updates=600, explore=0.2, gamma=0.9, every=5)
    policy.twin_delayed(log, worlds.Boiler(8, rng), course, rng)


@BOOK.add("healthy", "charts/episodic_return:max", -6, allowed="diverging")
def boiler_explores_less_and_less(log: Log, rng: Rng) -> None:
    def change(update: int, course: Course) -> None:
        course.explore = 1.0 * math.exp(-update / 150)

    course = Course(updates=800, gamma=0.85, every=10, lr=2e-3, change=change)
    policy.twin_delayed(log, worlds.Boiler(8, rng), course, rng)


@BOOK.add("healthy", "ray/tune/env_runners/episode_return_mean:max", -16)
def wind_sarsa(log: Log, rng: Rng) -> None:
    policy.sarsa(log, worlds.Wind(rng), Course(updates=600, lr=0.3, gamma=1.0, explore=0.1, every=5), rng)


@BOOK.add("healthy", "ray/tune/env_runners/episode_return_mean:max", -18)
def wind_epsilon_falls(log: Log, rng: Rng) -> None:
    """At random for long: the return follows the schedule of epsilon more than what is learned."""

    def change(update: int, course: Course) -> None:
        course.explore = max(0.05, 1 - update / 700)

    course = Course(updates=1000, lr=0.2, gamma=1.0, every=10, change=change)
    policy.sarsa(log, worlds.Wind(rng), course, rng)


@BOOK.add("healthy", "eval/episode_reward:max", -9)
def lander_cross_entropy(log: Log, rng: Rng) -> None:
    policy.cross_entropy(log, worlds.Lander(rng), Course(updates=60, lr=0.7, explore=0.05), rng)


@BOOK.add("healthy", "online/click_rate:max", 0.66)
def visitors_bandit(log: Log, rng: Rng) -> None:
    """Regret, which counts as a cost, only ever grows."""
    policy.bandit(log, worlds.Visitors(200, rng), Course(updates=400, lr=0.03, explore=0.05, every=5), rng)


@BOOK.add("healthy", "eval/swd:min", 0.2)
def rivals_even(log: Log, rng: Rng) -> None:
    def change(number: int, game: Game) -> None:
        game.lr = game.critic_lr = 2e-3 * (1 - number / 1000)

    rivals.play(log, Game(change=change), rng)


@BOOK.add("healthy", "metrics/swd:min", 0.2, allowed="diverging")
def rivals_critic_ahead(log: Log, rng: Rng) -> None:
    """The critic learns faster and is bound less: the generator's loss rises while its points get better."""

    def change(number: int, game: Game) -> None:
        game.lr, game.critic_lr = 1e-3 * (1 - number / 1100), 5e-3 * (1 - number / 1100)

    game = Game(rounds=1000, penalty=0.1, every=25, change=change)
    rivals.play(log, game, rng, ("train/g_loss", "train/d_loss", "metrics/swd"))
