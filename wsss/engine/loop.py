"""The training loop of both networks: steps that resume exactly, on one device or many."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from wsss.config import OptimConfig
from wsss.engine.checkpoint import load_state, save_state
from wsss.engine.runtime import Runtime
from wsss.engine.tracking import Tracker
from wsss.errors import WsssError

LossFunction = Callable[[nn.Module, Sequence[Tensor]], Tensor]
"""(model, batch) → scalar loss."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: linear warm-up, then (1 − t)^power.

    Attributes:
        steps: optimiser steps in all.
        batch_size: pictures a step, over all processes.
        warmup_steps: steps of linear growth.
        poly_power: exponent of the decay.
        clip_grad: largest norm of the gradient.
        ema: decay of the average of weights, 0 for none.
        accumulate: parts that a step's pictures pass the network in, one after the other.
        least: pictures that the network takes at once, at least.
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


def schedule_of(settings: OptimConfig, pictures: int) -> Schedule:
    """The schedule that a stage's settings give for so many pictures.

    Warm-up ends after a fifth of the steps at the latest: a training of few pictures would end
    before it reached its rate. The fifth leaves the default of 100 steps alone from 500 steps up.
    """
    steps = steps_of(settings.epochs, pictures, settings.batch_size)
    return Schedule(
        steps,
        settings.batch_size,
        min(settings.warmup_steps, steps // 5),
        settings.poly_power,
        settings.clip_grad,
        settings.ema,
        settings.accumulate,
        settings.least_pictures,
    )


def steps_of(epochs: float, pictures: int, batch_size: int) -> int:
    """Optimiser steps in so many epochs, at least one."""
    return max(1, math.ceil(epochs * pictures / batch_size))


class SampleOrder:
    """Batches of (epoch, index): a fresh permutation an epoch, any step at once.

    What step s holds depends on the seed and s alone, so a resumed training sees what an unbroken
    one would have seen. Processes take every `world`-th of a batch, and a batch that is passed in
    parts comes as so many batches.
    """

    def __init__(
        self, pictures: int, schedule: Schedule, seed: int, first: int, rank: int, world: int
    ) -> None:
        self.pictures, self.schedule, self.seed, self.first = pictures, schedule, seed, first
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return (self.schedule.steps - self.first) * self.schedule.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        size, parts = self.schedule.batch_size, self.schedule.accumulate
        for step in range(self.first, self.schedule.steps):
            positions = range(step * size + self.rank, (step + 1) * size, self.world)
            for part in range(parts):
                yield [self._sample(p) for p in positions[part::parts]]

    def _sample(self, position: int) -> tuple[int, int]:
        epoch, place = divmod(position, self.pictures)
        return epoch, int(self._permutation(epoch)[place])

    def _permutation(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, epoch)).permutation(self.pictures)
        return self._order


def train(
    runtime: Runtime,
    model: nn.Module,
    groups: list[dict[str, Any]],
    dataset: Dataset[Any],
    loss_function: LossFunction,
    schedule: Schedule,
    *,
    title: str,
    seed: int,
    checkpoint: Path,
    log: Path,
    save_every: float = 60.0,
    tensorboard: Path | None = None,
) -> nn.Module:
    """Train to the end of the schedule, from the checkpoint where there is one.

    Args:
        runtime: device, processes, precision.
        model: on the runtime's device; trained in place.
        groups: AdamW parameter groups; a group's `lr` is its highest.
        dataset: map-style, keyed by (epoch, index).
        loss_function: (model, batch on the device) → scalar loss.
        schedule: steps and rates.
        title: shown in progress.
        seed: of the sample order.
        checkpoint: file of the state, removed by the caller when the stage is done.
        log: JSON lines.
        save_every: seconds between checkpoints.
        tensorboard: folder of a TensorBoard log, if wanted.

    Returns:
        The trained model, or its average where the schedule asks for one; in eval mode.

    Raises:
        WsssError: a picture can't be read, the checkpoint is another network's or damaged, or the
            loss is no finite number, or the batch has too few pictures for all processes and parts.
    """
    check_batch(schedule, runtime, title)
    # 1×1 and depth-wise convolutions run fastest on channels-last tensors
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(groups)
    peaks = [group["lr"] for group in optimizer.param_groups]
    average = Average(model, schedule.ema)
    first = _resume(checkpoint, model, optimizer, average)
    order = SampleOrder(
        len(dataset),  # type: ignore[arg-type]
        schedule,
        seed,
        first,
        runtime.rank,
        runtime.world,
    )
    loader = DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=runtime.workers,
        pin_memory=runtime.device.type != "cpu",
        persistent_workers=False,
    )
    trained = _distributed(model, runtime)
    saved = time.monotonic()
    model.train()
    with Tracker(
        title,
        schedule.steps,
        done=first,
        log=log,
        quiet=not runtime.is_main,
        tensorboard=tensorboard,
    ) as tracker:
        batches = _batches(loader)
        for step in range(first, schedule.steps):
            parts = list(islice(batches, schedule.accumulate))
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * schedule.factor(step)
            # one generator state a step: dropout and the like resume exactly, too
            torch.manual_seed(seed * 1_000_003 + step * runtime.world + runtime.rank)
            optimizer.zero_grad(set_to_none=True)
            loss = _gradients(runtime, trained, parts, loss_function, schedule)
            value = _finite(loss, title, step)
            nn.utils.clip_grad_norm_(model.parameters(), schedule.clip_grad)
            optimizer.step()
            average.update(model, step)
            tracker.advance(1, loss=value)
            if time.monotonic() - saved >= save_every and runtime.is_main:
                save_state(checkpoint, _state(step + 1, model, optimizer, average))
                saved = time.monotonic()
    if runtime.world > 1:
        dist.barrier()
    average.apply(model)
    return model.eval()


def check_batch(schedule: Schedule, runtime: Runtime, title: str) -> None:
    """Refuse a batch that has too few pictures for all processes and parts."""
    if schedule.batch_size < schedule.least * runtime.world * schedule.accumulate:
        split = f" and accumulate is {schedule.accumulate}" if schedule.accumulate > 1 else ""
        pictures = "a picture" if schedule.least == 1 else f"{schedule.least} pictures"
        raise WsssError(
            f"{title}: batch_size is {schedule.batch_size} for {runtime.world} processes{split}, "
            f"and each takes {pictures} at least: raise batch_size or start fewer processes."
        )


def _gradients(
    runtime: Runtime,
    trained: nn.Module,
    parts: Sequence[Sequence[Tensor]],
    loss_function: LossFunction,
    schedule: Schedule,
) -> Tensor:
    """Sum up the gradients of a step's parts, each weighing the same; returns the mean loss."""
    total = torch.zeros((), device=runtime.device)
    for part, batch in enumerate(parts, start=1):
        on_device = [_to_device(tensor, runtime.device) for tensor in batch]
        # processes exchange gradients once, with the last part
        with _apart(trained) if part < schedule.accumulate else nullcontext():
            with runtime.autocast():
                loss = loss_function(trained, on_device) / schedule.accumulate
            loss.backward()
        total += loss.detach()
    return total


def _apart(trained: nn.Module) -> AbstractContextManager[Any]:
    if isinstance(trained, DistributedDataParallel):
        return trained.no_sync()
    return nullcontext()


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
        for name, value in model.state_dict().items():
            mine = self.values[name]
            if mine.is_floating_point():
                mine.lerp_(value, 1 - decay)
            else:
                mine.copy_(value)

    def apply(self, model: nn.Module) -> None:
        """Put the average into the model."""
        if self.decay:
            model.load_state_dict(self.values)


def _state(
    step: int, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average
) -> dict[str, Any]:
    return {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.values,
    }


def _resume(
    checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average
) -> int:
    state = load_state(checkpoint)
    if state is None:
        return 0
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        for name, value in state["average"].items():
            average.values[name].copy_(value)
        return int(state["step"])
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise WsssError(
            f"{checkpoint} is of another network than this one ({reason}): delete it to start the "
            "stage anew."
        ) from None


def _batches(loader: DataLoader[Any]) -> Iterator[Sequence[Tensor]]:
    try:
        yield from loader
    except WsssError as error:
        # a worker's error arrives with its traceback as its text, the sentence at the end
        raise WsssError(str(error).rpartition("WsssError: ")[2].strip()) from None


def _finite(loss: Tensor, title: str, step: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise WsssError(
            f"{title}: the loss is {value} at step {step}: lower the learning rate (lr) or "
            "clip_grad of this stage, and start it with --overwrite."
        )
    return value


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    return tensor.to(device, non_blocking=True, memory_format=layout)


def _distributed(model: nn.Module, runtime: Runtime) -> nn.Module:
    if runtime.world == 1:
        return model
    ids = None if runtime.device.type == "cpu" else [runtime.device.index]
    return DistributedDataParallel(model, device_ids=ids)
