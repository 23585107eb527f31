# SPDX-License-Identifier: Apache-2.0
"""What the recipes of the third part share: their book, the habits of five trainers, how nets meet data."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch import nn

from curves_lab.log import Log
from curves_lab.recipe import Book
from curves_lab.supervised import Fit, Names, Plan
from curves_lab.third import data, nets, policy

BOOK = Book("validation", data, nets, policy)
Rng = np.random.Generator

FAIRSEQ = Names("train_inner/loss", "valid/loss", "")
YOLO = Names("train/cls_loss", "val/cls_loss", "metrics/accuracy", by_epoch=True)
PLAIN = Names("train_loss", "test_loss", "test_acc", "train_acc")
TIMM = Names("train/loss", "eval/loss", "eval/top1")
RMSE = Names("training/mse", "validation/mse", "")


class Silent(Log):
    """The log of a trainer that writes neither its learning rate nor anything of its gradients."""

    def __init__(self, log: Log) -> None:
        super().__init__(log.folder)
        self.log = log

    def scalar(self, tag: str, value: float, step: int) -> None:
        if tag not in ("lr", "grad_norm", "update_ratio", "dead_frac"):
            self.log.clock = self.clock
            self.log.scalar(tag, value, step)


def chirp_fit(log: Log, rng: Rng, plan: Plan, *, layers: int = 4, few: int = 900) -> Fit:
    return Fit(log, nets.Dilated(4, layers), data.chirps(rng).few(few), plan, rng)


def stream_fit(log: Log, rng: Rng, plan: Plan) -> Fit:
    return Fit(log, nets.Dilated(1), data.streams(rng), plan, rng)


def glyph_fit(log: Log, rng: Rng, plan: Plan, *, few: int = 900, noise: float = 0.5, wrong: float = 0.0) -> Fit:
    d = data.glyphs(rng, noise=noise).few(few)
    return Fit(log, nets.Mixer(), d.mislabelled(wrong, rng) if wrong else d, plan, rng)


def tumour_fit(log: Log, rng: Rng, plan: Plan) -> Fit:
    return Fit(log, nets.Gated(30, 2), data.tumours(rng), plan, rng)


def patient_fit(log: Log, rng: Rng, plan: Plan, *, few: int = 331, width: int = 32) -> Fit:
    return Fit(log, nets.Gated(10, 1, width), data.patients(rng).few(few), plan, rng)


def expert_fit(log: Log, rng: Rng, plan: Plan, *, few: int = 750, experts: int = 4, noise: float = 0.5) -> Fit:
    return Fit(log, nets.Experts(experts=experts), data.friedman(rng, noise=noise).few(few), plan, rng)


def graph_fit(log: Log, rng: Rng, plan: Plan, *, edges: bool = True) -> Fit:
    nodes, features, adjacency = data.graph(rng)
    model: nn.Module = nets.Graph(features, adjacency if edges else adjacency.diag().sign().diag())
    return Fit(log, model, nodes, plan, rng)


def pair_fit(log: Log, rng: Rng, plan: Plan, *, few: int = 900) -> Fit:
    return nets.Compare(log, nets.Siamese(), data.pairs(rng).few(few), plan, rng)


def moon_fit(log: Log, rng: Rng, plan: Plan) -> Fit:
    return nets.Diffuse(log, nets.Denoiser(), data.moons(rng), plan, rng)


def cosine(steps: int, warm: int = 0) -> Callable[[int], float]:
    """Up in a line, down in half a cosine to nothing."""
    return lambda s: (s + 1) / warm if s < warm else 0.5 * (1 + math.cos(math.pi * (s - warm) / max(steps - warm, 1)))
