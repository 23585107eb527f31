# SPDX-License-Identifier: Apache-2.0
"""Small data sets: scikit-learn's digits, and synthetic ones whose difficulty is a parameter."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor


@dataclass(frozen=True)
class Data:
    """Inputs and targets for training and validation; ``classes`` is 0 for regression."""

    x: Tensor
    y: Tensor
    x_val: Tensor
    y_val: Tensor
    classes: int

    def few(self, n: int) -> Data:
        return replace(self, x=self.x[:n], y=self.y[:n])

    def mislabelled(self, share: float, rng: np.random.Generator) -> Data:
        """A share of the training labels drawn anew at random."""
        y = self.y.clone()
        wrong = torch.from_numpy(rng.random(len(y)) < share)
        y[wrong] = torch.from_numpy(rng.integers(0, self.classes, int(wrong.sum())))
        return replace(self, y=y)


def _split(x: np.ndarray, y: np.ndarray, classes: int, rng: np.random.Generator, share: float = 0.75) -> Data:
    order = rng.permutation(len(x))
    cut = int(share * len(x))
    xs = torch.from_numpy(x[order].astype(np.float32))
    ys = torch.from_numpy(y[order].astype(np.int64 if classes else np.float32))
    return Data(xs[:cut], ys[:cut], xs[cut:], ys[cut:], classes)


def digits(rng: np.random.Generator, image: bool = False) -> Data:
    """1797 hand-written digits, 8x8: vectors of 64 or images (1, 8, 8)."""
    bunch = load_digits()
    x = bunch.data / 8.0 - 1.0
    return _split(x.reshape(-1, 1, 8, 8) if image else x, bunch.target, 10, rng)


def marked_sum(rng: np.random.Generator, n: int = 1500, length: int = 12) -> Data:
    """The adding problem: two channels, values and marks; the target is the sum of the two marked values."""
    values = rng.random((n, length))
    marks = np.zeros((n, length))
    for row in marks:
        row[rng.choice(length, 2, replace=False)] = 1
    return _split(np.stack([values, marks], axis=2), (values * marks).sum(axis=1, keepdims=True), 0, rng)


def noisy_line(rng: np.random.Generator, n: int = 1500, noise: float = 1.5) -> Data:
    """Regression in which most of the variance is noise: a healthy run gains little."""
    x = rng.standard_normal((n, 10))
    y = x[:, :3].sum(axis=1, keepdims=True) * 0.6 + noise * rng.standard_normal((n, 1))
    return _split(x, y, 0, rng)


def sines(rng: np.random.Generator, n: int = 1200) -> Data:
    """Regression of a smooth function of two variables."""
    x = rng.uniform(-2, 2, (n, 2))
    return _split(x, np.sin(2 * x[:, :1]) + 0.5 * x[:, 1:] ** 2 + 0.05 * rng.standard_normal((n, 1)), 0, rng)


def spirals(rng: np.random.Generator, n: int = 1500, classes: int = 4, noise: float = 0.15) -> Data:
    """Interleaved spirals in the plane."""
    y = rng.integers(0, classes, n)
    r = rng.random(n)
    angle = 4 * r + 2 * np.pi * y / classes + noise * rng.standard_normal(n)
    return _split(3 * np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1), y, classes, rng)


def waves(rng: np.random.Generator, n: int = 1500, length: int = 48, noise: float = 0.6) -> Data:
    """One-channel signals of five shapes with random phase, for 1-d convolutions and recurrent nets."""
    y = rng.integers(0, 5, n)
    t = np.arange(length) / length + rng.random((n, 1))
    shape = np.stack(
        [np.sin(2 * np.pi * f * t) * (1 if f < 4 else np.sign(np.sin(2 * np.pi * t))) for f in range(1, 6)]
    )
    return _split((shape[y, np.arange(n)] + noise * rng.standard_normal((n, length)))[:, None, :], y, 5, rng)


def tokens(rng: np.random.Generator, n: int = 2000, length: int = 12, vocabulary: int = 8) -> Data:
    """Sequences of tokens; the class is the token that stands where the first token points to."""
    x = rng.integers(0, vocabulary, (n, length))
    x[:, 0] = rng.integers(1, min(vocabulary, length), n)
    y = x[np.arange(n), x[:, 0]]
    return _whole_numbers(_split(x, y, vocabulary, rng))


def long_lag(rng: np.random.Generator, n: int = 800, length: int = 60) -> Data:
    """The class is told by the first element only; the rest is noise."""
    x = 0.5 * rng.standard_normal((n, length, 1))
    y = rng.integers(0, 2, n)
    x[:, 0, 0] = 2 * y - 1
    return _split(x, y, 2, rng)


# --- test split ---------------------------------------------------------------------------------------------------


def documents(rng: np.random.Generator, n: int = 1500, words: int = 120, length: int = 14) -> Data:
    """Bags of words about one of six topics, each with its favourite words; most words are anybody's."""
    y = rng.integers(0, 6, n)
    common = rng.integers(0, words, (n, length))
    own = 12 * y[:, None] + rng.integers(0, 12, (n, length))
    x = np.where(rng.random((n, length)) < 0.25, own, common)
    return _whole_numbers(_split(x, y, 6, rng))


def text(rng: np.random.Generator, n: int = 900, length: int = 16, letters: int = 10) -> Data:
    """Next-letter prediction of a second-order Markov source: the target of each place is the letter after it."""
    source = rng.dirichlet(np.full(letters, 0.15), (letters, letters)).cumsum(axis=2)
    x = rng.integers(0, letters, (n, length + 1))
    for t in range(2, length + 1):
        x[:, t] = (rng.random((n, 1)) > source[x[:, t - 2], x[:, t - 1]]).sum(axis=1).clip(0, letters - 1)
    return _whole_numbers(_split(x[:, :-1], x[:, 1:], letters, rng))


def ratings(rng: np.random.Generator, n: int = 4000, users: int = 80, items: int = 60, noise: float = 0.3) -> Data:
    """(user, item) pairs and a rating of rank three."""
    x = np.stack([rng.integers(0, users, n), rng.integers(0, items, n)], axis=1)
    likes = rng.standard_normal((users, 3)) @ rng.standard_normal((3, items)) / np.sqrt(3)
    return _whole_numbers(_split(x, likes[x[:, 0], x[:, 1]] + noise * rng.standard_normal(n), 0, rng))


def clouds(rng: np.random.Generator, n: int = 1200, points: int = 12) -> Data:
    """Sets of points in the plane from a ring, a cross, a blob or a bar, turned and scaled at random."""
    y = rng.integers(0, 4, n)
    angle, along = rng.uniform(0, 2 * np.pi, (n, points)), rng.uniform(-1, 1, (n, points))
    side = rng.random((n, points)) < 0.5
    shape = np.stack(
        [
            np.stack([np.cos(angle), np.sin(angle)], axis=2),
            np.stack([np.where(side, along, 0), np.where(side, 0, along)], axis=2),
            0.5 * rng.standard_normal((n, points, 2)),
            np.stack([along, 0 * along], axis=2),
        ]
    )[y, np.arange(n)]
    turn = rng.uniform(0, np.pi, n)
    spin = np.stack([np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)], axis=1).reshape(n, 2, 2)
    return _split(shape @ spin + 0.1 * rng.standard_normal((n, points, 2)), y, 4, rng)


def rare_class(rng: np.random.Generator, n: int = 2000) -> Data:
    """Nine in ten belong to one class: always saying so is right nine times in ten."""
    x = rng.standard_normal((n, 6))
    return _split(x, (x[:, 0] * x[:, 1] + 0.5 * x[:, 2] > 1.15).astype(int), 2, rng)


def ripple(rng: np.random.Generator, n: int = 900) -> Data:
    """A line that ripples, quickly on the right."""
    x = rng.uniform(-1, 1, (n, 1))
    return _split(x, np.sin(3 * np.pi * x * (1 + x)) + 0.05 * rng.standard_normal((n, 1)), 0, rng)


def _whole_numbers(data: Data) -> Data:
    return replace(data, x=data.x.long(), x_val=data.x_val.long())
