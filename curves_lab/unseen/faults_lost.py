# SPDX-License-Identifier: Apache-2.0
"""Faults of the test split by which what was learned is lost again: collapse, and learning by heart."""

from __future__ import annotations

import torch

from curves_lab.log import Log
from curves_lab.supervised import Batch, Fit, Plan
from curves_lab.unseen import data, nets, policy, rivals, worlds
from curves_lab.unseen.book import (
    BOOK,
    COMPOSER,
    FASTAI,
    HF,
    IGNITE,
    KERAS,
    LIGHTNING_EPOCHS,
    MMENGINE,
    NANOGPT,
    TUTORIAL,
    Rng,
    cosine,
    linear,
    teach,
)
from curves_lab.unseen.policy import Course

# --- collapse -----------------------------------------------------------------------------------------------------


@BOOK.add("collapse", "metrics/eval/MulticlassAccuracy:max", 0.7, since=500, allowed="diverging")
def perceiver_burnt(log: Log, rng: Rng) -> None:
    """Ten steps at a rate that is far too high: afterwards its attention answers nothing."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        fit.lr_factor = 100.0 if 500 <= step < 510 else 0.1 if step >= 510 else 1.0
        return batch

    plan = Plan(lr=3e-3, optimizer="adam", steps=1000, before=before)
    teach(log, rng, COMPOSER, nets.Perceiver(), data.needles(rng), plan).run()


@BOOK.add("collapse", "val/loss:min", 1.5, since=450)
def space_reads_noise(log: Log, rng: Rng) -> None:
    """From one file on targets are no longer shifted with their sentences, but drawn from all."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        if step < 450:
            return batch
        return batch[0], torch.from_numpy(fit.rng.integers(0, 8, tuple(batch[1].shape)))

    plan = Plan(lr=5e-3, optimizer="adam", steps=1000, log_every=5, eval_every=25, before=before)
    teach(log, rng, NANOGPT, nets.Space(), data.brackets(rng), plan).run()


@BOOK.add("collapse", "eval/loss:min", 0.2, since=400)
def hyper_pruned_to_nothing(log: Log, rng: Rng) -> None:
    """A pruning schedule takes all but one in fifty weights, and keeps them at nought."""
    masks: dict[str, torch.Tensor] = {}

    def after(step: int, fit: Fit, out: Log) -> None:
        with torch.no_grad():
            for name, weights in fit.model.named_parameters():
                if step == 400:
                    masks[name] = torch.rand_like(weights) < 0.02
                if step >= 400:
                    weights.mul_(masks[name])

    plan = Plan(lr=3e-3, optimizer="adam", steps=900, log_every=5, after=after, schedule=cosine(900, 50))
    teach(log, rng, HF, nets.Hyper(), data.curves(rng), plan).run()


@BOOK.add("collapse", "accuracy:max", 0.75, since=500)
def highway_labels_renumbered(log: Log, rng: Rng) -> None:
    """The next shard's labels are random: within a few epochs it is back at chance."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return batch if step < 500 else (batch[0], torch.from_numpy(fit.rng.integers(0, 2, len(batch[1]))))

    plan = Plan(lr=0.01, optimizer="adam", steps=1200, log_every=10, eval_every=30, before=before)
    teach(log, rng, FASTAI, nets.Highway(), data.hastie(rng), plan).run()


@BOOK.add("collapse", "rollout/ep_rew_mean:max", 60, since=27200, allowed="diverging")
def shop_rate_jumps(log: Log, rng: Rng) -> None:
    def change(update: int, course: Course) -> None:
        course.lr = 3e-3 if update < 170 else 1.0

    policy.advantage_actor_critic(log, worlds.Shop(16, rng), Course(updates=360, change=change), rng)


@BOOK.add("collapse", "charts/episodic_return:max", -8, since=3200, allowed="diverging")
def boiler_critic_runs_away(log: Log, rng: Rng) -> None:
    """A resumed run with a discount above one: what the critics promise grows without end."""

    def change(update: int, course: Course) -> None:
        course.gamma, course.lr = (0.9, 3e-3) if update < 400 else (1.1, 0.3)

    course = Course(updates=900, explore=0.2, every=5, change=change)
    policy.twin_delayed(log, worlds.Boiler(8, rng), course, rng)


@BOOK.add("collapse", "ray/tune/env_runners/episode_return_mean:max", -30, since=500)
def wind_epsilon_starts_again(log: Log, rng: Rng) -> None:
    """After a restart the schedule of epsilon is held at its first value: it acts at random."""

    def change(update: int, course: Course) -> None:
        course.explore = max(0.05, 1 - update / 250) if update < 500 else 1.0

    policy.sarsa(log, worlds.Wind(rng), Course(updates=900, lr=0.3, gamma=1.0, every=5, change=change), rng)


@BOOK.add("collapse", "online/click_rate:max", 0.6, since=300)
def visitors_features_reordered(log: Log, rng: Rng) -> None:
    """A new version of the service hands out its features in another order, and the models are served frozen."""
    world = worlds.Visitors(50, rng)

    def change(update: int, course: Course) -> None:
        if update == 300:
            world.taste, course.lr = world.taste[::-1, ::-1].copy(), 0.0

    policy.bandit(log, world, Course(updates=600, lr=0.5, explore=0.05, every=2, change=change), rng)


@BOOK.add("collapse", "eval/swd:min", 0.25, since=600, allowed="diverging")
def rivals_one_spot_left(log: Log, rng: Rng) -> None:
    """The generator's rate jumps: all its points end at one place, and the critic follows them in vain."""

    def change(number: int, game: rivals.Game) -> None:
        game.lr = 2e-3 if number < 600 else 0.3

    rivals.play(log, rivals.Game(rounds=1200, change=change), rng)


# --- overfitting --------------------------------------------------------------------------------------------------


@BOOK.add("overfitting", "val/loss:min", 0.15)
def unet_few_patches(log: Log, rng: Rng) -> None:
    plan = Plan(lr=5e-3, optimizer="adam", batch=16, steps=800, log_every=10, eval_every=25)
    teach(log, rng, MMENGINE, nets.UNet(width=16), data.photos(rng, noise=1.0).few(16), plan).run()


@BOOK.add("overfitting", "Loss/valid:min", 0.3)
def kan_few_and_noisy(log: Log, rng: Rng) -> None:
    plan = Plan(lr=2e-3, optimizer="adam", steps=900, log_every=5, eval_every=20)
    teach(log, rng, TUTORIAL, nets.kan(), data.impedance(rng, noise=1.0).few(100), plan).run()


@BOOK.add("overfitting", "validation/epoch_loss:min", 0.5)
def highway_wrong_labels(log: Log, rng: Rng) -> None:
    d = data.hastie(rng).few(300).mislabelled(0.35, rng)
    plan = Plan(lr=2e-3, optimizer="adam", steps=430, eval_every=10, epoch_means=True)
    teach(log, rng, KERAS, nets.Highway(), d, plan).run()


@BOOK.add("overfitting", "eval/loss:min", 1.5)
def space_few_sentences(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.01, optimizer="adam", batch=16, steps=700, log_every=10, eval_every=25, schedule=linear(800, 20))
    teach(log, rng, HF, nets.Space(width=64), data.brackets(rng).few(40), plan).run()


@BOOK.add("overfitting", "valid_loss:min", 1.8)
def flow_few_points(log: Log, rng: Rng) -> None:
    plan = Plan(lr=5e-4, optimizer="adam", steps=700, log_every=5, eval_every=20)
    teach(log, rng, FASTAI, nets.Flow(width=64), data.dunes(rng).few(40), plan, nets.Likelihood).run()


@BOOK.add("overfitting", "val_loss:min", 0.9)
def cross_few_offers(log: Log, rng: Rng) -> None:
    plan = Plan(lr=5e-3, optimizer="adam", steps=720, eval_every=12, epoch_means=True)
    teach(log, rng, LIGHTNING_EPOCHS, nets.Cross(width=48), data.offers(rng, noise=2.0).few(90), plan).run()


@BOOK.add("overfitting", "validation/mse:min", 0.4)
def liquid_noisy_windows(log: Log, rng: Rng) -> None:
    plan = Plan(lr=5e-3, optimizer="adam", batch=16, steps=700, log_every=5, eval_every=20)
    teach(log, rng, IGNITE, nets.Liquid(width=32), data.glass(rng, noise=0.7).few(40), plan).run()
