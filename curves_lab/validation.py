# SPDX-License-Identifier: Apache-2.0
"""The validation split: residual MLPs, 1-d convolutions, GRUs, transformers; PPO and Q-learning.

It was the first test split. The detectors, tuned on the other runs alone, named 68 per cent of it rightly (macro-F1),
with no false intervention; then it was used to find out why, and so serves for tuning too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from curves_lab import data, nets, policy
from curves_lab.log import Log
from curves_lab.recipe import Book
from curves_lab.supervised import Batch, Fit, Names, Plan

BOOK = Book("validation")
Rng = np.random.Generator
LIGHTNING = Names("train_loss", "val_loss", "val_acc", "train_acc")
KERAS = Names("train:epoch_loss", "validation:epoch_loss", "validation:epoch_accuracy", "train:epoch_accuracy")


def fit_residual(log: Log, rng: Rng, plan: Plan, d: data.Data | None = None) -> Fit:
    return Fit(log, nets.Residual(2, 4), d or data.spirals(rng), plan, rng)


def fit_conv(log: Log, rng: Rng, plan: Plan, d: data.Data | None = None, **net: float) -> Fit:
    return Fit(log, nets.conv1d(**net), d or data.waves(rng), plan, rng)


def fit_transformer(log: Log, rng: Rng, plan: Plan, d: data.Data | None = None, pre: bool = True) -> Fit:
    return Fit(log, nets.Transformer(pre=pre), d or data.tokens(rng), plan, rng)


def sequences(rng: Rng) -> data.Data:
    """The waves as (time, channel), for recurrent nets."""
    d = data.waves(rng, length=32, noise=0.4)
    return data.Data(d.x.transpose(1, 2), d.y, d.x_val.transpose(1, 2), d.y_val, 5)


def one_cycle(steps: int, warm: float = 0.3) -> Callable[[int], float]:
    def factor(step: int) -> float:
        done = step / steps
        return done / warm if done < warm else 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))

    return factor


# --- healthy ------------------------------------------------------------------------------------------------------


@BOOK.add("healthy", "val_acc:max", 0.85)
def residual_adamw(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3e-3, optimizer="adam", weight_decay=0.01, steps=700, names=LIGHTNING)
    fit_residual(log, rng, plan).run()


@BOOK.add("healthy", "val/loss:min", 0.6)
def conv_one_cycle(log: Log, rng: Rng) -> None:
    names = Names("train/loss", "val/loss", "val/accuracy")
    fit_conv(log, rng, Plan(lr=0.1, momentum=0.9, steps=600, schedule=one_cycle(600), names=names)).run()


@BOOK.add("healthy", "eval/accuracy:max", 0.8)
def gru_waves(log: Log, rng: Rng) -> None:
    names = Names("train/loss", "eval/loss", "eval/accuracy")
    plan = Plan(lr=0.01, optimizer="adam", clip=1.0, steps=700, names=names)
    Fit(log, nets.Recurrent("gru", 1, 5), sequences(rng), plan, rng).run()


@BOOK.add("healthy", "loss/val:min", 0.3)
def transformer_warm_up(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3e-3, optimizer="adam", steps=1200, batch=48, eval_every=30, schedule=lambda s: min(1, s / 200))
    fit_transformer(log, rng, plan, pre=False).run()


@BOOK.add("healthy", "validation/epoch_accuracy:max", 0.75)
def conv_dropout_epochs(log: Log, rng: Rng) -> None:
    names = Names(KERAS.train_loss, KERAS.val_loss, KERAS.val_score, KERAS.train_score, by_epoch=True)
    fit_conv(log, rng, Plan(lr=2e-3, optimizer="adam", steps=700, names=names), drop=0.5).run()


@BOOK.add("healthy", "accuracy/val:max", 0.8)
def residual_warm_restarts(log: Log, rng: Rng) -> None:
    plan = Plan(
        lr=0.02, optimizer="adam", steps=1000, schedule=lambda s: 0.5 * (1 + math.cos(math.pi * (s % 200) / 200))
    )
    fit_residual(log, rng, plan).run()


@BOOK.add("healthy", "loss/val:min", 0.95)
def conv_label_smoothing(log: Log, rng: Rng) -> None:
    fit_conv(log, rng, Plan(lr=0.05, momentum=0.8, smoothing=0.2, steps=500)).run()


@BOOK.add("healthy", "accuracy/val:max", 0.85)
def transformer_resumed_twice(log: Log, rng: Rng) -> None:
    plan = Plan(lr=2e-3, optimizer="adam", steps=1200, batch=48, eval_every=30)
    fit = fit_transformer(log, rng, plan)
    for start, (back, until) in enumerate(((0, 420), (360, 840), (780, 1200))):
        log.restart(str(start), gap_s=45)
        fit.step = back  # the last checkpoint: sixty steps are written twice
        fit.run(until)


@BOOK.add("healthy", "val_loss:min", 0.75)
def conv_five_validations(log: Log, rng: Rng) -> None:
    fit_conv(log, rng, Plan(lr=0.05, momentum=0.8, steps=500, eval_every=125, names=LIGHTNING)).run()


@BOOK.add("healthy", "accuracy/val:max", 0.8, allowed="nan spike")
def residual_loss_scaler(log: Log, rng: Rng) -> None:
    """A mixed-precision trainer that logs the infinite loss of each skipped step."""

    def after(step: int, fit: Fit, out: Log) -> None:
        if step % 130 == 60:
            out.scalar("loss/train", math.inf, step)
            out.scalar("grad_norm", math.inf, step)

    fit_residual(log, rng, Plan(lr=3e-3, optimizer="adam", steps=700, log_every=3, after=after)).run()


@BOOK.add("healthy", "loss/val:min", 0.8)
def residual_heavy_tails(log: Log, rng: Rng) -> None:
    """Batches of two: single losses are far from their mean."""
    plan = Plan(lr=1e-3, optimizer="adam", batch=2, steps=1500, log_every=1, eval_every=50)
    fit_residual(log, rng, plan).run()


@BOOK.add("healthy", "loss/val:min", 45, allowed="diverging")
def autoencoder_kl_rises(log: Log, rng: Rng) -> None:
    d, model = data.digits(rng), nets.Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(900):
        pick = torch.from_numpy(rng.integers(0, len(d.x), 32))
        error, kl = model.terms(d.x[pick])
        optimizer.zero_grad()
        (error + kl * min(1.0, step / 300)).backward()
        optimizer.step()
        log.tick()
        if step % 5 == 0:
            for tag, value in (("loss/train", error + kl), ("loss/reconstruction", error), ("loss/kl", kl)):
                log.scalar(tag, float(value.detach()), step)
        if step % 25 == 0:
            with torch.no_grad():
                log.scalar("loss/val", float(sum(model.terms(d.x_val))), step)


@BOOK.add("healthy", "accuracy/val:max", 0.75, allowed="overfitting")
def conv_confident(log: Log, rng: Rng) -> None:
    """Accuracy stays at its best while the validation loss creeps up: worth knowing, not worth a restart."""
    d = data.waves(rng, noise=0.7).few(700)
    fit_conv(log, rng, Plan(lr=2e-3, optimizer="adam", steps=700), d).run()


@BOOK.add("healthy", "train/episode_return:max", -24, allowed="diverging")
def point_mass_ppo(log: Log, rng: Rng) -> None:
    course = policy.Course(updates=220, clip=0.2, epochs=4, lr=1e-3, return_tag="train/episode_return")
    policy.actor_critic(log, policy.PointMass(16, rng), course, rng)


@BOOK.add("healthy", "rollout/ep_rew_mean:max", 0.6, allowed="diverging")
def corridor_takes_off_late(log: Log, rng: Rng) -> None:
    course = policy.Course(updates=260, clip=0.2, epochs=4, lr=1e-3, return_tag="rollout/ep_rew_mean")
    policy.actor_critic(log, policy.Corridor(16, rng, length=14), course, rng)


@BOOK.add("healthy", "charts/episodic_return:max", -14, allowed="diverging")
def point_mass_dqn(log: Log, rng: Rng) -> None:
    policy.q_learning(log, policy.PointMass(8, rng), policy.Course(updates=2500, lr=2e-3, gamma=0.95, raw=True), rng)


@BOOK.add("healthy", "eval/mean_reward:max", 110, allowed="diverging nan")
def cartpole_ppo_critic_grows(log: Log, rng: Rng) -> None:
    course = policy.Course(
        updates=300, clip=0.2, epochs=4, lr=3e-3, gamma=0.98, length=32, return_tag="eval/mean_reward"
    )
    for step in range(0, 96000, 1920):
        log.scalar("losses/clip_fraction_loss", math.nan, step)
    policy.actor_critic(log, policy.CartPole(16, rng), course, rng)


# --- faults -------------------------------------------------------------------------------------------------------


@BOOK.add("nan", "loss/val:min", 0.5, allowed="diverging")
def relu_recurrent_explodes(log: Log, rng: Rng) -> None:
    d = data.long_lag(rng, length=40)
    net = nets.Recurrent("relu", 1, 2)
    with torch.no_grad():
        net.core.weight_hh_l0.copy_(1.2 * torch.eye(32))
    Fit(log, net, d, Plan(lr=1.0, momentum=0.9, steps=400), rng).run()


@BOOK.add("nan", "val_acc:max", 0.6, since=700)
def transformer_half_overflows(log: Log, rng: Rng) -> None:
    """Activations leave the range of half precision in mid-run; nothing scales the loss."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        if step == 700:
            with torch.no_grad():
                fit.model.head.weight.mul_(math.inf)
        return batch

    names = Names("train_loss", "val_loss", "val_acc")
    plan = Plan(lr=2e-3, optimizer="adam", steps=1000, eval_every=40, before=before, names=names)
    fit_transformer(log, rng, plan).run()


@BOOK.add("diverging", "eval/loss:min", 1.2, allowed="oscillating")
def gru_rate_too_high(log: Log, rng: Rng) -> None:
    names = Names("train/loss", "eval/loss", "eval/accuracy")
    Fit(log, nets.Recurrent("gru", 1, 5), sequences(rng), Plan(lr=3.0, momentum=0.9, steps=400, names=names), rng).run()


@BOOK.add("nan", "val_acc:max", 0.6, allowed="diverging collapse", since=350)
def residual_schedule_in_wrong_units(log: Log, rng: Rng) -> None:
    plan = Plan(
        lr=0.02, momentum=0.9, steps=700, names=LIGHTNING, schedule=lambda s: 1.0 if s < 350 else 1.06 ** (s - 350)
    )
    fit_residual(log, rng, plan).run(600)


@BOOK.add("nan", "loss/val:min", 1.9, since=200, allowed="diverging")
def transformer_rate_creeps_up(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.05, momentum=0.9, clip=1.0, steps=460, schedule=lambda s: 1.03 ** max(0, s - 200))
    fit_transformer(log, rng, plan).run()


@BOOK.add("collapse", "accuracy/val:max", 0.6, since=350)
def conv_pipeline_breaks(log: Log, rng: Rng) -> None:
    """From one step on every batch is noise with random labels; the model forgets."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        if step < 350:
            return batch
        return torch.randn_like(batch[0]), torch.from_numpy(fit.rng.integers(0, 5, len(batch[1])))

    fit_conv(log, rng, Plan(lr=0.1, momentum=0.9, steps=800, before=before)).run()


@BOOK.add("collapse", "train/episode_return:max", -25, allowed="diverging", since=35840)
def point_mass_ppo_collapses(log: Log, rng: Rng) -> None:
    def change(update: int, course: policy.Course, net: nn.Module) -> None:
        if update >= 140:
            course.reward_scale = -1.0  # a sign error in a reward that is switched on late

    course = policy.Course(updates=320, clip=0.2, epochs=4, lr=1e-3, change=change, return_tag="train/episode_return")
    policy.actor_critic(log, policy.PointMass(16, rng), course, rng)


@BOOK.add("collapse", "charts/episodic_return:max", -25, allowed="diverging", since=12000)
def point_mass_dqn_forgets(log: Log, rng: Rng) -> None:
    def change(update: int, course: policy.Course, net: nn.Module) -> None:
        if update >= 1500:
            course.lr, course.gamma, course.grad_clip = 0.3, 1.05, 1e9

    course = policy.Course(updates=3000, lr=2e-3, gamma=0.95, raw=True, change=change)
    policy.q_learning(log, policy.PointMass(8, rng), course, rng)


@BOOK.add("never-learns", "loss/val:min", 1.0)
def transformer_no_warm_up(log: Log, rng: Rng) -> None:
    fit_transformer(log, rng, Plan(lr=0.03, optimizer="adam", steps=600), pre=False).run()


@BOOK.add("never-learns", "val_acc:max", 0.45)
def residual_graph_detached(log: Log, rng: Rng) -> None:
    fit = fit_residual(log, rng, Plan(lr=3e-3, optimizer="adam", names=LIGHTNING))
    for name, p in fit.model.named_parameters():
        p.requires_grad_(name == "head.bias")
    fit.run()


@BOOK.add("never-learns", "loss/val:min", 1.8)
def transformer_labels_shuffled(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return batch[0], batch[1][torch.from_numpy(fit.rng.permutation(len(batch[1])))]

    fit_transformer(log, rng, Plan(lr=2e-3, optimizer="adam", steps=700, before=before)).run()


@BOOK.add("never-learns", "accuracy/val:max", 0.7)
def elman_gradient_vanishes(log: Log, rng: Rng) -> None:
    net = nets.Recurrent("gru", 1, 2)
    Fit(log, net, data.long_lag(rng, n=3000, length=60), Plan(lr=0.02, steps=600), rng).run()


@BOOK.add("never-learns", "eval/mean_reward:max", 60, allowed="slow oscillating")
def cartpole_ppo_gradient_lost(log: Log, rng: Rng) -> None:
    course = policy.Course(updates=400, clip=0.2, epochs=2, lr=1e-8, return_tag="eval/mean_reward")
    policy.actor_critic(log, policy.CartPole(16, rng), course, rng)


@BOOK.add("plateau", "accuracy/val:max", 0.8, target=0.8)
def residual_bottleneck(log: Log, rng: Rng) -> None:
    """One unit wide: it learns what little it can."""
    model = nn.Sequential(nn.Linear(2, 1), nn.Tanh(), nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 4))
    Fit(log, model, data.spirals(rng), Plan(lr=0.03, optimizer="adam", steps=1200), rng).run()


@BOOK.add("never-learns", "val_loss:min", 0.5, target=0.5)
def conv_weight_decay_too_strong(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.05, weight_decay=0.15, steps=800, momentum=0.5, names=LIGHTNING)
    fit_conv(log, rng, plan, norm=False).run()


@BOOK.add("plateau", "accuracy/val:max", 0.9, target=0.9)
def transformer_rate_halved_too_often(log: Log, rng: Rng) -> None:
    plan = Plan(lr=2e-3, optimizer="adam", steps=1000, batch=48, schedule=lambda s: 0.5 ** (s / 25))
    fit_transformer(log, rng, plan).run()


@BOOK.add("overfitting", "val_loss:min", 0.6)
def conv_few_samples(log: Log, rng: Rng) -> None:
    d = data.waves(rng, noise=1.0).few(60)
    fit_conv(log, rng, Plan(lr=3e-3, optimizer="adam", steps=700, names=LIGHTNING), d).run()


@BOOK.add("overfitting", "validation/epoch_loss:min", 0.5)
def residual_wrong_labels(log: Log, rng: Rng) -> None:
    d = data.spirals(rng).few(100).mislabelled(0.4, rng)
    fit_residual(log, rng, Plan(lr=3e-3, optimizer="adam", steps=900, names=KERAS), d).run()


@BOOK.add("overfitting", "loss/val:min", 1.0)
def transformer_few_sequences(log: Log, rng: Rng) -> None:
    fit_transformer(log, rng, Plan(lr=2e-3, optimizer="adam", steps=500), data.tokens(rng).few(120)).run()


@BOOK.add("spike", "loss/val:min", 0.8, since=300)
def conv_mislabelled_batch(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        fit.lr_factor = 6.0 if step in (300, 301) else 1.0
        return (batch[0] * 8, (batch[1] + 1) % 5) if step in (300, 301) else batch

    fit_conv(log, rng, Plan(lr=0.03, momentum=0.5, steps=600, clip=5.0, before=before)).run()


@BOOK.add("spike", "val_acc:max", 0.8, since=500)
def residual_weights_jolted(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        if step == 500:
            with torch.no_grad():
                fit.model.head.weight.add_(2.0 * torch.randn_like(fit.model.head.weight))
        return batch

    plan = Plan(lr=3e-3, optimizer="adam", steps=800, before=before, log_every=1, names=LIGHTNING)
    fit_residual(log, rng, plan).run()


@BOOK.add("oscillating", "eval/loss:min", 0.3)
def gru_momentum_too_high(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.3, momentum=0.95, clip=1.0, steps=900, eval_every=15, names=Names("train/loss", "eval/loss", ""))
    Fit(log, nets.Recurrent("gru", 1, 5), sequences(rng), plan, rng).run()


@BOOK.add("oscillating", "val_loss:min", 0.15)
def residual_rate_at_the_edge(log: Log, rng: Rng) -> None:
    fit_residual(log, rng, Plan(lr=0.3, momentum=0.9, clip=1.0, steps=900, eval_every=15, names=LIGHTNING)).run()


@BOOK.add("slow", "loss/val:min", 1.2)
def conv_adam_rate_tiny(log: Log, rng: Rng) -> None:
    fit_conv(log, rng, Plan(lr=6e-5, optimizer="adam", steps=900), norm=False).run()


@BOOK.add("slow", "val_acc:max", 0.8)
def residual_rate_in_wrong_units(log: Log, rng: Rng) -> None:
    fit_residual(log, rng, Plan(lr=2e-4, steps=900, names=LIGHTNING)).run()


@BOOK.add("stalled", "val_acc:max", 0.8, since=210)
def residual_filesystem_hangs(log: Log, rng: Rng) -> None:
    def after(step: int, fit: Fit, out: Log) -> None:
        if step == 210:
            out.tick(3 * 3600)

    fit_residual(log, rng, Plan(lr=3e-3, optimizer="adam", after=after, names=LIGHTNING)).run()
