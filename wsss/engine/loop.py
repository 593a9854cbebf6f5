"""The training loop of both networks: steps that resume exactly, on one device or many."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from wsss.engine.checkpoint import load_state, save_state
from wsss.engine.loss_watch import LossWatch
from wsss.engine.parameter_groups import to_training
from wsss.engine.progress import Tracker
from wsss.engine.runtime import Runtime
from wsss.engine.schedule import Average, SampleOrder, Schedule
from wsss.engine.synced_norm import sync_batch_norms
from wsss.engine.usage import Usage
from wsss.errors import WsssError

LossFunction = Callable[[nn.Module, Sequence[Tensor]], Tensor]
"""(model, batch) → scalar, this process's part of the loss: those of all processes add up."""

Collate = Callable[[list[Any]], Sequence[Tensor]]
"""Samples → their batch."""


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
    collate: Collate | None = None,
) -> nn.Module:
    """Train to the end of the schedule, from the checkpoint where there is one.

    Args:
        runtime: device, processes, precision.
        model: on the runtime's device; trained in place.
        groups: AdamW parameter groups; a group's `lr` is its highest.
        dataset: map-style, keyed by (epoch, index).
        loss_function: of batches on the device.
        schedule: steps and rates.
        title: shown in progress.
        seed: of the sample order.
        checkpoint: file of the state, removed by the caller when the stage is done.
        log: JSON lines.
        save_every: seconds between checkpoints.
        tensorboard: folder of a TensorBoard log, if wanted.
        collate: makes a batch of samples where they don't simply stack.

    Returns:
        The trained model, or its average where the schedule asks for one; in eval mode.

    Raises:
        WsssError: an image can't be read, the checkpoint is another network's or damaged, or the
            loss is not finite, or the batch has too few images for all processes and parts.
    """
    check_batch(schedule, runtime, title)
    # 1×1 and depth-wise convolutions run fastest on channels-last tensors
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(groups, fused=runtime.fused)
    peaks = [group["lr"] for group in optimizer.param_groups]
    scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
    average = Average(model, schedule.ema)
    first = _resume(checkpoint, model, optimizer, scaler, average)
    runtime.team.require_equal(lambda: first, f"The state {checkpoint}")
    if not 0 <= first <= schedule.steps:
        raise WsssError(
            f"{checkpoint} is of step {first}, and this training has {schedule.steps}: delete it "
            "to start the stage over."
        )
    order = SampleOrder(
        len(dataset),  # type: ignore[arg-type]
        schedule,
        seed,
        first,
        runtime.team.rank,
        runtime.team.world,
    )
    loader = DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=runtime.workers,
        pin_memory=runtime.device.type != "cpu",
        persistent_workers=False,
        collate_fn=collate,
    )
    parallel = _distributed(model, runtime)
    trained: Any = torch.compile(parallel) if runtime.compile else parallel
    apart = partial(_apart, parallel)
    watch = LossWatch(title, runtime.device, scaler)
    usage = Usage("steps")
    saved = time.monotonic()
    to_training(model)
    quiet = not runtime.is_main
    progress = Tracker(
        title, schedule.steps, done=first, log=log, quiet=quiet, tensorboard=tensorboard
    )
    with progress as tracker, usage.on_device(runtime) as device:
        batches = _batches(loader)
        for step in range(first, schedule.steps):
            with usage.time("read"):
                parts = list(islice(batches, schedule.accumulate))
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * schedule.factor(step)
            # one generator state a step: dropout and the like resume exactly, too
            torch.manual_seed(seed * 1_000_003 + step + runtime.team.rank * 1_000_000_007)
            with usage.time("compute"), device():
                optimizer.zero_grad(set_to_none=True)
                loss = _gradients(runtime, trained, parts, loss_function, schedule, scaler, apart)
                watch.update(loss, step)
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), schedule.clip_grad)
                scaler.step(optimizer)
                scaler.update()
                average.update(model, step)
            usage.units += 1
            tracker.advance(1, loss=watch.value)
            if time.monotonic() - saved >= save_every and runtime.is_main:
                with usage.time("write"):
                    watch.look(step)
                    save_state(checkpoint, _state(step + 1, model, optimizer, scaler, average))
                saved = time.monotonic()
        with usage.time("compute"):
            watch.look(schedule.steps - 1)
    if usage.units and runtime.is_main:
        print(f"{title}  {usage}", file=sys.stderr)
    average.apply(model)
    return model.eval()


def check_batch(schedule: Schedule, runtime: Runtime, title: str) -> None:
    """Refuse a batch that has too few images for all processes and parts."""
    if schedule.batch_size < schedule.least * runtime.team.world * schedule.accumulate:
        split = f" and accumulate is {schedule.accumulate}" if schedule.accumulate > 1 else ""
        images = "an image" if schedule.least == 1 else f"{schedule.least} images"
        raise WsssError(
            f"{title}: batch_size is {schedule.batch_size} for {runtime.team.world} processes"
            f"{split}, and each takes {images} at least: raise batch_size or start fewer processes."
        )


def _gradients(
    runtime: Runtime,
    trained: nn.Module,
    parts: Sequence[Sequence[Tensor]],
    loss_function: LossFunction,
    schedule: Schedule,
    scaler: torch.amp.GradScaler,
    apart: Callable[[], AbstractContextManager[Any]],
) -> Tensor:
    """Sum up the gradients of a step's parts, each weighing the same; returns the mean loss."""
    total = torch.zeros((), device=runtime.device)
    for part, batch in enumerate(parts, start=1):
        on_device = [_to_device(tensor, runtime.device) for tensor in batch]
        # processes exchange gradients once, with the last part
        with apart() if part < schedule.accumulate else nullcontext():
            with runtime.autocast():
                # gradients are averaged over processes, and parts of a loss add up
                part_loss = loss_function(trained, on_device) * runtime.team.world
                loss = part_loss / schedule.accumulate
            scaler.scale(loss).backward()
        total += loss.detach()
    return runtime.team.total(total) / runtime.team.world


def _apart(parallel: nn.Module) -> AbstractContextManager[Any]:
    if isinstance(parallel, DistributedDataParallel):
        return parallel.no_sync()
    return nullcontext()


def _state(
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Average,
) -> dict[str, Any]:
    return {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "average": average.values,
    }


def _resume(
    checkpoint: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Average,
) -> int:
    state = load_state(checkpoint)
    if state is None:
        return 0
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if state.get("scaler"):  # empty in a precision that isn't scaled
            scaler.load_state_dict(state["scaler"])
        for name, value in state["average"].items():
            average.values[name].copy_(value)
        return int(state["step"])
    except Exception as error:  # a state of any kind makes its takers raise anything
        reason = str(error).splitlines()[-1:] or [type(error).__name__]
        raise WsssError(
            f"{checkpoint} belongs to another network ({reason[0].strip()[:120].rstrip('.')}): "
            "delete it to start the stage over."
        ) from None


def _batches(loader: DataLoader[Any]) -> Iterator[Sequence[Tensor]]:
    try:
        yield from loader
    except WsssError as error:
        # a worker's error arrives with its traceback as its text, the sentence at the end
        raise WsssError(str(error).rpartition("WsssError: ")[2].strip()) from None


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    return tensor.to(device, non_blocking=True, memory_format=layout)


def _distributed(model: nn.Module, runtime: Runtime) -> nn.Module:
    if runtime.team.world == 1:
        return model
    sync_batch_norms(model, runtime.device)
    ids = None if runtime.device.type == "cpu" else [runtime.device.index]
    return DistributedDataParallel(model, device_ids=ids)
