# SPDX-License-Identifier: Apache-2.0
"""What a run is for: the objective, and what the names of its tags say about the other curves.

A curve can only be judged by someone who knows what it should do. People say so in ``preferences.md``; where they
did not, ``guess`` reads it off the tag names and its result says that it was guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from ade_hpc.metrics.series import Curves, Series

Direction = Literal["min", "max"]
Split = Literal["train", "val", "test", ""]
Family = Literal["loss", "score", "return", "gradient", "dead", "update", "rate", ""]


class Objective(Protocol):
    """What the user wants of a run. Anything with these three attributes will do.

    tag: the scalar that decides. goal: its good direction. target: the value at which it is good enough, or None.
    """

    @property
    def tag(self) -> str: ...
    @property
    def goal(self) -> Direction: ...
    @property
    def target(self) -> float | None: ...


@dataclass(frozen=True)
class Guess:
    """An objective read off the tag names because nobody named one."""

    tag: str
    goal: Direction
    target: float | None = None
    guessed: bool = True


@dataclass(frozen=True)
class Role:
    """What the name of a tag says of its curve.

    family: what is measured; ``rate`` is a learning rate, ``dead`` a fraction of dead units.
    goal: the good direction, where the name tells.
    split: the data it was measured on. main: the quantity that is trained, not one term of it or an auxiliary.
    stem: the words that are left without the split: ``loss/train`` and ``val_loss`` share ``("loss",)``.
    """

    family: Family
    goal: Direction | None
    split: Split
    main: bool
    stem: tuple[str, ...]


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TRAIN = _set("train training fit")
_VAL = _set("val valid validation dev eval evaluation heldout holdout")
_TEST = _set("test testing")
_RETURN = _set("reward rewards rew return returns ret score scores success win fitness")
_EPISODE = _set("episodic episode ep rollout charts")
_SCORE = _set(
    "acc accuracy accuracies top top1 top5 f1 auc auroc auprc map ap ap50 bleu rouge meteor iou miou dice jaccard "
    "precision recall psnr ssim r2 mrr ndcg hits kappa mcc correct"
)
_LOSS = _set(
    "loss losses cost costs logloss error err perplexity ppl wer cer mse rmse mae nll bce ce crossentropy xent bpc bpd "
    "fid mape"
)
_NEUTRAL = _set(
    "total overall mean avg average epoch batch step steps iter iteration global entropy sparse categorical "
    "binary objective metrics metric scalars running smooth smoothed lm rate m"
)
_SPREAD = _set("std var variance stddev len length time fps count num")
_WORD = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+(?![a-z])\d*|\d+")


def words(tag: str) -> tuple[str, ...]:
    """The lower-case words of a tag: ``epoch_valLoss (1)`` gives ``("epoch", "val", "loss", "1")``."""
    return tuple(word.lower() for word in _WORD.findall(tag))


def role(tag: str) -> Role:
    """What the name of ``tag`` says. Unknown words give an empty family, never an error."""
    named = words(tag)
    known = frozenset(named)
    split: Split = "val" if known & _VAL else "test" if known & _TEST else "train" if known & _TRAIN else ""
    stem = tuple(w for w in named if w not in _TRAIN | _VAL | _TEST and w not in {"epoch", "step", "batch", "iter"})
    family = _family(known)
    goals: dict[Family, Direction] = {"loss": "min", "score": "max", "return": "max"}
    # "error rate" falls, "mean reward std" has no direction, "value loss" is a loss but not the one that counts
    counted = {word for word in stem if not word.isdigit() or family == "loss"}  # "return_100", but not "loss_2"
    main = family in goals and counted <= _LOSS | _SCORE | _RETURN | _EPISODE | _NEUTRAL | {"cross"}
    main = main and ("entropy" not in stem or "cross" in stem)
    return Role(family, goals.get(family), split, main, stem)


def _family(known: frozenset[str]) -> Family:
    if known & {"grad", "grads", "gradient", "gradnorm", "gnorm"}:
        return "gradient"
    if known & {"dead", "dormant"}:
        return "dead"
    if {"update", "ratio"} <= known:
        return "update"
    if known & {"lr", "learningrate"} or {"learning", "rate"} <= known:
        return "rate"
    if known & _SPREAD:
        return ""
    if known & _LOSS or {"cross", "entropy"} <= known:
        return "loss"
    if known & _SCORE:
        return "score"
    return "return" if known & _RETURN else ""


def guess(curves: Curves) -> Guess | None:
    """The objective that the tag names suggest, or None where no tag tells.

    Scores and returns come before losses (they are what people compare), validation before training, and among
    equals the tag with more points. A tag with fewer than two finite values is not yet an objective.
    """
    ranked = sorted(_candidates(curves.series.values()), key=lambda pair: pair[0])
    if not ranked:
        return None
    series, said = ranked[-1][1]
    return Guess(series.tag, said.goal or "min")


def _candidates(every: Iterable[Series]) -> Iterable[tuple[tuple[int, ...], tuple[Series, Role]]]:
    for series in every:
        said = role(series.tag)
        points = int(np.isfinite(series.values).sum())
        if said.goal is None or not said.main or len(series) < 2:
            continue
        held_out = {"val": 2, "test": 1}.get(said.split, 0)
        settled = int(points >= 3 or not points)
        yield (settled, int(said.goal == "max"), held_out, points, -len(series.tag)), (series, said)
