"""Images per second of the paper's ablations and of whole models beside their like."""

from collections.abc import Callable
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
PRECISIONS = ("bf16", "tf32", "fp32")
Forward = Callable[[Tensor], Tensor]


def run(job: Job) -> None:
    """The ablation table, then the models; as far as the time goes."""
    ablations(job)
    models(job)


def ablations(job: Job) -> None:
    """Forward and training throughput relative to the first row, beside the paper's column."""
    size, batch = (64, 2) if job.tiny else (224, 128)
    first: tuple[float, float] | None = None
    rows = [row for row in ROWS if row[5] != "–"]
    for name, variant, arguments, _, _, paper in rows[:2] if job.tiny else rows:
        if job.left < 10:
            job.row("further ablations", "left out: the time was up")
            return
        with job.attempt(name):
            net = model(variant, **arguments).to(job.device)
            speeds = throughput(job, net, net, size, batch, job.precision)
            first = first or speeds
            job.row(
                f"{name}, {size}², {job.precision}",
                f"{speeds[0]:.0f} and {speeds[1]:.0f} images/s forward and training",
                f"relative {speeds[0] / first[0]:.2f} and {speeds[1] / first[1]:.2f}, "
                f"paper {paper}",
            )


def models(job: Job) -> None:
    """GLNets beside Swin, ConvNeXt and the plain formulation, by precision and size."""
    for size in (64,) if job.tiny else (224, 512):
        names = ["glnet_nano", "convnext_atto"] if job.tiny else [*OTHERS, *GLNETS]
        if size > 224:
            names = ["convnext_tiny", "glnet_4g"]
        on_cpu = job.device.type == "cpu"
        for kind in ("fp32",) if on_cpu else PRECISIONS if size == 224 else ("bf16",):
            swin: tuple[float, float] | None = None
            for name in names:
                if job.left < 10:
                    job.row("further models", "left out: the time was up")
                    return
                with job.attempt(name):
                    speeds = one(job, name, size, kind, swin)
                    swin = swin or speeds


def one(
    job: Job, name: str, size: int, kind: str, first: tuple[float, float] | None
) -> tuple[float, float]:
    """A row of a model, and one of the plain formulation for some."""
    batch = 2 if job.tiny else (128 if size == 224 else 24)
    net = build(name).to(job.device)
    speeds = throughput(job, net, net, size, batch, kind)
    first = first or speeds
    beside = f"× {speeds[0] / first[0]:.2f} and {speeds[1] / first[1]:.2f} of the first model"
    job.row(f"{name}, {size}², {kind}", told(job, net, net, speeds, size, batch, kind), beside)
    if name in ("glnet_nano", "glnet_stl", "glnet_4g"):
        plain = lambda x: plain_forward(net, x)[0]  # noqa: E731
        slow = throughput(job, net, plain, size, batch, kind)
        beside = f"ours × {speeds[0] / slow[0]:.2f} and {speeds[1] / slow[1]:.2f}"
        what = f"{name} as written plainly, {size}², {kind}"
        job.row(what, told(job, net, plain, slow, size, batch, kind), beside)
    return speeds


def build(name: str) -> Any:
    """A model with random weights."""
    return model(name) if name.startswith("glnet") else timm.create_model(name)


def told(
    job: Job,
    net: nn.Module,
    forward: Forward,
    speeds: tuple[float, float],
    size: int,
    batch: int,
    kind: str,
) -> str:
    """Speeds and the peak of a training step, in words."""
    x = torch.randn(batch // 2, 3, size, size, device=job.device)
    peak = peak_of(lambda: step(net, forward, x, kind), job.device)
    return (
        f"{speeds[0]:.0f} and {speeds[1]:.0f} images/s forward and training, peak {peak} "
        f"with {batch // 2} images"
    )


def throughput(
    job: Job, net: nn.Module, forward: Forward, size: int, batch: int, kind: str
) -> tuple[float, float]:
    """Images per second forward, and in training with half the batch."""
    budget = 0.05 if job.tiny else 0.4
    x = torch.randn(batch, 3, size, size, device=job.device)
    x = x.contiguous(memory_format=torch.channels_last)
    net.to(memory_format=torch.channels_last).eval()
    with torch.inference_mode(), precision(kind, job.device):
        infer = seconds_of(lambda: forward(x), job.device, budget)
    half = x[: batch // 2]
    net.train()
    train = seconds_of(lambda: step(net, forward, half, kind), job.device, budget)
    return batch / infer, len(half) / train


def step(net: nn.Module, forward: Forward, x: Tensor, kind: str) -> None:
    """Forward and backward pass."""
    with precision(kind, x.device):
        answer = forward(x)
    answer.float().square().mean().backward()
    net.zero_grad(set_to_none=True)
