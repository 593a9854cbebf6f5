"""What the first image of each size costs a network, with our depth-wise kernel and with cuDNN's.

Photographs come in hundreds of sizes, and a network looks at each at several scales. What is
compiled anew for a size is paid for that often.
"""

import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
from bench_glmix import model

from glmix import gpu
from gpu.measure import precision, synchronise
from gpu.part import Job
from wsss.config import RuntimeConfig
from wsss.engine.runtime import start


def run(job: Job) -> None:
    """A row per way: milliseconds of images of sizes not seen before, and of the same again."""
    start(RuntimeConfig(device="cuda" if job.device.type == "cuda" else "cpu"), 0)
    net = model("glnet_nano" if job.tiny else "glnet_4g").to(job.device).eval()
    net = net.to(memory_format=torch.channels_last)
    number = 2 if job.tiny else 6

    @torch.inference_mode()
    def milliseconds(height: int, width: int) -> float:
        x = torch.randn(1, 3, height, width, device=job.device)
        x = x.contiguous(memory_format=torch.channels_last)
        synchronise(job.device)
        begun = time.perf_counter()
        with precision(job.precision, job.device):
            net(x)
        synchronise(job.device)
        return 1e3 * (time.perf_counter() - begun)

    milliseconds(224, 224)
    ways: list[tuple[str, Callable[[torch.device, torch.dtype], bool]]] = [
        ("our kernel", gpu.has_triton)
    ]
    if job.device.type != "cpu":
        ways.append(("cuDNN's", lambda *_: False))
    for i, (name, has_triton) in enumerate(ways):
        with job.attempt(name), patch.object(gpu, "has_triton", has_triton):
            sizes = [(161 + 31 * k + i, 200 + 17 * k + i) for k in range(number)]
            new, again = ([milliseconds(*size) for size in sizes] for _ in range(2))
            job.row(
                f"images of {number} sizes, {job.precision}, {name}",
                f"{statistics.median(new):.0f} ms the first time, "
                f"{statistics.median(again):.0f} again",
            )
