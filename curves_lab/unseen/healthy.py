# SPDX-License-Identifier: Apache-2.0
"""Healthy runs of the test split: what sound training looks like in twelve nets, with every habit that alarms."""

from __future__ import annotations

import math

import torch

from curves_lab.log import Log
from curves_lab.supervised import Fit, Plan
from curves_lab.unseen import data, nets
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
    cosine,
    linear,
    teach,
)


@BOOK.add("healthy", "accuracy:max", 0.86)
def highway_one_cycle(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.02, optimizer="adam", steps=800, eval_every=40, schedule=cosine(800, 240))
    teach(log, rng, FASTAI, nets.Highway(), data.hastie(rng), plan).run()


@BOOK.add("healthy", "val_acc:max", 0.86)
def highway_resumed_thrice(log: Log, rng: Rng) -> None:
    """Every job may run for an hour; each goes on from the checkpoint, and so do step and schedule."""
    plan = Plan(lr=4e-3, optimizer="adam", steps=1200, eval_every=30, log_every=10, schedule=cosine(1200))
    fit = teach(log, rng, LIGHTNING, nets.Highway(), data.hastie(rng), plan)
    for start, (back, until) in enumerate(((0, 310), (300, 620), (600, 950), (930, 1200))):
        fit.log.restart(str(start), gap_s=90)
        fit.step = back
        fit.run(until)


@BOOK.add("healthy", "Acc/valid:max", 84.0, allowed="overfitting spike")
def highway_sure_of_itself(log: Log, rng: Rng) -> None:
    """Accuracy is the objective and stays at its best, while the loss of the few that are wrong creeps up."""
    plan = Plan(lr=3e-3, optimizer="adam", steps=900, log_every=5, eval_every=25)
    teach(log, rng, TUTORIAL, nets.Highway(), data.hastie(rng).few(900), plan).run()


@BOOK.add("healthy", "validation/mse:min", 0.06)
def kan_momentum_bumps(log: Log, rng: Rng) -> None:
    """Heavy momentum overshoots at first, twice or three times, and settles."""
    plan = Plan(lr=3e-3, momentum=0.98, steps=900, log_every=4, eval_every=15, schedule=lambda s: 1 / (1 + s / 200))
    teach(log, rng, IGNITE, nets.kan(), data.impedance(rng), plan).run()


@BOOK.add("healthy", "validation/epoch_loss:min", 0.05)
def kan_rate_drops(log: Log, rng: Rng) -> None:
    """Reduced on plateaus by a fifth, thrice; an epoch is 28 steps."""
    plan = Plan(lr=0.03, optimizer="adam", steps=1960, eval_every=28, epoch_means=True,
                schedule=lambda s: 0.2 ** min(3, s // 560))  # fmt: skip
    teach(log, rng, KERAS, nets.kan(), data.impedance(rng), plan).run()


@BOOK.add("healthy", "val/loss:min", 0.06)
def kan_log_begins_late(log: Log, rng: Rng) -> None:
    """What was logged of the first third is lost."""
    mute = Log(log.folder.with_name(log.folder.name + ".pre"))
    plan = Plan(lr=4e-3, optimizer="adam", steps=900, log_every=1, eval_every=20)
    fit = teach(mute, rng, NANOGPT, nets.kan(), data.impedance(rng), plan).run(300)
    mute.close()
    fit.log = teach(log, rng, NANOGPT, fit.model, fit.data, plan).log
    fit.run()


@BOOK.add("healthy", "val/loss:min", 0.08)
def unet_cosine(log: Log, rng: Rng) -> None:
    plan = Plan(lr=4e-3, optimizer="adam", weight_decay=0.01, steps=600, log_every=10, eval_every=50,
                schedule=cosine(600, 30))  # fmt: skip
    teach(log, rng, MMENGINE, nets.UNet(), data.photos(rng), plan).run()


@BOOK.add("healthy", "metrics/psnr:max", 10.5)
def unet_psnr(log: Log, rng: Rng) -> None:
    """The objective is a ratio in decibel; the validation loss stands beside it."""

    def after(step: int, fit: Fit, out: Log) -> None:
        if step % 20 == 0:
            with torch.no_grad():
                out.scalar("metrics/psnr", -10 * math.log10(float(fit.loss(fit.data.x_val, fit.data.y_val))), step)

    plan = Plan(lr=0.1, momentum=0.9, clip=1.0, steps=500, log_every=5, after=after)
    teach(log, rng, LIGHTNING, nets.UNet(), data.photos(rng), plan).run()


@BOOK.add("healthy", "valid_loss:min", 1.65, allowed="nan")
def flow_loss_scaler(log: Log, rng: Rng) -> None:
    """Half precision: some steps overflow, are logged as infinite, and skipped."""

    def after(step: int, fit: Fit, out: Log) -> None:
        if step in (0, 5, 10) or step % 170 == 85:
            out.scalar("train_loss", math.inf, step)

    plan = Plan(lr=2e-3, optimizer="adam", clip=5.0, batch=64, steps=600, log_every=5, eval_every=25, after=after)
    teach(log, rng, FASTAI, nets.Flow(), data.dunes(rng), plan, nets.Likelihood).run()


@BOOK.add("healthy", "eval/loss:min", 0.7)
def flow_below_nought(log: Log, rng: Rng) -> None:
    """A density may be above one: the loss of single batches falls through nought."""
    plan = Plan(lr=4e-3, optimizer="adam", clip=2.0, batch=64, steps=900, log_every=10, eval_every=30,
                schedule=cosine(900))  # fmt: skip
    teach(log, rng, HF, nets.Flow(), data.dunes(rng, noise=0.04), plan, nets.Likelihood).run()


@BOOK.add("healthy", "metrics/eval/MulticlassAccuracy:max", 0.9)
def perceiver_takes_off_late(log: Log, rng: Rng) -> None:
    """At chance for a good while, until the attention finds the mark."""
    plan = Plan(lr=0.03, momentum=0.9, steps=1200, eval_every=20, schedule=cosine(1200, 100))
    teach(log, rng, COMPOSER, nets.Perceiver(), data.needles(rng), plan).run()


@BOOK.add("healthy", "eval/accuracy:max", 0.9)
def perceiver_long_warm_up(log: Log, rng: Rng) -> None:
    """Half of the run is warm-up: hardly anything happens at first."""
    plan = Plan(lr=2e-3, optimizer="adam", steps=900, log_every=10, eval_every=30, schedule=linear(900, 450))
    teach(log, rng, HF, nets.Perceiver(), data.needles(rng), plan).run()


@BOOK.add("healthy", "val/loss:min", 1.55)
def space_warm_restarts(log: Log, rng: Rng) -> None:
    """The rate jumps back up every 150 steps, and the loss with it."""
    plan = Plan(lr=0.1, optimizer="adam", steps=900, log_every=1, eval_every=10,
                schedule=lambda s: 0.02 + 0.49 * (1 + math.cos(math.pi * (s % 150) / 150)))  # fmt: skip
    teach(log, rng, NANOGPT, nets.Space(), data.brackets(rng), plan).run()


@BOOK.add("healthy", "eval/perplexity:min", 4.2)
def space_perplexity(log: Log, rng: Rng) -> None:
    def after(step: int, fit: Fit, out: Log) -> None:
        if step % 25 == 0:
            with torch.no_grad():
                out.scalar("eval/perplexity", math.exp(float(fit.loss(fit.data.x_val, fit.data.y_val))), step)

    plan = Plan(lr=4e-3, optimizer="adam", clip=1.0, steps=600, log_every=10, eval_every=25, after=after,
                schedule=linear(600, 60))  # fmt: skip
    teach(log, rng, HF, nets.Space(), data.brackets(rng), plan).run()


@BOOK.add("healthy", "train/loss_iter:min", 1.5)
def space_no_validation(log: Log, rng: Rng) -> None:
    """Batches of eight sentences and nothing else; validation is asked for at the ends alone."""
    plan = Plan(lr=3e-3, optimizer="adam", batch=8, steps=1500, log_every=1, eval_every=750, schedule=cosine(1500))
    teach(log, rng, NANOGPT, nets.Space(width=24), data.brackets(rng), plan).run()


@BOOK.add("healthy", "val_loss:min", 0.08)
def liquid_plain(log: Log, rng: Rng) -> None:
    plan = Plan(lr=8e-3, optimizer="adam", clip=1.0, steps=500, log_every=5, eval_every=25)
    teach(log, rng, LIGHTNING, nets.Liquid(), data.glass(rng), plan).run()


@BOOK.add("healthy", "validation/epoch_loss:min", 0.06)
def liquid_fine_tuned(log: Log, rng: Rng) -> None:
    """From a checkpoint of the same task, with a tenth of the rate: good at once, a little better by and by."""
    mute = Log(log.folder.with_name(log.folder.name + ".pre"))
    plan = Plan(lr=8e-3, optimizer="adam", clip=1.0, steps=400, eval_every=20)
    fit = teach(mute, rng, KERAS, nets.Liquid(), data.glass(rng), plan).run()
    mute.close()
    plan = Plan(lr=8e-4, optimizer="adam", clip=1.0, steps=800, eval_every=20, epoch_means=True)
    teach(log, rng, KERAS, fit.model, fit.data, plan).run()


@BOOK.add("healthy", "val_acc:max", 0.9)
def wine_forty_five_to_validate(log: Log, rng: Rng) -> None:
    """One case more or less is two per cent; forty epochs, and nothing else is logged."""
    plan = Plan(lr=0.02, momentum=0.9, batch=8, steps=640, eval_every=16, epoch_means=True)
    teach(log, rng, LIGHTNING_EPOCHS, nets.Prototypes(), data.wine(rng), plan).run()


@BOOK.add("healthy", "accuracy/top1:max", 88.0)
def wine_single_samples(log: Log, rng: Rng) -> None:
    """Batches of one: the loss of a step says next to nothing."""
    plan = Plan(lr=0.003, batch=1, steps=2000, log_every=2, eval_every=100)
    teach(log, rng, MMENGINE, nets.Prototypes(each=1), data.wine(rng), plan).run()


@BOOK.add("healthy", "eval/loss:min", 0.04, allowed="spike")
def hyper_gradient_noise(log: Log, rng: Rng) -> None:
    plan = Plan(lr=2e-3, optimizer="adam", batch=2, steps=2500, log_every=5, eval_every=50)
    teach(log, rng, HF, nets.Hyper(), data.curves(rng), plan).run()


@BOOK.add("healthy", "valid_loss:min", 0.03, allowed="spike")
def hyper_steps(log: Log, rng: Rng) -> None:
    """Stands still between the drops of its rate."""
    plan = Plan(lr=0.1, momentum=0.9, batch=16, clip=1.0, steps=1500, eval_every=25,
                schedule=lambda s: 0.15 ** (s // 500))  # fmt: skip
    teach(log, rng, FASTAI, nets.Hyper(), data.curves(rng), plan).run()


@BOOK.add("healthy", "validation/mse:min", 0.15)
def ode_adam(log: Log, rng: Rng) -> None:
    """Falls at once by a factor of ten, then ever more slowly."""
    plan = Plan(lr=0.01, optimizer="adam", steps=700, log_every=5)
    teach(log, rng, IGNITE, nets.Stream(), data.orbits(rng), plan).run()


@BOOK.add("healthy", "metrics/eval/CrossEntropy:min", 0.5)
def cross_list_loss(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.05, momentum=0.9, clip=1.0, steps=800, eval_every=40, schedule=cosine(800, 80))
    teach(log, rng, COMPOSER, nets.Cross(), data.offers(rng), plan).run()


@BOOK.add("healthy", "eval/ndcg:max", 0.85)
def cross_ndcg(log: Log, rng: Rng) -> None:
    """A ranker's own measure of what was taken: one over the logarithm of its place."""

    def after(step: int, fit: Fit, out: Log) -> None:
        if step % 25 == 0:
            with torch.no_grad():
                scores = fit.model(fit.data.x_val)
            place = (scores > scores.gather(1, fit.data.y_val[:, None])).sum(dim=1)
            out.scalar("eval/ndcg", float((1 / torch.log2(place + 2.0)).mean()), step)

    plan = Plan(lr=3e-3, optimizer="adam", steps=700, log_every=5, eval_every=25, after=after)
    teach(log, rng, HF, nets.Cross(), data.offers(rng), plan).run()


@BOOK.add("healthy", "val_acc:max", 0.75, allowed="stalled")
def cross_preempted(log: Log, rng: Rng) -> None:
    """Requeued twice, for hours; a hundred steps are done again each time."""
    plan = Plan(lr=3e-3, optimizer="adam", steps=800, log_every=5, eval_every=25)
    fit = teach(log, rng, LIGHTNING, nets.Cross(), data.offers(rng), plan)
    for start, (back, until) in enumerate(((0, 300), (200, 600), (500, 800))):
        fit.log.restart(str(start), gap_s=5 * 3600 if start else 30)
        fit.step = back
        fit.run(until)


@BOOK.add("healthy", "accuracy/top1:max", 90.0)
def radial_in_per_cent(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.02, optimizer="adam", steps=600, log_every=5, eval_every=30, schedule=linear(600))
    teach(log, rng, MMENGINE, nets.Radial(), data.shells(rng), plan).run()


@BOOK.add("healthy", "Loss/valid:min", 0.85)
def radial_smoothed_labels(log: Log, rng: Rng) -> None:
    """Smoothed labels and a strong decay: the loss can't fall by much, and a third of its start is all there is."""
    plan = Plan(lr=0.02, optimizer="adam", weight_decay=0.02, smoothing=0.3, steps=500, eval_every=25)
    teach(log, rng, TUTORIAL, nets.Radial(), data.shells(rng), plan).run()
