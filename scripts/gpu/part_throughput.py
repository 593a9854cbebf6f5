"""Images per second of the paper's ablations and of whole models beside their like.

A network's first training step takes ten seconds on a GPU, since cuDNN compiles its depth-wise
kernels for each size. So several processes warm up side by side, and then measure one by one.
"""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import timm
import torch
from bench_glmix import ROWS, model
from torch import Tensor, nn

from glmix.plain import plain_forward
from gpu.measure import peak_of, precision, seconds_of
from gpu.part import Job

OTHERS = ("swin_tiny_patch4_window7_224", "convnext_tiny")
GLNETS = ("glnet_stl", "glnet_4g", "glnet_9g", "glnet_16g")
PLAIN = ("glnet_nano", "glnet_stl", "glnet_4g")
PRECISIONS = ("bf16", "tf32", "fp32")
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """What is measured.

    Attributes:
        name: model.
        size: side of the images.
        batch: images of a forward pass; training takes half.
        kind: precision.
        ablation: the paper's row and its throughput, empty for whole models.
        arguments: of the model.
        plain: written as the paper writes it, without any of our ways.
    """

    name: str
    size: int
    batch: int
    kind: str
    ablation: tuple[str, str] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    plain: bool = False


@dataclass(frozen=True)
class Speed:
    """Images per second forward and in training, and the peak memory of a training step."""

    forward: float
    training: float
    peak: str


def run(job: Job) -> None:
    """The ablation table, then the models; as far as the time goes."""
    tasks = [*ablations(job), *models(job)]
    firsts: dict[tuple[Any, ...], Speed] = {}
    for task, speed in zip(tasks, measured(job, tasks), strict=False):
        group = (bool(task.ablation), task.size, task.kind)
        if isinstance(speed, str):
            job.failed += 1
            job.row(f"{task.name}, {task.size}², {task.kind}", f"failed: {speed}")
            continue
        first = firsts.setdefault(group, speed)
        ours = firsts.setdefault((*group, task.name), speed)
        row(job, task, speed, first, ours)
        if job.left < 5:
            job.row("further models", "left out: the time was up")
            return


def row(job: Job, task: Task, speed: Speed, first: Speed, ours: Speed) -> None:
    """A line of the table: beside the first of its group, or plain beside ours."""
    what = f"{task.ablation[0] if task.ablation else task.name}, {task.size}², {task.kind}"
    result = f"{speed.forward:.0f} and {speed.training:.0f} images/s forward and training"
    share = f"{speed.forward / first.forward:.2f} and {speed.training / first.training:.2f}"
    if task.ablation:
        job.row(what, result, f"relative {share}, paper {task.ablation[1]}")
        return
    result = f"{result}, peak {speed.peak} with {task.batch // 2} images"
    beside = f"× {share} of the first model"
    if task.plain:
        what = f"{task.name} as written plainly, {task.size}², {task.kind}"
        beside = (
            f"ours × {ours.forward / speed.forward:.2f} and {ours.training / speed.training:.2f}"
        )
    job.row(what, result, beside)


def ablations(job: Job) -> Iterator[Task]:
    """Rows of the paper's table that have a throughput."""
    size, batch = (64, 2) if job.tiny else (224, 128)
    rows = [row for row in ROWS if row[5] != "–"]
    for name, variant, arguments, _, _, paper in rows[:2] if job.tiny else rows:
        yield Task(variant, size, batch, job.precision, (name, paper), arguments)


def models(job: Job) -> Iterator[Task]:
    """GLNets beside Swin, ConvNeXt and the plain formulation, by precision and size."""
    kinds = ("fp32",) if job.device.type == "cpu" else PRECISIONS
    if job.tiny:
        wanted = [(64, 2, kinds[:1], ("convnext_atto", "glnet_nano"))]
    else:
        wanted = [
            (224, 128, kinds[:1], (*OTHERS, *GLNETS)),
            (512, 24, kinds[:1], ("convnext_tiny", "glnet_4g")),
            (224, 128, kinds[1:], ("swin_tiny_patch4_window7_224", "glnet_stl", "glnet_4g")),
        ]
    for size, batch, some, names in wanted:
        for kind in some:
            for name in names:
                yield Task(name, size, batch, kind)
                if name in PLAIN:
                    yield Task(name, size, batch, kind, plain=True)


def measured(job: Job, tasks: Sequence[Task]) -> Iterator[Speed | str]:
    """Speeds of tasks in their order, or why there is none."""
    count = 1 if job.device.type == "cpu" else max(1, min(12, (os.cpu_count() or 4) - 2))
    context = multiprocessing.get_context("spawn")
    links = []
    for i in range(min(count, len(tasks))):
        mine, theirs = context.Pipe()
        arguments = theirs, tasks[i::count], job.device, job.tiny
        context.Process(target=work, args=arguments, daemon=True).start()
        links.append(mine)
    for link in links:  # all have warmed up before the first is measured
        link.recv()
    for i in range(len(tasks)):
        link = links[i % len(links)]
        link.send("next")
        yield link.recv()


def work(link: Connection, tasks: Sequence[Task], device: torch.device, tiny: bool) -> None:
    """A process of its own: builds and warms up its networks, then measures each when asked."""
    torch.set_num_threads(1)
    found: list[tuple[nn.Module, Forward] | str] = []
    for task in tasks:
        try:
            net, forward = build(task, device)
            x = images(task, device)
            with torch.inference_mode(), precision(task.kind, device):
                net.eval()
                forward(x)
            step(net.train(), forward, x[: task.batch // 2], task.kind)
            found.append((net, forward))
        except Exception as error:
            traceback.print_exc()
            found.append(f"{type(error).__name__}: {str(error)[:120]}")
        if device.type != "cpu":
            torch.cuda.empty_cache()
    link.send("ready")
    for task, one in zip(tasks, found, strict=True):
        link.recv()
        try:
            link.send(one if isinstance(one, str) else throughput(task, *one, device, tiny))
        except Exception as error:
            traceback.print_exc()
            link.send(f"{type(error).__name__}: {str(error)[:120]}")
        if device.type != "cpu":
            torch.cuda.empty_cache()
    with suppress(EOFError):
        link.recv()  # ends with the process that asks


def build(task: Task, device: torch.device) -> tuple[nn.Module, Forward]:
    """A model with random weights, channels last, and what to call."""
    ours = task.name.startswith("glnet")
    net = model(task.name, **task.arguments) if ours else timm.create_model(task.name)
    net = net.to(device).to(memory_format=torch.channels_last)
    return net, (lambda x: plain_forward(net, x)[0]) if task.plain else net


def images(task: Task, device: torch.device) -> Tensor:
    """A batch of noise."""
    x = torch.randn(task.batch, 3, task.size, task.size, device=device)
    return x.contiguous(memory_format=torch.channels_last)


def throughput(
    task: Task, net: nn.Module, forward: Forward, device: torch.device, tiny: bool
) -> Speed:
    """Images per second forward, and in training with half the batch."""
    budget = 0.05 if tiny else 0.3
    x = images(task, device)
    net.eval()
    with torch.inference_mode(), precision(task.kind, device):
        infer = seconds_of(lambda: forward(x), device, budget)
    half = x[: task.batch // 2]
    net.train()
    train = seconds_of(lambda: step(net, forward, half, task.kind), device, budget)
    peak = peak_of(lambda: step(net, forward, half, task.kind), device)
    return Speed(task.batch / infer, len(half) / train, peak)


def step(net: nn.Module, forward: Forward, x: Tensor, kind: str) -> None:
    """Forward and backward pass."""
    with precision(kind, x.device):
        answer = forward(x)
    answer.float().square().mean().backward()
    net.zero_grad(set_to_none=True)
