# SPDX-License-Identifier: Apache-2.0
"""Worlds of the test split: a shop, a boiler, a windy grid, a lander and visitors who click."""

from __future__ import annotations

import numpy as np

Rng = np.random.Generator
Floats = np.ndarray


class Shop:
    """``n`` shops order nought to four boxes a day and sell what they have: 20 days, profit is counted."""

    size, actions, days = 2, 5, 20

    def __init__(self, n: int, rng: Rng) -> None:
        self.n, self.rng = n, rng
        self.stock, self.day = np.full(n, 5), rng.integers(0, self.days, n)

    def observe(self) -> Floats:
        return np.stack([self.stock / 10 - 0.5, self.day / self.days - 0.5], axis=1).astype(np.float32)

    def act(self, order: np.ndarray) -> tuple[Floats, np.ndarray]:
        season = 2.0 + 2.0 * (self.day >= self.days // 2)
        asked = self.rng.poisson(season)
        filled = np.minimum(self.stock + order, 20)
        sold = np.minimum(filled, asked)
        self.stock = filled - sold
        self.day = self.day + 1
        done = self.day >= self.days
        profit = 3.0 * sold - 1.0 * order - 0.3 * self.stock - 1.0 * (asked - sold)
        self.stock[done], self.day[done] = 5, 0
        return profit, done


class Boiler:
    """``n`` boilers to be held at a temperature that is asked for, by a valve in [-1, 1]: 30 steps, late heat."""

    def __init__(self, n: int, rng: Rng) -> None:
        self.n, self.rng = n, rng
        self.heat, self.warm, self.asked = np.zeros(n), np.zeros(n), rng.uniform(-1, 1, n)
        self.age = rng.integers(0, 30, n)

    def observe(self) -> Floats:
        return np.stack([self.warm, self.heat, self.asked], axis=1).astype(np.float32)

    def act(self, valve: Floats) -> tuple[Floats, np.ndarray]:
        self.heat = 0.6 * self.heat + 0.4 * np.clip(valve, -1, 1)
        self.warm = 0.9 * self.warm + 0.3 * self.heat
        self.age = self.age + 1
        reward, done = -abs(self.warm - self.asked), self.age >= 30
        count = int(done.sum())
        self.heat[done], self.warm[done], self.age[done] = 0, 0, 0
        self.asked[done] = self.rng.uniform(-1, 1, count)
        return reward, done


class Wind:
    """A 7 x 6 grid in which the wind blows upwards; -1 a step to the goal, given up after 80 steps."""

    cells, actions, most = 42, 4, 80
    blows = (0, 0, 1, 1, 1, 0, 0)
    moves = ((0, 1), (0, -1), (1, 0), (-1, 0))

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.start()

    def start(self) -> int:
        self.x, self.y, self.age = 0, 2, 0
        return self.y * 7 + self.x

    def act(self, action: int) -> tuple[int, float, bool]:
        dx, dy = self.moves[action]
        gust = self.blows[self.x] * int(self.rng.random() < 0.8)
        self.x = min(max(self.x + dx, 0), 6)
        self.y = min(max(self.y + dy + gust, 0), 5)
        self.age += 1
        home = (self.x, self.y) == (6, 1)
        return self.y * 7 + self.x, -1.0, home or self.age >= self.most


class Lander:
    """Come down from some height without hitting the ground: fuel costs a little, speed at the ground a lot."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng

    def returns(self, knobs: Floats) -> Floats:
        """One descent for each row of four knobs: thrust = k0 + k1 height + k2 speed + k3 height speed."""
        height, speed = self.rng.uniform(8, 12, len(knobs)), np.zeros(len(knobs))
        fuel, hit = np.zeros(len(knobs)), np.full(len(knobs), np.nan)
        for _ in range(60):
            thrust = np.clip(
                knobs[:, 0] + knobs[:, 1] * height + knobs[:, 2] * speed + knobs[:, 3] * height * speed, 0, 2
            )
            speed = speed + 0.1 * (thrust - 1)
            height = height + 0.3 * speed
            fuel += 0.1 * thrust * np.isnan(hit)
            landed = (height <= 0) & np.isnan(hit)
            hit[landed] = speed[landed]
        return -10 * np.where(np.isnan(hit), 3.0, abs(hit)) - fuel


class Visitors:
    """``n`` visitors a round with eight features; one of five pages is shown, and clicked or not."""

    pages, features = 5, 8

    def __init__(self, n: int, rng: Rng) -> None:
        self.n, self.rng = n, rng
        self.taste = 1.5 * rng.standard_normal((self.features, self.pages))

    def come(self) -> Floats:
        return self.rng.standard_normal((self.n, self.features))

    def click(self, seen: Floats, shown: np.ndarray) -> Floats:
        chance = 1 / (1 + np.exp(1.0 - (seen @ self.taste)[np.arange(self.n), shown]))
        return (self.rng.random(self.n) < chance).astype(float)
