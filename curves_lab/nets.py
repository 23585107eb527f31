# SPDX-License-Identifier: Apache-2.0
"""The architectures, by split: no split shares one with another."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mlp(inputs: int, outputs: int, width: int = 64, depth: int = 2, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(inputs if i == 0 else width, width), act()]
    return nn.Sequential(*layers, nn.Linear(width if depth else inputs, outputs))


def cnn(outputs: int = 10, width: int = 12) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * width, outputs),
    )  # fmt: skip


class Recurrent(nn.Module):
    """An Elman net or a GRU over (batch, time, channel), read out at the last step."""

    def __init__(self, kind: str, inputs: int, outputs: int, width: int = 32) -> None:
        super().__init__()
        self.core = (
            nn.GRU(inputs, width, batch_first=True)
            if kind == "gru"
            else nn.RNN(inputs, width, batch_first=True, nonlinearity=kind)
        )
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(x)[0][:, -1])


# --- validation split ---------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """An MLP with residual blocks and layer norm."""

    def __init__(self, inputs: int, outputs: int, width: int = 48, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def conv1d(outputs: int = 5, width: int = 16, norm: bool = True, drop: float = 0.0) -> nn.Sequential:
    between = [nn.BatchNorm1d(width)] if norm else []
    return nn.Sequential(
        nn.Conv1d(1, width, 7, stride=2), *between, nn.ReLU(), nn.Conv1d(width, width, 5, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Dropout(drop), nn.LazyLinear(outputs),
    )  # fmt: skip


class Transformer(nn.Module):
    """Token and position embeddings, ``layers`` post-norm encoder layers (the kind that needs a warm-up), a head."""

    def __init__(
        self, vocabulary: int = 8, length: int = 12, width: int = 32, layers: int = 2, pre: bool = False
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(0.1 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=pre)
        self.core = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(self.token(x) + self.place)[:, 0])


class Autoencoder(nn.Module):
    """A variational auto-encoder of vectors; ``terms`` are its reconstruction error and its KL divergence."""

    def __init__(self, inputs: int = 64, code: int = 8) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(inputs, 48), nn.Tanh(), nn.Linear(48, 2 * code))
        self.decode = nn.Sequential(nn.Linear(code, 48), nn.Tanh(), nn.Linear(48, inputs))

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.encode(x).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1).mean()
        return ((self.decode(code) - x) ** 2).sum(1).mean(), kl


# --- test split ---------------------------------------------------------------------------------------------------


class Bag(nn.Module):
    """A classifier of bags of words: the mean of their embeddings, and one hidden layer."""

    def __init__(self, words: int = 120, classes: int = 6, width: int = 24) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(words, width, mode="mean")
        self.head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words(x))


class Language(nn.Module):
    """An LSTM that predicts the next letter at every place; its answer is (batch, letters, time)."""

    def __init__(self, letters: int = 10, width: int = 32, drop: float = 0.0) -> None:
        super().__init__()
        self.letter = nn.Embedding(letters, width)
        self.core = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(drop), nn.Linear(width, letters))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(self.letter(x))[0]).transpose(1, 2)


class Factors(nn.Module):
    """Matrix factorisation: the inner product of a user's and an item's vector."""

    def __init__(self, users: int = 80, items: int = 60, rank: int = 8, spread: float = 0.3) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(users, rank), nn.Embedding(items, rank)
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=spread)

    def forward(self, x: Tensor) -> Tensor:
        return (self.user(x[:, 0]) * self.item(x[:, 1])).sum(1)


class Cloud(nn.Module):
    """A net over sets: every point by itself, the maximum over all, then a classifier."""

    def __init__(self, classes: int = 4, width: int = 40) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(2, width), nn.LeakyReLU(0.1), nn.Linear(width, width), nn.LeakyReLU(0.1))
        self.all = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.1), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.all(self.each(x).amax(dim=1))


class Waves(nn.Module):
    """A regression by sines of learned frequencies."""

    def __init__(self, width: int = 64, frequency: float = 6.0) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(1, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.frequency = frequency

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sin(self.second(torch.sin(self.frequency * self.first(x)))))
