# SPDX-License-Identifier: Apache-2.0
"""More of the validation split: bags of words, letters, ratings, point clouds, sines; Catch and a cliff.

They stood between two test splits: what the detectors missed here was mended before the test split was judged.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from curves_lab import data, nets, policy
from curves_lab.log import Log
from curves_lab.recipe import Book
from curves_lab.supervised import Batch, Fit, Names, Plan

BOOK = Book("validation")
Rng = np.random.Generator
TUTORIAL = Names("Loss/train", "Loss/test", "Accuracy/test")
HF = Names("train/loss", "eval/loss", "eval/accuracy")
RATINGS = Names("train/mse", "val/mse", "")
EPOCHS = Names("epoch/train_loss", "epoch/val_loss", "epoch/val_acc", "epoch/train_acc", by_epoch=True)


class Terse(Log):
    """The log of a trainer that writes losses and scores and nothing of its health."""

    def __init__(self, log: Log) -> None:
        super().__init__(log.folder)
        self.log = log

    def scalar(self, tag: str, value: float, step: int) -> None:
        if tag not in ("lr", "grad_norm", "update_ratio", "dead_frac"):
            self.log.clock = self.clock
            self.log.scalar(tag, value, step)


def fit_bag(log: Log, rng: Rng, plan: Plan, d: data.Data | None = None) -> Fit:
    return Fit(log, nets.Bag(), d or data.documents(rng), plan, rng)


def fit_language(log: Log, rng: Rng, plan: Plan, d: data.Data | None = None, drop: float = 0.0) -> Fit:
    return Fit(log, nets.Language(drop=drop), d or data.text(rng), plan, rng)


def fit_factors(log: Log, rng: Rng, plan: Plan, d: data.Data | None = None, **net: float) -> Fit:
    return Fit(log, nets.Factors(**net), d or data.ratings(rng), plan, rng)


def fit_cloud(log: Log, rng: Rng, plan: Plan, d: data.Data | None = None) -> Fit:
    return Fit(log, nets.Cloud(), d or data.clouds(rng), plan, rng)


def fit_ripple(log: Log, rng: Rng, plan: Plan, frequency: float = 6.0) -> Fit:
    return Fit(log, nets.Waves(frequency=frequency), data.ripple(rng), plan, rng)


# --- healthy ------------------------------------------------------------------------------------------------------


@BOOK.add("healthy", "Accuracy/test:max", 0.6, allowed="overfitting")
def bag_tutorial(log: Log, rng: Rng) -> None:
    fit_bag(
        Terse(log), rng, Plan(lr=0.01, optimizer="adam", steps=500, log_every=5, eval_every=25, names=TUTORIAL)
    ).run()


@BOOK.add("healthy", "eval/loss:min", 1.75)
def language_linear_decay(log: Log, rng: Rng) -> None:
    plan = Plan(lr=5e-3, optimizer="adam", clip=1.0, steps=500, log_every=10, eval_every=50, names=HF,
                schedule=lambda s: min(1, s / 50) * max(0.0, 1 - s / 500))  # fmt: skip
    fit_language(log, rng, plan).run()


@BOOK.add("healthy", "val/mse:min", 0.45)
def factors_from_small(log: Log, rng: Rng) -> None:
    """Both factors begin near nothing: it stands still before it takes off."""
    fit_factors(log, rng, Plan(lr=0.02, optimizer="adam", batch=64, steps=700, names=RATINGS), spread=0.02).run()


@BOOK.add("healthy", "epoch/val_acc:max", 0.8)
def cloud_by_epochs(log: Log, rng: Rng) -> None:
    plan = Plan(lr=4e-3, optimizer="adam", steps=600, eval_every=28, epoch_means=True, names=EPOCHS)
    fit_cloud(Terse(log), rng, plan).run()


@BOOK.add("healthy", "val/mse:min", 0.1)
def ripple_adam(log: Log, rng: Rng) -> None:
    fit_ripple(log, rng, Plan(lr=2e-3, optimizer="adam", steps=600, names=RATINGS)).run()


@BOOK.add("healthy", "eval/accuracy:max", 0.3)
def language_few_evaluations(log: Log, rng: Rng) -> None:
    fit_language(
        log, rng, Plan(lr=3e-3, optimizer="adam", clip=1.0, steps=480, eval_every=80, names=HF), drop=0.2
    ).run()


@BOOK.add("healthy", "rollout/ep_rew_mean:max", 0.5, allowed="diverging")
def catch_ppo(log: Log, rng: Rng) -> None:
    course = policy.Course(updates=250, clip=0.2, epochs=3, lr=5e-3, return_tag="rollout/ep_rew_mean")
    policy.actor_critic(log, policy.Catch(16, rng), course, rng)


@BOOK.add("healthy", "eval/return:max", -60, allowed="diverging")
def cliff_a2c(log: Log, rng: Rng) -> None:
    course = policy.Course(updates=300, lr=5e-3, entropy=0.03, return_tag="eval/return")
    policy.actor_critic(log, policy.Cliff(16, rng), course, rng)


# --- faults -------------------------------------------------------------------------------------------------------


@BOOK.add("nan", "val/mse:min", 0.45, allowed="diverging")
def factors_overflow(log: Log, rng: Rng) -> None:
    fit_factors(log, rng, Plan(lr=40.0, momentum=0.9, batch=64, steps=300, names=RATINGS), spread=1.0).run()


@BOOK.add("nan", "eval/loss:min", 1.75, since=240)
def language_masked_row(log: Log, rng: Rng) -> None:
    """A batch of which everything is masked: the mean over nothing."""

    class Masked(Fit):
        def loss(self, x: Tensor, y: Tensor) -> Tensor:
            found = super().loss(x, y)
            return found * math.nan if self.model.training and self.step == 240 else found

    plan = Plan(lr=5e-3, optimizer="adam", steps=500, log_every=10, eval_every=50, names=HF)
    Masked(log, nets.Language(), data.text(rng), plan, rng).run()


@BOOK.add("diverging", "val/mse:min", 0.45, allowed="oscillating")
def factors_rate_too_high(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3.0, optimizer="adam", batch=64, steps=500, names=RATINGS)
    fit_factors(Terse(log), rng, plan).run()


@BOOK.add("diverging", "eval/loss:min", 1.75, since=200, allowed="collapse")
def language_sign_error(log: Log, rng: Rng) -> None:
    """From step 200 on a wrapper adds the gradient."""
    plan = Plan(lr=5e-3, optimizer="adam", steps=500, log_every=5, eval_every=20, names=HF,
                schedule=lambda s: 1.0 if s < 200 else -1.0)  # fmt: skip
    fit_language(log, rng, plan).run()


@BOOK.add("collapse", "epoch/val_acc:max", 0.8, since=12)
def cloud_data_changes(log: Log, rng: Rng) -> None:
    """The loader begins to shuffle labels in mid-run."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return batch if step < 336 else (batch[0], batch[1][torch.from_numpy(fit.rng.permutation(len(batch[1])))])

    plan = Plan(lr=5e-3, optimizer="adam", steps=900, eval_every=28, epoch_means=True, names=EPOCHS, before=before)
    fit_cloud(log, rng, plan).run()


@BOOK.add("collapse", "rollout/ep_rew_mean:max", 0.5, allowed="diverging", since=35840)
def catch_rate_explodes(log: Log, rng: Rng) -> None:
    def change(update: int, course: policy.Course, net: nn.Module) -> None:
        if update >= 140:
            course.lr = 0.5

    course = policy.Course(updates=300, clip=0.2, epochs=3, lr=5e-3, change=change, return_tag="rollout/ep_rew_mean")
    policy.actor_critic(log, policy.Catch(16, rng), course, rng)


@BOOK.add("never-learns", "val/mse:min", 0.6)
def factors_at_zero(log: Log, rng: Rng) -> None:
    """Both factors are exactly zero, and so is every gradient."""
    fit_factors(log, rng, Plan(lr=0.02, optimizer="adam", batch=64, steps=700, names=RATINGS), spread=0.0).run()


@BOOK.add("never-learns", "Accuracy/test:max", 0.4)
def bag_wrong_vocabulary(log: Log, rng: Rng) -> None:
    """Words are numbered anew in each batch."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return torch.from_numpy(fit.rng.permutation(120))[batch[0]], batch[1]

    plan = Plan(lr=5e-3, optimizer="adam", steps=700, log_every=2, eval_every=25, names=TUTORIAL, before=before)
    fit_bag(Terse(log), rng, plan).run()


@BOOK.add("never-learns", "epoch/val_acc:max", 0.5)
def cloud_optimizer_has_no_parameters(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.0, steps=900, eval_every=28, epoch_means=True, names=EPOCHS)
    fit_cloud(log, rng, plan).run()


@BOOK.add("never-learns", "eval/return:max", -100, allowed="slow oscillating")
def cliff_actions_ignored(log: Log, rng: Rng) -> None:
    class Deaf(policy.Cliff):
        def act(self, actions: np.ndarray) -> tuple[policy.Floats, np.ndarray]:
            return super().act(self.rng.integers(0, 4, self.n))

    course = policy.Course(updates=400, lr=5e-3, return_tag="eval/return")
    policy.actor_critic(log, Deaf(16, rng), course, rng)


@BOOK.add("plateau", "val/mse:min", 0.1, target=0.1)
def ripple_too_smooth(log: Log, rng: Rng) -> None:
    """Frequencies too low for the ripple, and a rate that ends."""
    plan = Plan(lr=2e-3, optimizer="adam", steps=700, names=RATINGS, schedule=lambda s: 0.5 ** (s / 40))
    fit_ripple(log, rng, plan, frequency=0.5).run()


@BOOK.add("plateau", "Accuracy/test:max", 0.65, target=0.65)
def bag_rate_ends_too_soon(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.01, optimizer="adam", steps=900, log_every=5, eval_every=15, names=TUTORIAL,
                schedule=lambda s: 1.0 if s < 80 else 1e-4)  # fmt: skip
    fit_bag(log, rng, plan).run()


@BOOK.add("overfitting", "Loss/test:min", 1.2)
def bag_few_documents(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.01, optimizer="adam", steps=600, log_every=5, eval_every=20, names=TUTORIAL)
    fit_bag(Terse(log), rng, plan, data.documents(rng).few(200)).run()


@BOOK.add("overfitting", "eval/loss:min", 1.85)
def language_few_texts(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.01, optimizer="adam", clip=1.0, steps=500, log_every=10, eval_every=20, names=HF)
    fit_language(log, rng, plan, data.text(rng).few(60)).run()


@BOOK.add("overfitting", "val/mse:min", 0.6)
def factors_few_ratings(log: Log, rng: Rng) -> None:
    d = data.ratings(rng).few(700)
    fit_factors(log, rng, Plan(lr=0.02, optimizer="adam", batch=64, steps=700, names=RATINGS), d).run()


@BOOK.add("spike", "eval/loss:min", 1.8, since=250)
def language_bad_shard(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        fit.lr_factor = 12.0 if step in (250, 251) else 1.0
        return (batch[0], batch[1].flip(1)) if step in (250, 251) else batch

    fit_language(
        log, rng, Plan(lr=5e-3, optimizer="adam", steps=500, log_every=2, eval_every=25, names=HF, before=before)
    ).run()


@BOOK.add("spike", "val/mse:min", 0.5, since=400)
def factors_outlier_batch(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return (batch[0], batch[1] * 40) if step == 400 else batch

    plan = Plan(lr=0.01, optimizer="adam", batch=64, steps=700, log_every=1, names=RATINGS, clip=10.0, before=before)
    fit_factors(log, rng, plan).run()


@BOOK.add("oscillating", "val/mse:min", 0.1)
def ripple_momentum(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.08, optimizer="adam", clip=1.0, steps=700, eval_every=10, names=RATINGS)
    fit_ripple(log, rng, plan).run()


@BOOK.add("oscillating", "epoch/val_loss:min", 0.4)
def cloud_rate_at_the_edge(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.4, momentum=0.95, clip=1.0, steps=900, eval_every=28, epoch_means=True, names=EPOCHS)
    fit_cloud(log, rng, plan).run()


@BOOK.add("slow", "eval/loss:min", 1.9)
def language_rate_too_low(log: Log, rng: Rng) -> None:
    fit_language(log, rng, Plan(lr=5e-3, momentum=0.5, steps=700, log_every=2, eval_every=25, names=HF)).run()


@BOOK.add("slow", "Loss/test:min", 1.5)
def bag_rate_too_low(log: Log, rng: Rng) -> None:
    fit_bag(log, rng, Plan(lr=1e-4, optimizer="adam", steps=900, log_every=2, eval_every=25, names=TUTORIAL)).run()


@BOOK.add("stalled", "val/mse:min", 0.5, since=300)
def factors_node_sleeps(log: Log, rng: Rng) -> None:
    def after(step: int, fit: Fit, out: Log) -> None:
        if step == 300:
            out.tick(5400)

    fit_factors(log, rng, Plan(lr=0.02, optimizer="adam", batch=64, steps=700, names=RATINGS, after=after)).run()
