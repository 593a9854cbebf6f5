#!/usr/bin/env python
"""How long an opened image takes to answer a click, and what opening it takes.

    scripts/bench_clicks.py runs/voc61_nano --images VOC2012/JPEGImages [--size 500x375]

Images are turned and resized to --size, get two tags drawn at random, and --clicks clicks one after
the other at random places with random labels of these: every answer is a whole mask of all clicks
so far. Prints the median and the 95th percentile in milliseconds: of the processor time of all
threads, so that other work on the machine doesn't count, and of wall time. Threads: --threads, 1 if
not given.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from wsss.config import PseudoMasksConfig
from wsss.data.augment import resize
from wsss.data.images import read_image
from wsss.models.clicks import OpenImage
from wsss.models.trained import load_classifier
from wsss.run.state import Run
from wsss.seeding.clicks import Click

CPU = torch.device("cpu")


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    model = load_classifier(Run(arguments.run).model("train_cls"), CPU)
    width, height = map(int, arguments.size.split("x"))
    rng = np.random.default_rng(0)
    opening, answers = [], []
    for path in sorted(arguments.images.iterdir())[: arguments.count]:
        image = read_image(path)
        if (image.shape[0] > image.shape[1]) != (height > width):
            image = np.rot90(image)
        image = resize(np.ascontiguousarray(image), (height, width))
        tags = sorted(rng.choice(len(model.bias), 2, replace=False).tolist())
        start = time.process_time(), time.perf_counter()
        opened = OpenImage(model, image, tags, PseudoMasksConfig(), CPU)
        opened.mask()
        opening.append(since(start))
        clicks: list[Click] = []
        for _ in range(arguments.clicks):
            label = int(rng.choice([0, *(tag + 1 for tag in tags)]))
            clicks.append(Click(int(rng.integers(width)), int(rng.integers(height)), label))
            start = time.process_time(), time.perf_counter()
            opened.mask(clicks)
            answers.append(since(start))
    print(f"{arguments.size}, {len(opening)} images, {arguments.threads} threads; ms, p50 / p95")
    for name, times in (("open", opening), ("click", answers)):
        processor, wall = np.percentile(times, (50, 95), axis=0).T
        print(
            f"{name:6} processor {processor[0]:.0f} / {processor[1]:.0f}  "
            f"wall {wall[0]:.0f} / {wall[1]:.0f}"
        )


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Milliseconds of processor and wall time."""
    return 1e3 * (time.process_time() - start[0]), 1e3 * (time.perf_counter() - start[1])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--size", default="500x375")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
