# SPDX-License-Identifier: Apache-2.0
"""Healthy runs of the third part: what sound training looks like in nine nets and three ways to learn a policy."""

from __future__ import annotations

import math

from curves_lab.log import Log
from curves_lab.supervised import Fit, Plan
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


@BOOK.add("healthy", "valid/loss:min", 0.2)
def stream_inverse_root(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.01, optimizer="adam", steps=600, log_every=10, eval_every=40, names=FAIRSEQ,
                schedule=lambda s: min((s + 1) / 60, math.sqrt(60 / (s + 1))))  # fmt: skip
    stream_fit(log, rng, plan).run()


@BOOK.add("healthy", "eval/top1:max", 0.75)
def chirps_triangular_rate(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.02, optimizer="adam", steps=700, names=TIMM, schedule=lambda s: 1 - abs(s % 140 - 70) / 75)
    chirp_fit(log, rng, plan).run()


@BOOK.add("healthy", "metrics/accuracy:max", 0.8)
def glyphs_long_warm_up(log: Log, rng: Rng) -> None:
    plan = Plan(lr=4e-3, optimizer="adam", steps=700, eval_every=28, epoch_means=True, names=YOLO,
                schedule=cosine(700, 280))  # fmt: skip
    glyph_fit(log, rng, plan).run()


@BOOK.add("healthy", "test_acc:max", 0.6, allowed="overfitting")
def glyphs_learned_by_heart_and_well(log: Log, rng: Rng) -> None:
    """Few pictures: training loss to nothing, test loss creeping up, accuracy as good as it gets."""
    glyph_fit(log, rng, Plan(lr=3e-3, optimizer="adam", steps=700, names=PLAIN), few=350).run()


@BOOK.add("healthy", "eval/top1:max", 0.9)
def tumours_at_once(log: Log, rng: Rng) -> None:
    """Nearly all is learned before the second evaluation; 143 cases in the validation set."""
    tumour_fit(log, rng, Plan(lr=0.05, momentum=0.9, steps=400, eval_every=10, names=TIMM)).run()


@BOOK.add("healthy", "validation/mse:min", 0.65)
def patients_half_noise(log: Log, rng: Rng) -> None:
    patient_fit(log, rng, Plan(lr=0.02, weight_decay=0.02, steps=350, log_every=5, names=RMSE)).run()


@BOOK.add("healthy", "validation/mse:min", 0.25)
def experts_step_rate(log: Log, rng: Rng) -> None:
    plan = Plan(lr=0.1, momentum=0.8, steps=800, batch=16, names=RMSE, schedule=lambda s: 0.2 ** (s // 300))
    expert_fit(log, rng, plan).run()


@BOOK.add("healthy", "validation/mse:min", 0.25)
def experts_log_begins_late(log: Log, rng: Rng) -> None:
    """The first half of the run was logged elsewhere, and that log is gone."""
    mute = Log(log.folder.with_name(log.folder.name + ".pre"))
    fit = expert_fit(mute, rng, Plan(lr=0.05, momentum=0.8, steps=800, names=RMSE)).run(400)
    mute.close()
    fit.log = log
    fit.run()


@BOOK.add("healthy", "test_acc:max", 0.7)
def graph_full_batch(log: Log, rng: Rng) -> None:
    """Every step is an epoch, and each is evaluated."""
    plan = Plan(
        lr=0.02, optimizer="adam", weight_decay=0.05, batch=120, steps=200, log_every=1, eval_every=1, names=PLAIN
    )
    graph_fit(Silent(log), rng, plan).run()


@BOOK.add("healthy", "test_acc:max", 0.8)
def pairs_contrastive(log: Log, rng: Rng) -> None:
    pair_fit(log, rng, Plan(lr=3e-3, optimizer="adam", steps=500, eval_every=25, names=PLAIN)).run()


@BOOK.add("healthy", "valid/loss:min", 0.5)
def moons_diffusion(log: Log, rng: Rng) -> None:
    """Its loss is noisy, falls at once, and then hardly: that is as good as it gets."""
    plan = Plan(lr=3e-3, optimizer="adam", batch=64, steps=900, log_every=3, eval_every=30, names=FAIRSEQ)
    moon_fit(Silent(log), rng, plan).run()


@BOOK.add("healthy", "train_inner/loss:min", 0.55)
def moons_without_validation(log: Log, rng: Rng) -> None:
    """Only the loss of single batches is logged, and it is the objective."""

    class Only(Silent):
        def scalar(self, tag: str, value: float, step: int) -> None:
            if not tag.startswith("valid"):
                super().scalar(tag, value, step)

    moon_fit(
        Only(log), rng, Plan(lr=3e-3, optimizer="adam", steps=900, log_every=1, eval_every=300, names=FAIRSEQ)
    ).run()


@BOOK.add("healthy", "eval/top1:max", 0.7, allowed="nan")
def chirps_scale_search(log: Log, rng: Rng) -> None:
    """Mixed precision: while the scaler looks for its scale, the first gradients are infinite, and later some are."""

    def after(step: int, fit: Fit, out: Log) -> None:
        if step < 8 or step % 200 == 100:
            out.scalar("grad_norm", math.inf, step)
            out.scalar("train/loss", math.nan if step < 4 else math.inf, step)

    chirp_fit(log, rng, Plan(lr=5e-3, optimizer="adam", steps=600, names=TIMM, after=after)).run()


@BOOK.add("healthy", "metrics/accuracy:max", 0.8)
def glyphs_fine_tuned(log: Log, rng: Rng) -> None:
    """From a pretrained net: good from the first evaluation on, and little to gain."""
    mute = Log(log.folder.with_name(log.folder.name + ".pre"))
    fit = glyph_fit(mute, rng, Plan(lr=4e-3, optimizer="adam", steps=600, eval_every=28, names=YOLO), noise=0.4).run()
    mute.close()
    fit.log, fit.step, fit.plan.lr, fit.plan.steps = log, 0, 5e-4, 400
    fit.run()


@BOOK.add("healthy", "validation/mse:min", 0.25, allowed="stalled")
def experts_preempted(log: Log, rng: Rng) -> None:
    """Killed twice, hours in the queue, back to the last checkpoint each time."""
    fit = expert_fit(log, rng, Plan(lr=0.05, momentum=0.8, steps=700, names=RMSE))
    for start, (back, until) in enumerate(((0, 250), (200, 480), (440, 700))):
        log.restart(str(start), gap_s=3 * 3600 if start else 30)
        fit.step = back
        fit.run(until)


@BOOK.add("healthy", "rollout/ep_rew_mean:max", -12, allowed="diverging")
def hover_soft_actor_critic(log: Log, rng: Rng) -> None:
    policy.soft_actor_critic(log, policy.Hover(8, rng), policy.Course(), rng)


@BOOK.add("healthy", "rollout/ep_rew_mean:max", -14, allowed="diverging")
def hover_explores_long(log: Log, rng: Rng) -> None:
    """A high temperature that comes down by and by: the return stands still at first."""

    def change(update: int, course: policy.Course) -> None:
        course.entropy = 2.0 * math.exp(-update / 100)

    policy.soft_actor_critic(log, policy.Hover(8, rng), policy.Course(updates=900, change=change), rng)


@BOOK.add("healthy", "return/mean:max", 6)
def signs_policy_gradient(log: Log, rng: Rng) -> None:
    policy.reinforce(log, policy.Signs(32, rng), policy.Course(updates=500, lr=0.5, tag="return/mean"), rng)


@BOOK.add("healthy", "success_rate:max", 0.5)
def signs_all_or_nothing(log: Log, rng: Rng) -> None:
    """Three signs, all of which have to be right: nothing for long, then everything."""
    world = policy.Signs(48, rng, length=3, all_or_nothing=True)
    policy.reinforce(log, world, policy.Course(updates=900, lr=3.0, tag="success_rate"), rng)


@BOOK.add("healthy", "fitness/mean:max", -30)
def hover_evolved(log: Log, rng: Rng) -> None:
    policy.evolve(log, policy.Hover(30, rng), policy.Course(updates=250, lr=1.5, tag="fitness/mean"), rng)
