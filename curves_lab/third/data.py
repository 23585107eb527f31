# SPDX-License-Identifier: Apache-2.0
"""Data of the third part: what scikit-learn ships and the others do not use, and more that is generated."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, make_friedman1, make_moons

from curves_lab.data import Data

Rng = np.random.Generator


def _split(x: np.ndarray, y: np.ndarray, classes: int, rng: Rng, share: float = 0.75) -> Data:
    order, cut = rng.permutation(len(x)), int(share * len(x))
    xs = torch.from_numpy(x[order].astype(np.float32))
    ys = torch.from_numpy(y[order].astype(np.int64 if classes else np.float32))
    return Data(xs[:cut], ys[:cut], xs[cut:], ys[cut:], classes)


def _standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / x.std(axis=0)


def tumours(rng: Rng) -> Data:
    """569 breast tumours, 30 measurements, benign or malignant: learned within a few steps."""
    bunch = load_breast_cancer()
    return _split(_standardised(bunch.data), bunch.target, 2, rng)


def patients(rng: Rng) -> Data:
    """442 diabetes patients: half of what is to be predicted is noise."""
    bunch = load_diabetes()
    return _split(_standardised(bunch.data), _standardised(bunch.target[:, None]), 0, rng)


def friedman(rng: Rng, n: int = 1000, noise: float = 0.5) -> Data:
    """Friedman's first regression problem, targets standardised."""
    x, y = make_friedman1(n, noise=noise, random_state=int(rng.integers(1 << 30)))
    return _split(2 * x - 1, _standardised(y[:, None]), 0, rng)


def chirps(rng: Rng, n: int = 1200, length: int = 40) -> Data:
    """Signals that rise in pitch, fall, stay, or stop half-way; random phase and noise. Shape (n, 1, length)."""
    y, t = rng.integers(0, 4, n), np.linspace(0, 1, length)
    low, high = 2 * np.pi * rng.uniform(1, 2, (n, 1)), 2 * np.pi * rng.uniform(5, 7, (n, 1))
    bend = np.array([1.0, -1.0, 0.0, 0.0])[y][:, None]
    base = np.where(y == 1, high[:, 0], np.where(y == 0, low[:, 0], 0.5 * (low + high)[:, 0]))[:, None]
    wave = np.sin((base + 0.5 * bend * (high - low) * t) * t + rng.uniform(0, 2 * np.pi, (n, 1)))
    wave[(y == 3)] *= t < 0.5
    return _split((wave + 0.4 * rng.standard_normal((n, length)))[:, None], y, 4, rng)


def streams(rng: Rng, n: int = 1000, length: int = 32) -> Data:
    """The next value of a damped oscillator that is kicked at random. Shape (n, 1, length)."""
    x = np.zeros((n, length + 2))
    for t in range(2, length + 2):
        x[:, t] = 1.75 * x[:, t - 1] - 0.9 * x[:, t - 2] + 0.3 * rng.standard_normal(n)
    return _split(x[:, None, 1:-1], x[:, -1:], 0, rng)


def glyphs(rng: Rng, n: int = 1200, noise: float = 0.5) -> Data:
    """12 x 12 pictures of a bar at one of six angles, somewhere, under noise; as nine patches of sixteen pixels."""
    y = rng.integers(0, 6, n)
    row, column = np.mgrid[0:12, 0:12] - 5.5
    angle, shift = (np.pi * y / 6)[:, None, None], rng.uniform(-2.5, 2.5, (n, 1, 1))
    bar = abs(np.cos(angle) * row + np.sin(angle) * column - shift) < 1
    x = bar + noise * rng.standard_normal((n, 12, 12))
    return _split(x.reshape(n, 3, 4, 3, 4).transpose(0, 1, 3, 2, 4).reshape(n, 9, 16), y, 6, rng)


def graph(rng: Rng, n: int = 400, groups: int = 4, labelled: int = 120) -> tuple[Data, torch.Tensor, torch.Tensor]:
    """A stochastic block model: node numbers and groups, features (n, 8) that tell little, adjacency normalised."""
    y = rng.integers(0, groups, n)
    chance = np.where(y[:, None] == y[None, :], 0.06, 0.01)
    edges = np.triu(rng.random((n, n)) < chance, 1)
    joined = (edges + edges.T + np.eye(n)).astype(np.float32)
    scale = joined.sum(axis=1) ** -0.5
    features = 0.5 * np.eye(groups)[y] @ rng.standard_normal((groups, 8)) + rng.standard_normal((n, 8))
    nodes = _split(np.arange(n)[:, None], y, groups, rng, labelled / n)
    ids = Data(nodes.x[:, 0].long(), nodes.y, nodes.x_val[:, 0].long(), nodes.y_val, groups)
    return ids, torch.from_numpy(features.astype(np.float32)), torch.from_numpy(joined * np.outer(scale, scale))


def pairs(rng: Rng, n: int = 1200, kinds: int = 12) -> Data:
    """Two noisy samples each, of the same kind or of two; the kinds are random curves. Shape (n, 2, 20)."""
    shapes = rng.standard_normal((kinds, 20)).cumsum(axis=1) / 3
    same = rng.integers(0, 2, n)
    first = rng.integers(0, kinds, n)
    second = np.where(same == 1, first, (first + rng.integers(1, kinds, n)) % kinds)
    x = np.stack([shapes[first], shapes[second]], axis=1) + 0.5 * rng.standard_normal((n, 2, 20))
    return _split(x, same, 2, rng)


def moons(rng: Rng, n: int = 1200) -> Data:
    """Points in the plane, to be made from noise; the targets are the points."""
    x, _ = make_moons(n, noise=0.05, random_state=int(rng.integers(1 << 30)))
    return _split(_standardised(x), _standardised(x), 0, rng)
