# SPDX-License-Identifier: Apache-2.0
"""Faults of the third part that strike: not-a-number, divergence, collapse, spikes, silence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from curves_lab.log import Log
from curves_lab.supervised import Batch, Fit, Plan
from curves_lab.third import data, nets, policy
from curves_lab.third.book import (
    BOOK,
    FAIRSEQ,
    PLAIN,
    RMSE,
    TIMM,
    YOLO,
    Rng,
    Silent,
    chirp_fit,
    expert_fit,
    glyph_fit,
    graph_fit,
    moon_fit,
    pair_fit,
    stream_fit,
)


@BOOK.add("nan", "validation/mse:min", 0.5, allowed="diverging")
def experts_overflow(log: Log, rng: Rng) -> None:
    expert_fit(Silent(log), rng, Plan(lr=8.0, momentum=0.9, steps=300, names=RMSE)).run()


@BOOK.add("nan", "test_acc:max", 0.7, allowed="diverging collapse", since=80)
def graph_log_of_a_vanished_chance(log: Log, rng: Rng) -> None:
    """Its own cross entropy, without the trick: one chance underflows as the rate grows."""

    class Naive(Fit):
        def loss(self, x: Tensor, y: Tensor) -> Tensor:
            out = self.model(x)
            return -torch.log(out.exp().gather(1, y[:, None])[:, 0] / out.exp().sum(dim=1)).mean()

    nodes, features, adjacency = data.graph(rng)
    plan = Plan(lr=0.1, momentum=0.9, batch=120, steps=240, log_every=1, eval_every=4, names=PLAIN,
                schedule=lambda s: 1.0 if s < 80 else 1.3 ** (s - 80))  # fmt: skip
    Naive(log, nets.Graph(features, adjacency), nodes, plan, rng).run()


@BOOK.add("nan", "rollout/ep_rew_mean:max", -14, allowed="diverging collapse", since=3200)
def hover_sensor_fails(log: Log, rng: Rng) -> None:
    """From one step on an observation is not a number; the policy is none either, and neither is the world."""

    def change(update: int, course: policy.Course) -> None:
        if update == 400:
            world.place[0] = math.nan

    world = policy.Hover(8, rng)
    policy.soft_actor_critic(log, world, policy.Course(change=change), rng)


@BOOK.add("diverging", "valid/loss:min", 0.2)
def stream_rate_too_high(log: Log, rng: Rng) -> None:
    plan = Plan(lr=1.0, optimizer="rmsprop", steps=500, log_every=5, eval_every=25, names=FAIRSEQ)
    stream_fit(log, rng, plan).run()


@BOOK.add("diverging", "metrics/accuracy:max", 0.8, since=12, allowed="collapse")
def glyphs_rate_grows(log: Log, rng: Rng) -> None:
    """A schedule with the wrong sign in its exponent, under clipping: it never overflows, it only gets worse."""
    plan = Plan(lr=0.05, momentum=0.9, clip=1.0, steps=800, eval_every=28, epoch_means=True, names=YOLO,
                schedule=lambda s: 1.02 ** max(0, s - 336))  # fmt: skip
    glyph_fit(log, rng, plan).run()


@BOOK.add("diverging", "test_loss:min", 0.6)
def pairs_pushed_together(log: Log, rng: Rng) -> None:
    """The sign of the contrastive loss is wrong: the same are driven apart, without end."""
    plan = Plan(lr=3e-3, optimizer="adam", steps=500, eval_every=25, names=PLAIN, schedule=lambda s: -1.0)
    pair_fit(Silent(log), rng, plan).run()


@BOOK.add("diverging", "valid/loss:min", 0.5, since=300, allowed="collapse")
def moons_rate_restored_wrongly(log: Log, rng: Rng) -> None:
    """After a resume the rate is that of another run."""
    fit = moon_fit(
        log, rng, Plan(lr=3e-3, optimizer="adam", batch=64, steps=700, log_every=3, eval_every=20, names=FAIRSEQ)
    )
    log.restart("0")
    fit.run(300)
    log.restart("1")
    fit.plan.lr = 3.0
    fit.run()


@BOOK.add("collapse", "test_acc:max", 0.7, since=120, allowed="overfitting")
def graph_decay_in_wrong_units(log: Log, rng: Rng) -> None:
    """A decay of weights that comes on late and leaves nothing of them."""
    fit = graph_fit(
        log, rng, Plan(lr=0.02, optimizer="adam", batch=120, steps=320, log_every=1, eval_every=4, names=PLAIN)
    )
    fit.run(120)
    fit.optimizer.param_groups[0]["weight_decay"] = 30.0
    fit.run()


@BOOK.add("collapse", "eval/top1:max", 0.75, since=400, allowed="diverging spike")
def chirps_burnt(log: Log, rng: Rng) -> None:
    """Twenty steps at a hundred times the rate: afterwards no unit answers any more."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        fit.lr_factor = 300.0 if 400 <= step < 420 else 1.0
        return batch

    plan = Plan(lr=8e-3, optimizer="adam", steps=900, names=TIMM, before=before)
    chirp_fit(log, rng, plan).run()


@BOOK.add("collapse", "rollout/ep_rew_mean:max", -14, allowed="diverging", since=3600)
def hover_temperature_runs_away(log: Log, rng: Rng) -> None:
    def change(update: int, course: policy.Course) -> None:
        course.entropy = 0.02 if update < 450 else 30.0

    policy.soft_actor_critic(log, policy.Hover(8, rng), policy.Course(updates=1000, change=change), rng)


@BOOK.add("collapse", "return/mean:max", 6, since=300)
def signs_reward_turned(log: Log, rng: Rng) -> None:
    """The reward's sign is turned when the second stage of a curriculum begins."""

    def change(update: int, course: policy.Course) -> None:
        course.sign = 1.0 if update < 300 else -1.0

    course = policy.Course(updates=700, lr=0.5, tag="return/mean", change=change)
    policy.reinforce(log, policy.Signs(32, rng), course, rng)


@BOOK.add("collapse", "fitness/mean:max", -30, since=150)
def hover_population_scattered(log: Log, rng: Rng) -> None:
    """The spread of the population is multiplied by fifty and stays so."""

    def change(update: int, course: policy.Course) -> None:
        course.spread = 0.3 if update < 150 else 15.0

    course = policy.Course(updates=320, lr=1.5, tag="fitness/mean", change=change)
    policy.evolve(log, policy.Hover(30, rng), course, rng)


@BOOK.add("spike", "test_acc:max", 0.7, since=350)
def glyphs_corrupt_shard(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return (batch[0] * 60, batch[1].flip(0)) if step == 350 else batch

    plan = Plan(lr=0.05, momentum=0.5, steps=800, clip=2.0, log_every=1, names=PLAIN, before=before)
    glyph_fit(log, rng, plan).run()


@BOOK.add("spike", "valid/loss:min", 0.5, since=500)
def moons_flipped_bit(log: Log, rng: Rng) -> None:
    """One weight of the last layer is suddenly large; the optimizer brings it back."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        if step == 500:
            with torch.no_grad():
                fit.model.net[-1].bias[0] += 4.0
        return batch

    plan = Plan(lr=0.05, batch=64, momentum=0.9, steps=900, log_every=1, eval_every=30, names=FAIRSEQ, before=before)
    moon_fit(Silent(log), rng, plan).run()


@BOOK.add("spike", "validation/mse:min", 0.3, since=400)
def experts_bad_batch(log: Log, rng: Rng) -> None:
    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return (batch[0], batch[1] * 30) if step == 400 else batch

    plan = Plan(lr=0.05, momentum=0.5, steps=800, clip=1.0, log_every=2, names=RMSE, before=before)
    expert_fit(log, rng, plan).run()


@BOOK.add("stalled", "test_acc:max", 0.8, since=200)
def pairs_mount_hangs(log: Log, rng: Rng) -> None:
    def after(step: int, fit: Fit, out: Log) -> None:
        if step == 200:
            out.tick(2 * 3600)

    pair_fit(log, rng, Plan(lr=3e-3, optimizer="adam", steps=500, eval_every=25, names=PLAIN, after=after)).run()


@BOOK.add("stalled", "eval/top1:max", 0.7, since=460)
def chirps_collective_times_out(log: Log, rng: Rng) -> None:
    """A rank is late by forty minutes, twice."""

    def after(step: int, fit: Fit, out: Log) -> None:
        if step in (460, 500):
            out.tick(2400)

    chirp_fit(log, rng, Plan(lr=5e-3, optimizer="adam", steps=600, names=TIMM, after=after)).run()
