#!/usr/bin/env python
"""What `runtime.compile=true` brings: a step of both trainings with and without `torch.compile`.

    scripts/bench_compile.py [--config configs/voc61_nano_cpu.yaml] [--rounds 5] [--precision auto]

Both networks take random crops of the config's size, forward and backward pass and AdamW, on the
device that the config chooses. Plain and compiled take turns; seconds are the least of the rounds,
processor time on a CPU. Compiling counts apart: wall time of the first step beyond another's.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import head, row
from torch import Tensor, nn

from wsss.config import load
from wsss.engine.runtime import Runtime, start
from wsss.models.classifier import new_classifier
from wsss.models.mask_loss import mask_loss
from wsss.models.segmenter import build_segmenter, segmenter_metadata

CLASSES = 20
Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/voc61_nano_cpu.yaml"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    arguments = parser.parse_args()
    config = load(arguments.config, [f"runtime.precision={arguments.precision}"])
    runtime = start(config.runtime, 0)
    names = [str(i) for i in range(CLASSES)]
    cls, seg = config.train_cls, config.train_seg
    device, generator = runtime.device, torch.Generator().manual_seed(0)

    def crops(images: int, size: int) -> Tensor:
        pixels = torch.randn(images, 3, size, size, generator=generator)
        return pixels.to(device, memory_format=torch.channels_last)

    tags = (torch.rand(cls.batch_size, CLASSES, generator=generator) < 0.1).float().to(device)
    size = (seg.batch_size, seg.crop, seg.crop)
    masks = torch.randint(0, CLASSES + 1, size, generator=generator).to(device)
    classifier: Any = new_classifier(config, CLASSES)
    segmenter = build_segmenter(segmenter_metadata(config, names))
    print(f"{torch.get_num_threads()} thread(s), {runtime.precision}, torch {torch.__version__}")
    head("training", "s a step", "compiled", "×", "s to compile")
    for name, model, images, loss in (
        ("classifier", classifier, crops(cls.batch_size, cls.crop),
         lambda out: classifier.loss(out, tags, cls.slot_loss)),
        ("segmenter", segmenter, crops(seg.batch_size, seg.crop),
         lambda out: mask_loss(seg.loss, out, masks)),
    ):  # fmt: skip
        model.to(device, memory_format=torch.channels_last).train()
        plain, compiled = (
            step(runtime, model, forward, images, loss) for forward in (model, torch.compile(model))
        )
        plain()
        begun = time.perf_counter()
        seconds(runtime, compiled)
        first = time.perf_counter() - begun
        taken = [(seconds(runtime, plain), seconds(runtime, compiled))
                 for _ in range(arguments.rounds)]  # fmt: skip
        before, after = (min(one) for one in zip(*taken, strict=True))
        what = f"{name}, {len(images)}×{images.shape[-1]}²"
        times = f"{before:.3f}", f"{after:.3f}", f"{before / after:.2f}", f"{first - after:.0f}"
        row(what, *times)


def step(
    runtime: Runtime,
    model: nn.Module,
    forward: Callable[[Tensor], Any],
    images: Tensor,
    loss: Callable[[Any], Tensor],
) -> Step:
    """A step of training of a network, called as it is or compiled."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=runtime.fused)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        with runtime.autocast():
            value = loss(forward(images))
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    return call


def seconds(runtime: Runtime, call: Step) -> float:
    clock = time.process_time if runtime.device.type == "cpu" else time.perf_counter
    begun = clock()
    call()
    if runtime.device.type != "cpu":
        torch.cuda.synchronize()
    return clock() - begun


if __name__ == "__main__":
    main()
