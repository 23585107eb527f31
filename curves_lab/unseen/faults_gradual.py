# SPDX-License-Identifier: Apache-2.0
"""Faults of the test split that are there all along: nothing learned, too slowly, too little, to and fro."""

from __future__ import annotations

import torch

from curves_lab.log import Log
from curves_lab.supervised import Batch, Fit, Plan
from curves_lab.unseen import data, nets, policy, worlds
from curves_lab.unseen.book import (
    BOOK,
    COMPOSER,
    FASTAI,
    HF,
    IGNITE,
    LIGHTNING,
    LIGHTNING_EPOCHS,
    MMENGINE,
    NANOGPT,
    TUTORIAL,
    Rng,
    cosine,
    linear,
    teach,
)

# --- never-learns -------------------------------------------------------------------------------------------------


@BOOK.add("never-learns", "metrics/eval/MulticlassAccuracy:max", 0.6)
def perceiver_joined_wrongly(log: Log, rng: Rng) -> None:
    """Features and labels are joined by a key that is drawn anew at each start of the loader."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return batch[0].roll(1 + step % 7, dims=0), batch[1]

    plan = Plan(lr=2e-3, optimizer="adam", steps=900, eval_every=30, before=before, schedule=linear(900, 90))
    teach(log, rng, COMPOSER, nets.Perceiver(), data.needles(rng), plan).run()


@BOOK.add("never-learns", "eval/accuracy:max", 0.75)
def highway_gates_shut(log: Log, rng: Rng) -> None:
    """Gates begin at minus thirty: what is left is a line, and a line can't tell the classes apart."""
    plan = Plan(lr=0.01, weight_decay=0.01, steps=1200, log_every=10, eval_every=40)
    teach(log, rng, HF, nets.Highway(gate=-30.0), data.hastie(rng), plan).run()


@BOOK.add("never-learns", "accuracy/top1:max", 60.0)
def radial_not_standardised(log: Log, rng: Rng) -> None:
    """Features are in other units by a factor of forty: no bump sees any of them."""
    plan = Plan(lr=0.05, momentum=0.9, steps=800, log_every=5)
    d = data.shells(rng)
    d.x.mul_(40)
    d.x_val.mul_(40)
    teach(log, rng, MMENGINE, nets.Radial(), d, plan).run()


@BOOK.add("never-learns", "val/loss:min", 1.7)
def space_optimizer_without_rate(log: Log, rng: Rng) -> None:
    """A rate of 3e-3 that is divided by a million somewhere."""
    plan = Plan(lr=3e-9, optimizer="adam", steps=1000, log_every=2, eval_every=25)
    teach(log, rng, NANOGPT, nets.Space(), data.brackets(rng), plan).run()


@BOOK.add("never-learns", "val_loss:min", 0.4, allowed="slow")
def liquid_other_targets(log: Log, rng: Rng) -> None:
    """Windows and targets were shuffled apart; each epoch is logged once."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return batch[0], fit.data.y[torch.from_numpy(fit.rng.integers(0, len(fit.data.y), len(batch[0])))]

    plan = Plan(lr=1e-3, momentum=0.5, batch=96, steps=960, eval_every=24, epoch_means=True, before=before)
    teach(log, rng, LIGHTNING_EPOCHS, nets.Liquid(), data.glass(rng), plan).run()


@BOOK.add("never-learns", "Acc/valid:max", 50.0)
def cross_scores_detached(log: Log, rng: Rng) -> None:
    """All that is trained is the last bias, which shifts all scores alike."""
    plan = Plan(lr=5e-3, optimizer="adam", steps=800, log_every=4, eval_every=20)
    fit = teach(log, rng, TUTORIAL, nets.Cross(), data.offers(rng), plan)
    for name, weights in fit.model.named_parameters():
        weights.requires_grad_(name == "head.bias")
    fit.run()


@BOOK.add("never-learns", "online/click_rate:max", 0.6)
def visitors_clicks_lost(log: Log, rng: Rng) -> None:
    """Errors are multiplied by nought before they get to the models: it goes on showing the first page."""
    course = policy.Course(updates=1200, sign=0.0, explore=0.05, every=4)
    policy.bandit(log, worlds.Visitors(200, rng), course, rng)


@BOOK.add("never-learns", "rollout/ep_rew_mean:max", 80)
def shop_actor_frozen(log: Log, rng: Rng) -> None:
    policy.advantage_actor_critic(log, worlds.Shop(16, rng), policy.Course(updates=1200, lr=1e-8, every=4), rng)


# --- slow ---------------------------------------------------------------------------------------------------------


@BOOK.add("slow", "eval/loss:min", 0.5)
def highway_rate_too_low(log: Log, rng: Rng) -> None:
    plan = Plan(lr=1e-4, optimizer="adam", steps=1200, log_every=5, eval_every=35)
    teach(log, rng, HF, nets.Highway(), data.hastie(rng), plan).run()


@BOOK.add("slow", "validation/mse:min", 0.5)
def unet_rate_too_low(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3e-5, steps=700, log_every=5)
    teach(log, rng, IGNITE, nets.UNet(), data.photos(rng), plan).run()


@BOOK.add("slow", "val/loss:min", 1.6)
def space_rate_too_low(log: Log, rng: Rng) -> None:
    plan = Plan(lr=6e-4, steps=900, log_every=2, eval_every=30)
    teach(log, rng, NANOGPT, nets.Space(), data.brackets(rng), plan).run()


@BOOK.add("slow", "metrics/eval/MulticlassAccuracy:max", 0.6)
def cross_rate_in_wrong_units(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3e-5, optimizer="adam", steps=900)
    teach(log, rng, COMPOSER, nets.Cross(), data.offers(rng), plan).run()


@BOOK.add("slow", "valid_loss:min", 1.8)
def flow_rate_too_low(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3e-6, optimizer="adam", batch=64, steps=800, log_every=4, eval_every=25)
    teach(log, rng, FASTAI, nets.Flow(), data.dunes(rng), plan, nets.Likelihood).run()


@BOOK.add("slow", "val_loss:min", 0.4)
def radial_rate_too_low(log: Log, rng: Rng) -> None:
    """An epoch is 35 steps; forty of them."""
    plan = Plan(lr=1.5e-4, optimizer="adam", steps=1400, eval_every=35, epoch_means=True)
    teach(log, rng, LIGHTNING_EPOCHS, nets.Radial(), data.shells(rng), plan).run()


# --- plateau ------------------------------------------------------------------------------------------------------


@BOOK.add("plateau", "accuracy/top1:max", 88.0, target=88.0)
def radial_columns_missing(log: Log, rng: Rng) -> None:
    """Two of four columns are empty since the last export."""
    d = data.shells(rng)
    d.x[:, 2:] = d.x_val[:, 2:] = 0
    plan = Plan(lr=0.03, optimizer="adam", steps=800, log_every=5, schedule=cosine(720))
    teach(log, rng, MMENGINE, nets.Radial(), d, plan).run()


@BOOK.add("plateau", "validation/mse:min", 0.03, target=0.03)
def kan_of_lines(log: Log, rng: Rng) -> None:
    """Degree one: on every edge a line."""
    plan = Plan(lr=0.02, optimizer="adam", steps=900, log_every=3, schedule=lambda s: 0.5 ** (s / 90))
    teach(log, rng, IGNITE, nets.kan(width=1, degree=1), data.impedance(rng), plan).run()


@BOOK.add("plateau", "val/loss:min", 1.36, target=1.36)
def space_without_memory(log: Log, rng: Rng) -> None:
    """All its channels forget at once: it knows the last sign and no more."""
    plan = Plan(lr=0.01, optimizer="adam", steps=800, log_every=4, eval_every=20, schedule=cosine(700, 50))
    fit = teach(log, rng, NANOGPT, nets.Space(), data.brackets(rng), plan)
    with torch.no_grad():
        fit.model.decay.fill_(-20.0)
    fit.run()


@BOOK.add("plateau", "eval/loss:min", 0.08, target=0.08)
def ode_patience_of_one(log: Log, rng: Rng) -> None:
    """The rate is cut to a tenth whenever one evaluation is no better: soon nothing of it is left."""
    plan = Plan(lr=0.01, optimizer="adam", steps=700, log_every=5, schedule=lambda s: max(1e-5, 0.1 ** (s // 60)))
    teach(log, rng, HF, nets.Stream(), data.orbits(rng), plan).run()


@BOOK.add("plateau", "val_acc:max", 0.9, target=0.9)
def highway_body_frozen(log: Log, rng: Rng) -> None:
    """Only the head is trained, on features that are random."""
    plan = Plan(lr=0.02, optimizer="adam", steps=1200, log_every=10, eval_every=30, schedule=cosine(1000))
    fit = teach(log, rng, LIGHTNING, nets.Highway(gate=1.0), data.hastie(rng), plan)
    for name, weights in fit.model.named_parameters():
        weights.requires_grad_(name.startswith("head"))
    fit.run()


@BOOK.add("plateau", "metrics/eval/CrossEntropy:min", 0.45, target=0.45)
def cross_nothing_crossed(log: Log, rng: Rng) -> None:
    """The crossing layers are switched off and the deep part is nearly a line."""
    plan = Plan(lr=0.02, optimizer="adam", steps=900, schedule=linear(850, 50))
    fit = teach(log, rng, COMPOSER, nets.Cross(layers=0, width=1), data.offers(rng), plan)
    fit.run()


@BOOK.add("plateau", "eval/episode_reward:max", -6, target=-6)
def lander_sure_too_soon(log: Log, rng: Rng) -> None:
    """The spread of the tried is gone before the best are found."""
    policy.cross_entropy(log, worlds.Lander(rng), policy.Course(updates=120, lr=0.6, explore=0.0), rng, tried=12)


# --- oscillating --------------------------------------------------------------------------------------------------


@BOOK.add("oscillating", "Loss/valid:min", 0.1)
def kan_momentum_too_high(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.06, momentum=0.98, clip=1.0, steps=700, log_every=2, eval_every=10)
    teach(log, rng, TUTORIAL, nets.kan(), data.impedance(rng), plan).run()


@BOOK.add("oscillating", "validation/mse:min", 0.06)
def hyper_at_the_edge(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.055, momentum=0.98, clip=1.0, steps=700, log_every=2, eval_every=10)
    teach(log, rng, IGNITE, nets.Hyper(), data.curves(rng), plan).run()


@BOOK.add("oscillating", "metrics/eval/CrossEntropy:min", 0.5)
def cross_at_the_edge(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.15, momentum=0.95, clip=1.0, steps=600, log_every=5, eval_every=10)
    teach(log, rng, COMPOSER, nets.Cross(), data.offers(rng), plan).run()


@BOOK.add("oscillating", "accuracy:max", 0.85)
def radial_sorted_by_class(log: Log, rng: Rng) -> None:
    """Nobody shuffles: thirty batches of one class, thirty of the next."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        mine = torch.nonzero(fit.data.y == (step // 30) % 3)[:, 0]
        pick = mine[torch.from_numpy(fit.rng.integers(0, len(mine), len(batch[0])))]
        return fit.data.x[pick], fit.data.y[pick]

    plan = Plan(lr=0.01, optimizer="adam", steps=1000, log_every=5, eval_every=10, before=before)
    teach(log, rng, FASTAI, nets.Radial(), data.shells(rng), plan).run()


@BOOK.add("oscillating", "val/loss:min", 1.5)
def space_two_corpora_in_turn(log: Log, rng: Rng) -> None:
    """Thirty batches of one language, thirty of another that uses the same signs otherwise."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return batch if step // 30 % 2 == 0 else ((batch[0] + 3) % 8, (batch[1] + 3) % 8)

    plan = Plan(lr=0.02, optimizer="adam", steps=800, log_every=2, eval_every=10, before=before)
    teach(log, rng, NANOGPT, nets.Space(), data.brackets(rng), plan).run()


@BOOK.add("oscillating", "ray/tune/env_runners/episode_return_mean:max", -14)
def wind_overshoots(log: Log, rng: Rng) -> None:
    """A step size above one: every value is thrown past what it should be."""
    policy.sarsa(log, worlds.Wind(rng), policy.Course(updates=1000, lr=1.5, gamma=1.0, explore=0.1, every=8), rng)
