# SPDX-License-Identifier: Apache-2.0
"""Data of the test split: what scikit-learn ships and the other parts do not use, and more that is generated."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import (
    load_sample_images,
    load_wine,
    make_friedman2,
    make_gaussian_quantiles,
    make_hastie_10_2,
)

from curves_lab.data import Data

Rng = np.random.Generator


def _split(x: np.ndarray, y: np.ndarray, classes: int, rng: Rng, share: float = 0.75) -> Data:
    order, cut = rng.permutation(len(x)), int(share * len(x))
    xs = torch.from_numpy(x[order].astype(np.float32))
    ys = torch.from_numpy(y[order].astype(np.int64 if classes else np.float32))
    return Data(xs[:cut], ys[:cut], xs[cut:], ys[cut:], classes)


def _standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / x.std(axis=0)


def photos(rng: Rng, n: int = 1000, noise: float = 0.5) -> Data:
    """8 x 8 patches of two photographs in grey, under noise and without. Shape (n, 1, 8, 8), unit variance."""
    pictures = np.stack([image.mean(axis=2) for image in load_sample_images().images]) / 128 - 1
    which = rng.integers(0, len(pictures), n)
    row, column = rng.integers(0, pictures.shape[1] - 8, n), rng.integers(0, pictures.shape[2] - 8, n)
    clean = np.stack([pictures[i, r : r + 8, c : c + 8] for i, r, c in zip(which, row, column, strict=True)])
    clean = ((clean - clean.mean()) / clean.std())[:, None]
    return _split(clean + noise * rng.standard_normal(clean.shape), clean, 0, rng)


def dunes(rng: Rng, n: int = 1500, noise: float = 0.15) -> Data:
    """Points on a wavy ridge, whose density is to be told; the targets are the points."""
    x = rng.standard_normal((n, 1))
    x = np.concatenate([x, np.sin(2 * x) + noise * rng.standard_normal((n, 1))], axis=1)
    return _split(_standardised(x), _standardised(x), 0, rng)


def needles(rng: Rng, n: int = 1600, length: int = 12) -> Data:
    """Sets of twelve vectors, one of which is marked: its other features tell the class. Shape (n, length, 6)."""
    y, where = rng.integers(0, 5, n), rng.integers(0, length, n)
    kinds = rng.integers(0, 5, (n, length))
    kinds[np.arange(n), where] = y
    x = np.concatenate([np.zeros((n, length, 1)), np.eye(5)[kinds]], axis=2)
    x[np.arange(n), where, 0] = 1.0
    return _split(x + 0.2 * rng.standard_normal(x.shape), y, 5, rng)


def shells(rng: Rng, n: int = 1500) -> Data:
    """Three classes that lie around each other in four dimensions, equally many in each."""
    x, y = make_gaussian_quantiles(
        n_samples=n, n_features=4, n_classes=3, random_state=int(rng.integers(1 << 30)), cov=1.0
    )
    return _split(x, y, 3, rng)


def hastie(rng: Rng, n: int = 2000) -> Data:
    """Ten normal features: is the sum of their squares above its median? From The Elements of Statistical Learning."""
    x, y = make_hastie_10_2(n, random_state=int(rng.integers(1 << 30)))
    return _split(x, (y > 0).astype(int), 2, rng)


def wine(rng: Rng) -> Data:
    """178 wines, thirteen measurements, three growers; 45 of them to validate by."""
    bunch = load_wine()
    return _split(_standardised(bunch.data), bunch.target, 3, rng)


def impedance(rng: Rng, n: int = 1200, noise: float = 0.1) -> Data:
    """Friedman's second regression problem, the impedance of a circuit; noise in units of its spread."""
    x, y = make_friedman2(n, random_state=int(rng.integers(1 << 30)))
    y = _standardised(y)[:, None]
    return _split(_standardised(x) / 1.8, y + noise * rng.standard_normal(y.shape), 0, rng)


def glass(rng: Rng, n: int = 900, length: int = 20, ahead: int = 4, noise: float = 0.05) -> Data:
    """Windows of a Mackey-Glass series, and its value a little later. Shape (n, length, 1)."""
    total = 4 * n + 600
    x = np.full(total, 1.2) + 0.1 * rng.standard_normal(total)
    for t in range(17, total - 1):
        x[t + 1] = 0.9 * x[t] + 0.2 * x[t - 17] / (1 + x[t - 17] ** 10)
    series = _standardised(x[500::2]) + noise * rng.standard_normal(len(x[500::2]))
    first = rng.integers(0, len(series) - length - ahead, n)
    windows = series[first[:, None] + np.arange(length)]
    return _split(windows[..., None], series[first + length + ahead - 1][:, None], 0, rng)


def curves(rng: Rng, n: int = 2000, noise: float = 0.05) -> Data:
    """A point on a sine whose amplitude, pitch and shift are given, too: (place, three numbers) and the height."""
    x = rng.uniform(-1, 1, (n, 4))
    y = (1 + 0.5 * x[:, 1]) * np.sin((3 + x[:, 2]) * x[:, 0] + 2 * x[:, 3])
    return _split(x, (y + noise * rng.standard_normal(n))[:, None], 0, rng)


def orbits(rng: Rng, n: int = 900, noise: float = 0.03) -> Data:
    """Where Van der Pol's oscillator has gone two seconds after a start that is given."""
    start = rng.uniform(-2, 2, (n, 2))
    x, v = start.T
    for _ in range(200):
        x, v = x + 0.01 * v, v + 0.01 * ((1 - x**2) * v - x)
    return _split(start, np.stack([x, v], axis=1) + noise * rng.standard_normal((n, 2)), 0, rng)


def brackets(rng: Rng, n: int = 800, length: int = 16) -> Data:
    """Sentences of a small grammar: nested pairs of three kinds and letters between; the next sign of each place."""
    x = np.zeros((n, length + 1), int)
    for row in x:
        stack: list[int] = []
        for t in range(length + 1):
            dice = rng.random()
            if dice < 0.4 and len(stack) < 4:
                stack.append(int(rng.choice(3, p=[0.6, 0.3, 0.1])))
                row[t] = stack[-1]
            elif dice < 0.85 and stack:
                row[t] = 3 + stack.pop()
            else:
                row[t] = 6 + (t % 2)
    found = _split(x[:, :-1], x[:, 1:], 8, rng)
    return Data(found.x.long(), found.y, found.x_val.long(), found.y_val, 8)


def offers(rng: Rng, n: int = 1200, noise: float = 0.3) -> Data:
    """Eight offers with six features each; which of them is taken. Shape (n, 8, 6)."""
    x = rng.standard_normal((n, 8, 6))
    worth = x[..., 0] * x[..., 1] + 0.8 * x[..., 2] - 0.5 * x[..., 3] ** 2
    return _split(x, (2 * worth + noise * rng.gumbel(size=worth.shape)).argmax(axis=1), 8, rng)
