# SPDX-License-Identifier: Apache-2.0
"""Architectures of the third part, and the losses that go with them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from curves_lab.supervised import Fit


class Dilated(nn.Module):
    """A temporal convolution: causal, each layer looking twice as far back; read out at the last place."""

    def __init__(self, outputs: int, layers: int = 4, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(width if i else 1, width, 2, dilation=2**i, padding=2**i) for i in range(layers)
        )
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            new = torch.relu(layer(x)[..., : x.shape[-1]])
            x = new + x if i else new
        return self.head(x[..., -1])


class Mixer(nn.Module):
    """Patches are mixed, then channels, each by a small MLP."""

    def __init__(self, outputs: int = 6, patches: int = 9, width: int = 24, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Linear(16, width)
        self.across = nn.ModuleList(_mlp(patches, 16, patches) for _ in range(blocks))
        self.along = nn.ModuleList(_mlp(width, 32, width) for _ in range(blocks))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * blocks))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, (across, along) in enumerate(zip(self.across, self.along, strict=True)):
            x = x + across(self.norms[2 * i](x).transpose(1, 2)).transpose(1, 2)
            x = x + along(self.norms[2 * i + 1](x))
        return self.head(x.mean(dim=1))


def _mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, outputs))


class Gated(nn.Module):
    """A table through gated linear units."""

    def __init__(self, inputs: int, outputs: int, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width if i else inputs, 2 * width) for i in range(layers))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = nn.functional.glu(layer(x))
        return self.head(x)


class Experts(nn.Module):
    """A mixture: a gate weighs small experts."""

    def __init__(self, inputs: int = 10, experts: int = 4, width: int = 12) -> None:
        super().__init__()
        self.gate = nn.Linear(inputs, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, width), nn.Softplus(), nn.Linear(width, 1)) for _ in range(experts)
        )

    def forward(self, x: Tensor) -> Tensor:
        answers = torch.cat([expert(x) for expert in self.experts], dim=1)
        return (torch.softmax(self.gate(x), dim=1) * answers).sum(dim=1, keepdim=True)


class Graph(nn.Module):
    """Two graph convolutions over one fixed graph; asked for some of its nodes."""

    def __init__(self, features: Tensor, adjacency: Tensor, outputs: int = 4, width: int = 16) -> None:
        super().__init__()
        self.features, self.adjacency = features, adjacency
        self.first, self.second = nn.Linear(features.shape[1], width), nn.Linear(width, outputs)

    def forward(self, nodes: Tensor) -> Tensor:
        hidden = torch.tanh(self.adjacency @ self.first(self.features))
        return (self.adjacency @ self.second(hidden))[nodes]


class Siamese(nn.Module):
    """Both of a pair go through one net; the answer is their squared distance. Shape (n,)."""

    def __init__(self, width: int = 32, code: int = 8) -> None:
        super().__init__()
        self.net = _mlp(20, width, code)

    def forward(self, x: Tensor) -> Tensor:
        return ((self.net(x[:, 0]) - self.net(x[:, 1])) ** 2).sum(dim=1)


class Compare(Fit):
    """Contrastive loss: near where the two are the same, a margin apart where they are not."""

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        far = self.model(x)
        return torch.where(y == 1, far, torch.relu(2 - far)).mean()

    def score(self, x: Tensor, y: Tensor) -> float:
        return float(((self.model(x) < 1).long() == y).float().mean())


class Denoiser(nn.Module):
    """Guesses the noise in a point, given the point and how noisy it is."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(3, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
        )

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        time = torch.zeros(len(x), 1) if time is None else time
        return self.net(torch.cat([x, time], dim=1))


class Diffuse(Fit):
    """The loss of a diffusion model: how far the guess of the noise is off, at times drawn anew each time."""

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        time = torch.rand(len(x), 1)
        kept, noise = torch.cos(0.5 * torch.pi * time), torch.randn_like(x)
        mixed = kept * x + torch.sqrt(1 - kept**2) * noise
        return nn.functional.mse_loss(self.model(mixed, time), noise)
