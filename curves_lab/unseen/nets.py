# SPDX-License-Identifier: Apache-2.0
"""Architectures of the test split, and the losses that go with them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from curves_lab.supervised import Fit


class UNet(nn.Module):
    """Down once, up once, and a bridge across: what it adds to the middle of the picture."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, width, 3, padding=1)
        self.deep = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.head = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = nn.functional.silu(self.down(x))
        coarse = nn.functional.silu(self.up(nn.functional.silu(self.deep(fine))))
        return self.head(torch.cat([fine, coarse], dim=1))


class Flow(nn.Module):
    """Affine couplings in turn; the answer is the negative log likelihood of each point in nats, shape (n,)."""

    def __init__(self, layers: int = 4, width: int = 32, bounded: bool = True) -> None:
        super().__init__()
        self.bounded = bounded
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))
            for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        cost = torch.zeros(len(x))
        for i, layer in enumerate(self.layers):
            kept, moved = x[:, i % 2 : i % 2 + 1], x[:, 1 - i % 2 : 2 - i % 2]
            scale, shift = layer(kept).chunk(2, dim=1)
            scale = 2 * torch.tanh(scale) if self.bounded else scale
            moved = moved * scale.exp() + shift
            x = torch.cat([kept, moved] if i % 2 == 0 else [moved, kept], dim=1)
            cost = cost - scale[:, 0]
        return cost + 0.5 * (x**2).sum(dim=1) + math.log(2 * math.pi)


class Likelihood(Fit):
    """What a flow minimises."""

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return self.model(x).mean()


class Perceiver(nn.Module):
    """A few latents ask a set of vectors, twice, through one and the same cross attention."""

    def __init__(self, inputs: int = 6, classes: int = 5, latents: int = 2, width: int = 24) -> None:
        super().__init__()
        self.latents = nn.Parameter(0.2 * torch.randn(latents, width))
        self.key, self.value, self.query = nn.Linear(inputs, width), nn.Linear(inputs, width), nn.Linear(width, width)
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.head = nn.Linear(latents * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        key, value = self.key(x), self.value(x)
        state = self.latents.expand(len(x), -1, -1)
        for _ in range(2):
            weights = torch.softmax(self.query(state) @ key.transpose(1, 2) / math.sqrt(key.shape[2]), dim=2)
            state = state + weights @ value
            state = state + self.mix(state)
        return self.head(state.flatten(1))


class Radial(nn.Module):
    """Gaussian bumps around learned centres, and a linear answer."""

    def __init__(self, inputs: int = 4, outputs: int = 3, centres: int = 40, spread: float = 1.5) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(centres, inputs))
        self.log_width = nn.Parameter(torch.full((centres,), math.log(spread)))
        self.head = nn.Linear(centres, outputs)

    def forward(self, x: Tensor) -> Tensor:
        far = ((x[:, None] - self.centres) ** 2).sum(dim=2)
        return self.head(torch.exp(-far / (2 * self.log_width.exp() ** 2)))


class Highway(nn.Module):
    """Layers that carry their input on, as far as their gates say."""

    def __init__(
        self, inputs: int = 10, classes: int = 2, width: int = 32, layers: int = 4, gate: float = -1.0
    ) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(inputs, width), nn.Linear(width, classes)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        with torch.no_grad():
            for closed in self.gates:
                closed.bias.fill_(gate)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer, gate in zip(self.layers, self.gates, strict=True):
            share = torch.sigmoid(gate(x))
            x = share * torch.relu(layer(x)) + (1 - share) * x
        return self.head(x)


class Prototypes(nn.Module):
    """The class of the nearest of a few learned points, after a linear map."""

    def __init__(self, inputs: int = 13, classes: int = 3, each: int = 2, code: int = 4) -> None:
        super().__init__()
        self.map = nn.Linear(inputs, code)
        self.points = nn.Parameter(0.5 * torch.randn(classes, each, code))

    def forward(self, x: Tensor) -> Tensor:
        far = ((self.map(x)[:, None, None] - self.points) ** 2).sum(dim=3)
        return torch.logsumexp(-far, dim=2)


class Chebyshev(nn.Module):
    """A Kolmogorov-Arnold layer: on every edge a polynomial of its own."""

    def __init__(self, inputs: int, outputs: int, degree: int) -> None:
        super().__init__()
        self.degree = degree
        self.weights = nn.Parameter(torch.randn(inputs, outputs, degree + 1) / math.sqrt(inputs * (degree + 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(x)
        powers = [torch.ones_like(x), x]
        for _ in range(self.degree - 1):
            powers.append(2 * x * powers[-1] - powers[-2])
        return torch.einsum("nik,iok->no", torch.stack(powers, dim=2), self.weights)


def kan(inputs: int = 4, outputs: int = 1, width: int = 10, degree: int = 4) -> nn.Sequential:
    return nn.Sequential(Chebyshev(inputs, width, degree), Chebyshev(width, outputs, degree))


class Liquid(nn.Module):
    """A leaky recurrent net whose time constants are learned; ``safe`` keeps them positive."""

    def __init__(self, inputs: int = 1, outputs: int = 1, width: int = 24, safe: bool = True) -> None:
        super().__init__()
        self.enter, self.again = nn.Linear(inputs, width), nn.Linear(width, width, bias=False)
        self.pace = nn.Parameter(torch.rand(width))
        self.head, self.safe = nn.Linear(width, outputs), safe

    def forward(self, x: Tensor) -> Tensor:
        pace = torch.sigmoid(self.pace) if self.safe else self.pace
        state = torch.zeros(len(x), len(self.pace))
        given = self.enter(x)
        for t in range(x.shape[1]):
            state = state + pace * (torch.tanh(given[:, t] + self.again(state)) - state)
        return self.head(state)


class Hyper(nn.Module):
    """One net writes the weights of another, which is asked at one place: inputs are (place, condition)."""

    def __init__(self, condition: int = 3, width: int = 32, inner: int = 8) -> None:
        super().__init__()
        self.inner = inner
        self.net = nn.Sequential(
            nn.Linear(condition, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3 * inner + 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, bias, last, rest = self.net(x[:, 1:]).split([self.inner, self.inner, self.inner, 1], dim=1)
        return (last * torch.sin(2 * first * x[:, :1] + bias)).sum(dim=1, keepdim=True) + rest


class Stream(nn.Module):
    """A neural ordinary differential equation, followed by midpoint steps."""

    def __init__(self, width: int = 24, steps: int = 6, time: float = 2.0) -> None:
        super().__init__()
        self.slope = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2))
        self.steps, self.time = steps, time

    def forward(self, x: Tensor) -> Tensor:
        size = self.time / self.steps
        for _ in range(self.steps):
            x = x + size * self.slope(x + 0.5 * size * self.slope(x))
        return x


class Space(nn.Module):
    """A language model over a diagonal state space: every channel decays at its own rate. (batch, signs, time)."""

    def __init__(self, signs: int = 8, width: int = 48, decay: float = 1.0) -> None:
        super().__init__()
        self.sign = nn.Embedding(signs, width)
        self.decay = nn.Parameter(decay * torch.linspace(-2, 3, width))
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, signs))

    def forward(self, x: Tensor) -> Tensor:
        given, keep = self.sign(x), torch.sigmoid(self.decay)
        state, seen = torch.zeros_like(given[:, 0]), []
        for t in range(x.shape[1]):
            state = keep * state + given[:, t]
            seen.append(state)
        return self.head(torch.cat([torch.stack(seen, dim=1), given], dim=2)).transpose(1, 2)


class Cross(nn.Module):
    """A ranker of tables: features are crossed with themselves, layer by layer. One score for each offer."""

    def __init__(self, inputs: int = 6, layers: int = 2, width: int = 24) -> None:
        super().__init__()
        self.crosses = nn.ModuleList(nn.Linear(inputs, inputs) for _ in range(layers))
        self.deep = nn.Sequential(nn.Linear(inputs, width), nn.ELU(), nn.Linear(width, width), nn.ELU())
        self.head = nn.Linear(inputs + width, 1)

    def forward(self, x: Tensor) -> Tensor:
        crossed = x
        for cross in self.crosses:
            crossed = crossed + x * cross(crossed)
        return self.head(torch.cat([crossed, self.deep(x)], dim=2))[..., 0]
