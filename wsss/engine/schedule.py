"""What a training does in each step: its rate, its samples, its averaged weights."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsss.config import OptimConfig


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: linear warm-up, then (1 − t)^power.

    Attributes:
        steps: optimiser steps in all.
        batch_size: images per step, over all processes.
        warmup_steps: steps of linear growth.
        poly_power: exponent of the decay.
        clip_grad: largest norm of the gradient.
        ema: decay of the average of weights, 0 for none.
        accumulate: parts that a step's images pass the network in, one after the other.
        least: images that the network takes at once, at least.
    """

    steps: int
    batch_size: int
    warmup_steps: int
    poly_power: float
    clip_grad: float
    ema: float = 0.0
    accumulate: int = 1
    least: int = 1

    def factor(self, step: int) -> float:
        """Learning rate of `step` over the highest."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return warm * float((1 - step / self.steps) ** self.poly_power)


def schedule_of(settings: OptimConfig, images: int, least_steps: int = 1) -> Schedule:
    """The schedule that a stage's settings give for this many images, of so many steps at least.

    Warm-up ends after a fifth of the steps at the latest: a training of few images would end
    before it reached its rate. The fifth leaves the default of 100 steps alone from 500 steps up.
    """
    steps = max(steps_of(settings.epochs, images, settings.batch_size), least_steps)
    return Schedule(
        steps,
        settings.batch_size,
        min(settings.warmup_steps, steps // 5),
        settings.poly_power,
        settings.clip_grad,
        settings.ema,
        settings.accumulate,
        settings.least_images,
    )


def steps_of(epochs: float, images: int, batch_size: int) -> int:
    """Optimiser steps in this many epochs, at least one."""
    return max(1, math.ceil(epochs * images / batch_size))


class SampleOrder:
    """Batches of (epoch, index): a fresh permutation an epoch, any step at once.

    What step s holds depends on the seed and s alone, so a resumed training sees what an unbroken
    one would have seen, by as many processes or by others. A batch that is passed in parts comes as
    so many batches, and processes take every `world`-th image of each.
    """

    def __init__(
        self, images: int, schedule: Schedule, seed: int, first: int, rank: int, world: int
    ) -> None:
        self.images, self.schedule, self.seed, self.first = images, schedule, seed, first
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return (self.schedule.steps - self.first) * self.schedule.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        size, parts = self.schedule.batch_size, self.schedule.accumulate
        for step in range(self.first, self.schedule.steps):
            for part in range(parts):
                positions = range(step * size + part, (step + 1) * size, parts)
                yield [self._sample(p) for p in positions[self.rank :: self.world]]

    def _sample(self, position: int) -> tuple[int, int]:
        epoch, index = divmod(position, self.images)
        return epoch, int(self._permutation(epoch)[index])

    def _permutation(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, epoch)).permutation(self.images)
        return self._order


class Average:
    """Exponential moving average of weights, with the short memory of a young run at its start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = (
            {k: v.detach().clone() for k, v in model.state_dict().items()} if decay else {}
        )

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after `step`."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        mine: list[Tensor] = []
        theirs: list[Tensor] = []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                mine.append(self.values[name])
                theirs.append(value)
            else:
                self.values[name].copy_(value)
        torch._foreach_lerp_(mine, theirs, 1 - decay)  # one kernel on a device

    def apply(self, model: nn.Module) -> None:
        """Put the average into the model."""
        if self.decay:
            model.load_state_dict(self.values)
