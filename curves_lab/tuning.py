# SPDX-License-Identifier: Apache-2.0
"""The tuning split: MLPs, a small CNN and an Elman net on digits and regression; an actor-critic on a cart-pole.

Thresholds may be chosen by looking at these runs. The test split shares neither a recipe nor an architecture.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from curves_lab import data, nets, policy
from curves_lab.log import Log
from curves_lab.recipe import Book
from curves_lab.supervised import Batch, Fit, Names, Plan

BOOK = Book("tuning")
Rng = np.random.Generator
ACC = "accuracy/val:max"


def fit_mlp(log: Log, rng: Rng, plan: Plan, **net: object) -> Fit:
    return Fit(log, nets.mlp(64, 10, **net), data.digits(rng), plan, rng)


# --- healthy ------------------------------------------------------------------------------------------------------


@BOOK.add("healthy", ACC, 0.9)
def mlp_plain(log: Log, rng: Rng) -> None:
    fit_mlp(log, rng, Plan(lr=0.1)).run()


@BOOK.add("healthy", "validation/epoch_loss:min", 0.5)
def cnn_warm_up_keras(log: Log, rng: Rng) -> None:
    names = Names("train:epoch_loss", "validation:epoch_loss", "validation:epoch_accuracy", "train:epoch_accuracy")
    plan = Plan(lr=2e-3, optimizer="adam", schedule=lambda s: min(1.0, s / 150), names=names)
    Fit(log, nets.cnn(), data.digits(rng, image=True), plan, rng).run()


@BOOK.add("healthy", "val_acc:max", 0.85)
def mlp_tiny_batches(log: Log, rng: Rng) -> None:
    names = Names("train_loss_step", "val_loss", "val_acc")
    fit_mlp(log, rng, Plan(lr=0.02, batch=3, steps=900, log_every=1, eval_every=30, names=names)).run()


@BOOK.add("healthy", "loss/val:min", 0.4)
def cnn_warm_restarts(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.3, steps=900, schedule=lambda s: 0.5 * (1 + math.cos(math.pi * (s % 150) / 150)), momentum=0.8)
    Fit(log, nets.cnn(), data.digits(rng, image=True), plan, rng).run()


@BOOK.add("healthy", ACC, 0.95, target=0.95)
def mlp_step_schedule(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.4, steps=900, batch=8, schedule=lambda s: 0.1 ** (s // 450))
    fit_mlp(log, rng, plan).run()


@BOOK.add("healthy", "val/mse:min", 0.08)
def elman_takes_off_late(log: Log, rng: Rng) -> None:
    names = Names("train/mse", "val/mse", "")
    plan = Plan(lr=5e-3, optimizer="adam", clip=1.0, steps=900, names=names)
    Fit(log, nets.Recurrent("tanh", 2, 1), data.marked_sum(rng), plan, rng).run()


@BOOK.add("healthy", ACC, 0.9)
def mlp_resumed(log: Log, rng: Rng) -> None:
    fit = fit_mlp(log, rng, Plan(lr=0.05, momentum=0.5))
    log.restart("0")
    fit.run(330)
    saved = {k: v.clone() for k, v in fit.model.state_dict().items()}
    fit.run(400)
    log.restart("1", gap_s=60)
    fit.model.load_state_dict(saved)  # back to the checkpoint: seventy steps are written twice
    fit.step = 330
    fit.run()


@BOOK.add("healthy", ACC, 0.85, allowed="overfitting")
def mlp_confident(log: Log, rng: Rng) -> None:
    d = data.digits(rng)
    plan = Plan(lr=3e-3, optimizer="adam", steps=900)
    Fit(log, nets.mlp(64, 10, width=128), d.few(500), plan, rng).run()


@BOOK.add("healthy", "loss/val:min", 0.7)
def mlp_sparse_validation(log: Log, rng: Rng) -> None:
    fit_mlp(log, rng, Plan(lr=0.05, eval_every=150)).run()


@BOOK.add("healthy", ACC, 0.9, allowed="nan")
def mlp_auxiliary_nan(log: Log, rng: Rng) -> None:
    def after(step: int, fit: Fit, out: Log) -> None:
        if step % 2 == 0:
            out.scalar("loss/aux", math.nan if step > 100 else math.exp(-step / 50), step)

    fit_mlp(log, rng, Plan(lr=0.1, after=after)).run()


@BOOK.add("healthy", "loss/val:min", 0.6)
def mlp_rough_start(log: Log, rng: Rng) -> None:
    fit = fit_mlp(log, rng, Plan(lr=0.02, momentum=0.9))
    with torch.no_grad():
        fit.model[-1].weight.mul_(12)
    fit.run()


@BOOK.add("healthy", ACC, 0.9)
def mlp_fine_tuned(log: Log, rng: Rng) -> None:
    mute = Log(log.folder.with_name(log.folder.name + ".pre"))
    fit = fit_mlp(mute, rng, Plan(lr=0.1, steps=400)).run()
    mute.close()
    fit.log, fit.step, fit.plan.lr = log, 0, 0.01
    fit.run()


@BOOK.add("healthy", "val_loss:min", 2.75)
def mlp_noise_floor(log: Log, rng: Rng) -> None:
    names = Names("train_loss", "val_loss", "")
    Fit(log, nets.mlp(10, 1, width=16), data.noisy_line(rng), Plan(lr=0.01, names=names), rng).run()


@BOOK.add("healthy", "loss/val:min", 0.75)
def mlp_label_noise_early(log: Log, rng: Rng) -> None:
    d = data.digits(rng).mislabelled(0.1, rng)
    Fit(log, nets.mlp(64, 10), d, Plan(lr=0.05), rng).run()


@BOOK.add("healthy", "loss/val:min", 0.15)
def mlp_regression(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.03, momentum=0.9, names=Names(val_score=""), steps=700)
    Fit(log, nets.mlp(2, 1, act=nn.Tanh), data.sines(rng), plan, rng).run()


@BOOK.add("healthy", "charts/episodic_return:max", 110, allowed="diverging")
def cartpole(log: Log, rng: Rng) -> None:
    policy.actor_critic(log, policy.CartPole(16, rng), policy.Course(lr=5e-3, updates=350), rng)


@BOOK.add("healthy", "rollout/ep_rew_mean:max", 110, allowed="diverging")
def cartpole_expert_first(log: Log, rng: Rng) -> None:
    log.scalar("rollout/ep_rew_mean", 200.0, 0)
    log.tick()
    policy.actor_critic(
        log, policy.CartPole(16, rng), policy.Course(lr=5e-3, updates=350, return_tag="rollout/ep_rew_mean"), rng
    )


@BOOK.add("healthy", "charts/episodic_return:max", 110, allowed="diverging")
def cartpole_raw_returns(log: Log, rng: Rng) -> None:
    policy.actor_critic(log, policy.CartPole(16, rng), policy.Course(lr=5e-3, raw=True, updates=350), rng)


# --- faults -------------------------------------------------------------------------------------------------------


@BOOK.add("nan", "loss/val:min", 0.5, allowed="diverging")
def regression_overflow(log: Log, rng: Rng) -> None:
    plan = Plan(lr=1.5, names=Names(val_score=""), steps=300)
    Fit(log, nets.mlp(2, 1, width=128), data.sines(rng), plan, rng).run()


@BOOK.add("nan", ACC, 0.8, since=260)
def mlp_log_of_zero(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return (batch[0] * float("inf"), batch[1]) if step == 260 else batch

    fit_mlp(log, rng, Plan(lr=0.1, before=before)).run()


@BOOK.add("diverging", "loss/val:min", 1.0, allowed="oscillating")
def mlp_rate_too_high(log: Log, rng: Rng) -> None:
    fit_mlp(log, rng, Plan(lr=1.0, momentum=0.9), act=nn.ELU).run()


@BOOK.add("diverging", ACC, 0.8, allowed="collapse", since=300)
def mlp_rate_jumps(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.1, momentum=0.9, schedule=lambda s: 1.0 if s < 300 else 8.0)
    fit_mlp(log, rng, plan, act=nn.ELU).run()


@BOOK.add("diverging", "val/mse:min", 0.3)
def elman_climbs(log: Log, rng: Rng) -> None:
    """A sign error: gradient ascent, from the start."""
    plan = Plan(lr=0.02, momentum=0.9, clip=1.0, schedule=lambda s: -1.0, names=Names("train/mse", "val/mse", ""))
    Fit(log, nets.Recurrent("tanh", 2, 1), data.marked_sum(rng), plan, rng).run()


@BOOK.add("collapse", ACC, 0.8, since=320)
def cnn_dies_in_mid_run(log: Log, rng: Rng) -> None:
    def after(step: int, fit: Fit, out: Log) -> None:
        if step == 320:
            with torch.no_grad():
                fit.model[0].bias.fill_(-30.0)

    plan = Plan(lr=0.05, momentum=0.8, after=after)
    Fit(log, nets.cnn(), data.digits(rng, image=True), plan, rng).run()


@BOOK.add("collapse", "charts/episodic_return:max", 100, allowed="diverging", since=51200)
def cartpole_collapses(log: Log, rng: Rng) -> None:
    def change(update: int, course: policy.Course, net: nn.Module) -> None:
        if update >= 200:
            course.lr = 0.3

    policy.actor_critic(log, policy.CartPole(16, rng), policy.Course(lr=5e-3, updates=360, change=change), rng)


@BOOK.add("never-learns", ACC, 0.5)
def mlp_dead_relus(log: Log, rng: Rng) -> None:
    fit = fit_mlp(log, rng, Plan(lr=0.05))
    with torch.no_grad():
        fit.model[0].bias.fill_(-50.0)
    fit.run()


@BOOK.add("never-learns", "loss/val:min", 2.0)
def mlp_sigmoid_abyss(log: Log, rng: Rng) -> None:
    fit_mlp(log, rng, Plan(lr=0.05), depth=9, act=nn.Sigmoid).run()


@BOOK.add("never-learns", ACC, 0.5)
def cnn_labels_shuffled(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return batch[0], batch[1][torch.from_numpy(fit.rng.permutation(len(batch[1])))]

    Fit(log, nets.cnn(), data.digits(rng, image=True), Plan(lr=0.03, before=before), rng).run()


@BOOK.add("never-learns", "charts/episodic_return:max", 60, allowed="oscillating")
def cartpole_blind(log: Log, rng: Rng) -> None:
    class Blind(policy.CartPole):
        def observe(self) -> policy.Floats:
            return np.zeros((self.n, 4))

    policy.actor_critic(log, Blind(16, rng), policy.Course(lr=5e-3, updates=400), rng)


@BOOK.add("plateau", ACC, 0.92, target=0.92, since=80)
def mlp_rate_decays_too_soon(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.05, steps=800, schedule=lambda s: 1.0 if s < 80 else 1e-5)
    fit_mlp(log, rng, plan).run()


@BOOK.add("plateau", "loss/val:min", 0.15, target=0.15)
def linear_on_sines(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.05, names=Names(val_score=""), steps=800)
    Fit(log, nets.mlp(2, 1, depth=0), data.sines(rng), plan, rng).run()


@BOOK.add("plateau", ACC, 0.9, target=0.9)
def mlp_frozen_body(log: Log, rng: Rng) -> None:
    fit = fit_mlp(log, rng, Plan(lr=0.5, steps=1500, eval_every=30), width=10, depth=1)
    for layer in list(fit.model)[:-1]:
        layer.requires_grad_(False)
    fit.run()


@BOOK.add("overfitting", "loss/val:min", 0.5)
def mlp_few_samples(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3e-3, optimizer="adam", steps=1000, names=Names(train_score="accuracy/train"))
    Fit(log, nets.mlp(64, 10, width=128), data.digits(rng).few(60).mislabelled(0.25, rng), plan, rng).run()


@BOOK.add("overfitting", ACC, 0.8)
def mlp_learns_wrong_labels_by_heart(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3e-3, optimizer="adam", steps=1500, eval_every=30, names=Names(train_score="accuracy/train"))
    Fit(log, nets.mlp(64, 10, width=256), data.digits(rng).few(700).mislabelled(0.45, rng), plan, rng).run()


@BOOK.add("overfitting", "loss/val:min", 2.7)
def mlp_fits_the_noise(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3e-3, optimizer="adam", steps=900, names=Names(val_score=""))
    Fit(log, nets.mlp(10, 1, width=128), data.noisy_line(rng).few(120), plan, rng).run()


@BOOK.add("spike", "loss/val:min", 0.6, since=300)
def mlp_bad_batch(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return (batch[0] * 25, batch[1].flip(0)) if step == 300 else batch

    fit_mlp(log, rng, Plan(lr=0.05, clip=1.0, before=before)).run()


@BOOK.add("spike", ACC, 0.85, since=350)
def cnn_rate_glitch(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        fit.lr_factor = 40.0 if step == 350 else 1.0
        return batch

    plan = Plan(lr=0.05, momentum=0.5, before=before)
    Fit(log, nets.cnn(), data.digits(rng, image=True), plan, rng).run()


@BOOK.add("oscillating", "loss/val:min", 0.3)
def regression_at_the_edge(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.5, momentum=0.9, batch=64, clip=1.0, names=Names(val_score=""), steps=900)
    Fit(log, nets.mlp(2, 1, act=nn.Tanh), data.sines(rng), plan, rng).run()


@BOOK.add("oscillating", "val/mse:min", 0.15)
def elman_swings(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.3, momentum=0.9, clip=1.0, eval_every=15, names=Names("train/mse", "val/mse", ""))
    Fit(log, nets.Recurrent("tanh", 2, 1), data.marked_sum(rng), plan, rng).run()


@BOOK.add("slow", ACC, 0.8)
def mlp_rate_too_low(log: Log, rng: Rng) -> None:
    fit_mlp(log, rng, Plan(lr=3e-4, steps=900)).run()


@BOOK.add("slow", "loss/val:min", 1.0)
def cnn_rate_too_low(log: Log, rng: Rng) -> None:
    plan = Plan(lr=1.5e-5, optimizer="adam", steps=900)
    Fit(log, nets.cnn(), data.digits(rng, image=True), plan, rng).run()


@BOOK.add("stalled", ACC, 0.9, since=340)
def mlp_loader_hangs(log: Log, rng: Rng) -> None:
    def after(step: int, fit: Fit, out: Log) -> None:
        if step == 340:
            out.tick(7200)

    fit_mlp(log, rng, Plan(lr=0.1, after=after)).run()
