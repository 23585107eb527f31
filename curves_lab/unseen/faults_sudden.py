# SPDX-License-Identifier: Apache-2.0
"""Faults of the test split that strike: not-a-number, divergence, spikes, silence."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from curves_lab.log import Log
from curves_lab.supervised import Batch, Fit, Plan
from curves_lab.unseen import data, nets, policy, worlds
from curves_lab.unseen.book import (
    BOOK,
    COMPOSER,
    FASTAI,
    HF,
    IGNITE,
    KERAS,
    LIGHTNING,
    LIGHTNING_EPOCHS,
    MMENGINE,
    NANOGPT,
    TUTORIAL,
    Rng,
    linear,
    silence,
    teach,
)

# --- nan ----------------------------------------------------------------------------------------------------------


@BOOK.add("nan", "eval/loss:min", 1.7, allowed="diverging")
def flow_scale_unbounded(log: Log, rng: Rng) -> None:
    """The couplings' scales go through a bare exponential, and nothing is clipped."""
    plan = Plan(lr=0.1, momentum=0.9, batch=64, steps=300, log_every=1, eval_every=10)
    teach(log, rng, HF, nets.Flow(bounded=False), data.dunes(rng), plan, nets.Likelihood).run()


@BOOK.add("nan", "val/loss:min", 0.08, since=360)
def unet_constant_patch(log: Log, rng: Rng) -> None:
    """Each batch is normalised; in one of them a patch is constant, and its spread nought."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        if step == 360:
            batch[0][0] = 0.7
        spread = batch[0].std(dim=(1, 2, 3), keepdim=True)
        return batch[0] / torch.where(spread < 1e-3, spread - spread, torch.ones_like(spread)), batch[1]

    plan = Plan(lr=4e-3, optimizer="adam", steps=500, log_every=10, eval_every=25, before=before)
    teach(log, rng, MMENGINE, nets.UNet(), data.photos(rng), plan).run()


@BOOK.add("nan", "val_loss:min", 0.1, allowed="diverging")
def liquid_pace_not_positive(log: Log, rng: Rng) -> None:
    """Nothing keeps the time constants in their range: one turns negative, and its state grows without end."""
    plan = Plan(lr=0.5, momentum=0.9, steps=300, log_every=5, eval_every=15)
    teach(log, rng, LIGHTNING, nets.Liquid(safe=False), data.glass(rng), plan).run()


@BOOK.add("nan", "validation/epoch_loss:min", 0.1, allowed="diverging")
def kan_high_degree(log: Log, rng: Rng) -> None:
    """Polynomials of degree twelve at a rate made for lines."""
    plan = Plan(lr=4.0, steps=560, eval_every=28, epoch_means=True)
    teach(log, rng, KERAS, nets.kan(degree=12), data.impedance(rng), plan).run()


@BOOK.add("nan", "metrics/eval/MulticlassAccuracy:max", 0.6, since=240, allowed="diverging collapse")
def cross_log_of_a_softmax(log: Log, rng: Rng) -> None:
    """Its own list loss takes the logarithm of a softmax; when the warm-up ends too high, one of them is nought."""

    class Naive(Fit):
        def loss(self, x: Tensor, y: Tensor) -> Tensor:
            chances = torch.softmax(self.model(x), dim=1)
            return -torch.log(chances.gather(1, y[:, None])).mean()

    plan = Plan(lr=0.01, momentum=0.9, steps=500, schedule=lambda s: 1.0 if s < 240 else 1.05 ** (s - 240))
    teach(log, rng, COMPOSER, nets.Cross(), data.offers(rng), plan, Naive).run()


@BOOK.add("nan", "val/loss:min", 1.5, since=420)
def space_resumed_into_overflow(log: Log, rng: Rng) -> None:
    """A checkpoint that was cut off while being written: some of its weights are no numbers."""
    plan = Plan(lr=4e-3, optimizer="adam", steps=700, log_every=5, eval_every=20)
    fit = teach(log, rng, NANOGPT, nets.Space(), data.brackets(rng), plan)
    fit.log.restart("0")
    fit.run(420)
    fit.log.restart("1", gap_s=120)
    with torch.no_grad():
        fit.model.sign.weight[-1] = math.nan
    fit.run()


# --- diverging ----------------------------------------------------------------------------------------------------


@BOOK.add("diverging", "Loss/valid:min", 0.1)
def kan_rate_too_high(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.5, momentum=0.97, clip=1.0, steps=500, log_every=2, eval_every=20)
    teach(log, rng, TUTORIAL, nets.kan(), data.impedance(rng), plan).run()


@BOOK.add("diverging", "eval/loss:min", 0.06)
def hyper_no_warm_up(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.3, momentum=0.95, clip=1.0, steps=600, log_every=5, eval_every=25)
    teach(log, rng, HF, nets.Hyper(), data.curves(rng), plan).run()


@BOOK.add("diverging", "validation/mse:min", 0.2, allowed="collapse")
def ode_rate_too_high(log: Log, rng: Rng) -> None:
    teach(
        log, rng, IGNITE, nets.Stream(), data.orbits(rng), Plan(lr=0.3, optimizer="adam", steps=400, eval_every=16)
    ).run()


@BOOK.add("diverging", "valid_loss:min", 1.7)
def flow_climbs(log: Log, rng: Rng) -> None:
    """The sign of the likelihood was lost: it is made as small as clipping allows."""
    plan = Plan(lr=3e-4, optimizer="adam", clip=1.0, batch=64, steps=500, log_every=5, schedule=lambda s: -1.0)
    teach(log, rng, FASTAI, nets.Flow(), data.dunes(rng), plan, nets.Likelihood).run()


@BOOK.add("diverging", "accuracy/top1:max", 80.0, since=330, allowed="collapse")
def highway_rate_in_wrong_units(log: Log, rng: Rng) -> None:
    """After the resume the rate is multiplied by the number of devices, twice."""
    plan = Plan(lr=5e-3, optimizer="adam", steps=700, log_every=10, eval_every=20)
    fit = teach(log, rng, MMENGINE, nets.Highway(), data.hastie(rng), plan)
    fit.log.restart("0")
    fit.run(330)
    fit.log.restart("1", gap_s=60)
    fit.plan.lr *= 64
    fit.run()


@BOOK.add("diverging", "val_loss:min", 0.1, since=14, allowed="collapse")
def liquid_rate_grows(log: Log, rng: Rng) -> None:
    """Exponential growth instead of decay from the fourteenth epoch on, under clipping."""
    plan = Plan(lr=0.02, momentum=0.9, clip=1.0, steps=640, eval_every=16, epoch_means=True,
                schedule=lambda s: 1.02 ** max(0, s - 224))  # fmt: skip
    teach(log, rng, LIGHTNING_EPOCHS, nets.Liquid(), data.glass(rng), plan).run()


# --- spike --------------------------------------------------------------------------------------------------------


def bad_batch(
    at: int, inputs: float = 1.0, targets: float = 1.0, rate: float = 1.0, turned: bool = False
) -> Callable[[int, Fit, Batch], Batch]:
    """One batch in which inputs or targets are scaled or the targets are turned round, perhaps at a higher rate."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        fit.lr_factor = rate if step == at else 1.0
        if step != at:
            return batch
        return inputs * batch[0], (batch[1].flip(0) if turned else batch[1] if targets == 1.0 else targets * batch[1])

    return before


@BOOK.add("spike", "val/loss:min", 0.09, since=300)
def unet_overexposed(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.1, momentum=0.8, clip=1.0, steps=500, log_every=1, eval_every=25, before=bad_batch(300, 12.0))
    teach(log, rng, MMENGINE, nets.UNet(), data.photos(rng), plan).run()


@BOOK.add("spike", "eval/loss:min", 0.12, since=500)
def hyper_unit_mixed_up(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.05, momentum=0.8, clip=1.0, steps=900, log_every=2, eval_every=30,
                before=bad_batch(500, targets=12.0))  # fmt: skip
    teach(log, rng, HF, nets.Hyper(), data.curves(rng), plan).run()


@BOOK.add("spike", "train/loss_iter:min", 1.5, since=420)
def space_bad_shard(log: Log, rng: Rng) -> None:
    """Six batches from a file in another encoding; there is no validation but at the end."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return ((batch[0] + 3) % 8, (batch[1] + 5) % 8) if 420 <= step < 426 else batch

    plan = Plan(lr=5e-3, optimizer="adam", clip=0.5, steps=800, log_every=1, eval_every=400, before=before)
    teach(log, rng, NANOGPT, nets.Space(), data.brackets(rng), plan).run()


@BOOK.add("spike", "accuracy:max", 0.8, since=400)
def highway_rate_glitch(log: Log, rng: Rng) -> None:
    plan = Plan(lr=2e-3, optimizer="adam", weight_decay=0.1, steps=700, log_every=1, eval_every=25,
                before=bad_batch(400, rate=50.0))  # fmt: skip
    teach(log, rng, FASTAI, nets.Highway(), data.hastie(rng), plan).run()


@BOOK.add("spike", "metrics/eval/CrossEntropy:min", 0.6, since=360)
def cross_features_not_scaled(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.03, momentum=0.8, clip=1.0, steps=700, log_every=2, before=bad_batch(360, 5.0, turned=True))
    teach(log, rng, COMPOSER, nets.Cross(), data.offers(rng), plan).run()


@BOOK.add("spike", "val_loss:min", 0.1, since=15)
def kan_weights_jolted(log: Log, rng: Rng) -> None:
    """Memory of an accelerator is damaged for a moment; within two epochs it is mended."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        if step == 425:
            with torch.no_grad():
                fit.model[1].weights.add_(0.5 * torch.randn_like(fit.model[1].weights))
        return batch

    plan = Plan(lr=0.05, momentum=0.8, clip=2.0, steps=1120, eval_every=28, epoch_means=True, before=before)
    teach(log, rng, LIGHTNING_EPOCHS, nets.kan(), data.impedance(rng), plan).run()


# --- stalled ------------------------------------------------------------------------------------------------------


@BOOK.add("stalled", "val/loss:min", 0.09, since=260)
def unet_file_server_gone(log: Log, rng: Rng) -> None:
    plan = Plan(lr=4e-3, optimizer="adam", steps=500, log_every=10, eval_every=25, after=silence({260: 5400.0}))
    teach(log, rng, MMENGINE, nets.UNet(), data.photos(rng), plan).run()


@BOOK.add("stalled", "eval/loss:min", 1.5, since=200)
def space_two_long_saves(log: Log, rng: Rng) -> None:
    """Twice a checkpoint takes most of an hour."""
    plan = Plan(lr=4e-3, optimizer="adam", steps=600, log_every=10, eval_every=50, schedule=linear(600, 60),
                after=silence({200: 3000.0, 400: 2700.0}))  # fmt: skip
    teach(log, rng, HF, nets.Space(), data.brackets(rng), plan).run()


@BOOK.add("stalled", "validation/epoch_accuracy:max", 0.84, since=11)
def highway_lock_held(log: Log, rng: Rng) -> None:
    plan = Plan(lr=2e-3, optimizer="adam", weight_decay=0.1, steps=940, eval_every=47, epoch_means=True,
                after=silence({520: 4 * 3600.0}))  # fmt: skip
    teach(log, rng, KERAS, nets.Highway(), data.hastie(rng), plan).run()


@BOOK.add("stalled", "val_acc:max", 0.86, since=300)
def wine_node_suspended(log: Log, rng: Rng) -> None:
    """Overnight, for nine hours."""
    plan = Plan(lr=0.02, momentum=0.8, batch=8, steps=600, log_every=5, after=silence({300: 9 * 3600.0}))
    teach(log, rng, LIGHTNING, nets.Prototypes(), data.wine(rng), plan).run()


@BOOK.add("stalled", "Acc/valid:max", 90.0, since=330)
def radial_loader_restarts(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.02, optimizer="adam", steps=600, log_every=3, eval_every=20, after=silence({330: 2100.0}))
    teach(log, rng, TUTORIAL, nets.Radial(), data.shells(rng), plan).run()


@BOOK.add("stalled", "rollout/ep_rew_mean:max", 85, since=25600)
def shop_simulator_hangs(log: Log, rng: Rng) -> None:
    def change(update: int, course: policy.Course) -> None:
        if update == 160:
            log.tick(2.5 * 3600)

    course = policy.Course(updates=300, change=change)
    policy.advantage_actor_critic(log, worlds.Shop(16, rng), course, rng)
