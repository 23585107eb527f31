# SPDX-License-Identifier: Apache-2.0
"""Faults of the third part that are there all along: nothing learned, too little, too slowly, by heart, to and fro."""

from __future__ import annotations

import torch

from curves_lab.log import Log
from curves_lab.supervised import Batch, Fit, Plan
from curves_lab.third import policy
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
    cosine,
    expert_fit,
    glyph_fit,
    graph_fit,
    moon_fit,
    pair_fit,
    patient_fit,
    stream_fit,
    tumour_fit,
)

# --- never-learns -------------------------------------------------------------------------------------------------


@BOOK.add("never-learns", "eval/top1:max", 0.5)
def chirps_input_lost(log: Log, rng: Rng) -> None:
    """A broken pipeline hands out zeros."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return torch.zeros_like(batch[0]), batch[1]

    plan = Plan(lr=5e-3, optimizer="adam", steps=800, names=TIMM, before=before)
    fit = chirp_fit(log, rng, plan)
    fit.data.x_val.zero_()
    fit.run()


@BOOK.add("never-learns", "metrics/accuracy:max", 0.5)
def glyphs_labels_of_another_set(log: Log, rng: Rng) -> None:
    """Pictures and labels were sorted differently; each epoch is logged once."""
    plan = Plan(lr=1e-3, optimizer="adam", weight_decay=0.1, steps=1000, eval_every=28, epoch_means=True, names=YOLO)
    fit = glyph_fit(log, rng, plan)
    fit.data.y[:] = fit.data.y[torch.from_numpy(rng.permutation(len(fit.data.y)))]

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return batch[0] + torch.randn_like(batch[0]), batch[1]  # heavy augmentation: nothing is learned by heart

    fit.plan.before = before
    fit.run()


@BOOK.add("never-learns", "validation/mse:min", 0.7)
def patients_gates_shut(log: Log, rng: Rng) -> None:
    """All gates are shut by their biases: no signal, no gradient."""
    fit = patient_fit(log, rng, Plan(lr=0.01, steps=800, names=RMSE))
    with torch.no_grad():
        for layer in fit.model.layers:
            layer.bias[layer.bias.shape[0] // 2 :] = -40.0
        fit.model.head.bias.zero_()
    fit.run()


@BOOK.add("never-learns", "test_acc:max", 0.65)
def pairs_drawn_at_random(log: Log, rng: Rng) -> None:
    """The sampler of pairs forgets which are the same."""

    def before(step: int, fit: Fit, batch: Batch) -> Batch:
        return batch[0], torch.from_numpy(fit.rng.integers(0, 2, len(batch[1])))

    pair_fit(Silent(log), rng, Plan(lr=1e-3, optimizer="adam", steps=800, names=PLAIN, before=before)).run()


@BOOK.add("never-learns", "rollout/ep_rew_mean:max", -14, allowed="slow oscillating diverging")
def hover_reward_withheld(log: Log, rng: Rng) -> None:
    """The learner is always told a reward of nothing."""
    policy.soft_actor_critic(log, policy.Hover(8, rng), policy.Course(updates=1200, sign=0.0, entropy=0.2), rng)


@BOOK.add("never-learns", "return/mean:max", 4, allowed="slow oscillating")
def signs_gradient_scaled_away(log: Log, rng: Rng) -> None:
    policy.reinforce(log, policy.Signs(32, rng), policy.Course(updates=1200, lr=1e-7, tag="return/mean"), rng)


# --- plateau ------------------------------------------------------------------------------------------------------


@BOOK.add("plateau", "validation/mse:min", 0.15, target=0.15)
def experts_all_but_one_lost(log: Log, rng: Rng) -> None:
    """One small expert can't do what four can."""
    fit = expert_fit(log, rng, Plan(lr=0.05, momentum=0.8, steps=900, names=RMSE, schedule=cosine(900)), experts=1)
    for layer in fit.model.experts[0][:1]:
        layer.requires_grad_(False)
    fit.run()


@BOOK.add("plateau", "eval/top1:max", 0.9, target=0.9)
def chirps_short_sighted(log: Log, rng: Rng) -> None:
    """Two layers see four places back, which tells fast from slow and no more."""
    plan = Plan(lr=5e-3, optimizer="adam", steps=1000, names=TIMM, schedule=lambda s: 0.5 ** (s / 120))
    chirp_fit(log, rng, plan, layers=2).run()


@BOOK.add("plateau", "test_acc:max", 0.85, target=0.85, allowed="overfitting")
def graph_without_edges(log: Log, rng: Rng) -> None:
    plan = Plan(
        lr=0.02, optimizer="adam", weight_decay=0.1, batch=120, steps=320, log_every=1, eval_every=4, names=PLAIN,
        schedule=cosine(300, 10),
    )  # fmt: skip
    graph_fit(log, rng, plan, edges=False).run()


@BOOK.add("plateau", "metrics/accuracy:max", 0.9, target=0.9, since=4)
def glyphs_rate_cut_by_mistake(log: Log, rng: Rng) -> None:
    plan = Plan(lr=2e-3, optimizer="adam", steps=1100, eval_every=20, epoch_means=True, names=YOLO,
                schedule=lambda s: 1.0 if s < 90 else 1e-4)  # fmt: skip
    glyph_fit(log, rng, plan).run()


# --- overfitting --------------------------------------------------------------------------------------------------


@BOOK.add("overfitting", "validation/mse:min", 0.8)
def patients_too_wide(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3e-3, optimizer="adam", steps=700, log_every=5, eval_every=25, names=RMSE)
    patient_fit(Silent(log), rng, plan, few=80, width=96).run()


@BOOK.add("overfitting", "test_loss:min", 1.2)
def glyphs_wrong_labels(log: Log, rng: Rng) -> None:
    plan = Plan(lr=3e-3, optimizer="adam", steps=900, names=PLAIN)
    glyph_fit(log, rng, plan, few=200, wrong=0.35).run()


@BOOK.add("overfitting", "eval/loss:min", 0.9)
def chirps_few(log: Log, rng: Rng) -> None:
    chirp_fit(log, rng, Plan(lr=8e-3, optimizer="adam", steps=700, log_every=10, names=TIMM), few=90).run()


@BOOK.add("overfitting", "validation/mse:min", 0.6)
def experts_few_and_noisy(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.02, optimizer="adam", steps=1200, log_every=5, eval_every=40, names=RMSE)
    expert_fit(log, rng, plan, few=45, noise=3.0, experts=8).run()


# --- oscillating --------------------------------------------------------------------------------------------------


@BOOK.add("oscillating", "validation/mse:min", 0.25)
def experts_momentum_too_high(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.5, momentum=0.97, clip=1.0, steps=800, eval_every=10, names=RMSE)
    expert_fit(log, rng, plan).run()


@BOOK.add("oscillating", "valid/loss:min", 0.3)
def stream_at_the_edge(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.3, momentum=0.95, clip=1.0, steps=800, eval_every=10, names=FAIRSEQ)
    stream_fit(log, rng, plan).run()


# --- slow ---------------------------------------------------------------------------------------------------------


@BOOK.add("slow", "eval/loss:min", 0.2)
def tumours_rate_too_low(log: Log, rng: Rng) -> None:
    tumour_fit(log, rng, Plan(lr=1e-3, steps=800, names=TIMM)).run()


@BOOK.add("slow", "valid/loss:min", 0.6)
def moons_rate_too_low(log: Log, rng: Rng) -> None:
    moon_fit(log, rng, Plan(lr=3e-5, optimizer="adam", batch=64, steps=900, names=FAIRSEQ)).run()


@BOOK.add("slow", "metrics/accuracy:max", 0.7)
def glyphs_rate_too_low(log: Log, rng: Rng) -> None:
    plan = Plan(lr=2e-5, optimizer="adam", steps=1000, eval_every=28, epoch_means=True, names=YOLO)
    glyph_fit(Silent(log), rng, plan).run()
