#!/usr/bin/env python
"""Speed and memory of `predict`, single scale, beside the loop that people write with smp.

    scripts/bench_predict.py runs/voc61_nano --images VOC2012/JPEGImages [--count 40]
    scripts/bench_predict.py runs/voc61_nano --images VOC2012/JPEGImages --columns --count 3
    scripts/bench_predict.py runs/voc61_nano --photo 4032x3024 [--max-side 1024] [--tile 1024]

The first prints images per second from file to mask: `predict` with the segmenter of the run, and a
plain loop over the same files (PIL, pad, forward, argmax, PNG) with the run's own network and with
its encoder under each of segmentation-models-pytorch's decoders as they come. What is compared runs
in turn in one process, on the same images; the ratio is of the least times. Peak memory is of the
whole process (Linux), each contestant in one of its own. The second times the columns of an
evaluation, computed together. The third times one large image, made of noise, with limits on its
side and without. Threads: --threads, 1 if not given.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from measuring import in_turns, peak_memory
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from wsss.config import EvaluateConfig, PredictionMode
from wsss.data.augment import IMAGENET_MEAN, IMAGENET_STD, limit_side
from wsss.data.images import read_image
from wsss.data.mask_io import write_mask
from wsss.engine.inference import to_device
from wsss.models.inference import predict_images
from wsss.models.segmenter import Segmenter
from wsss.models.trained import load_segmenter
from wsss.run.state import Run

DECODERS = {"segformer": smp.Segformer, "fpn": smp.FPN, "upernet": smp.UPerNet, "unet": smp.Unet}
NAMES = ("predict", "own", *DECODERS)
Step = Callable[[Path, Path], None]
CPU = torch.device("cpu")


def segment(
    model: Segmenter,
    image: NDArray[np.uint8],
    settings: EvaluateConfig,
    modes: Sequence[PredictionMode] = (),
) -> list[NDArray[np.uint8]]:
    """The masks of one image, as `wsss predict` makes them."""
    pixels = to_device([limit_side(image, settings.max_side)], CPU)
    size = (image.shape[0], image.shape[1])
    (made,) = predict_images(model, pixels, modes or [settings.own], [size], settings.tile)
    return [one.mask for one in made]


def ours(model: Segmenter, settings: EvaluateConfig) -> Step:
    def run(path: Path, mask: Path) -> None:
        write_mask(mask, segment(model, read_image(path), settings)[0])

    return run


def plain(model: nn.Module) -> Step:
    """The usual loop."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))

    def run(path: Path, mask: Path) -> None:
        pixels = np.array(Image.open(path).convert("RGB"))
        image = (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std
        height, width = image.shape[-2:]
        padded = F.pad(image[None], (0, -width % 32, 0, -height % 32))
        with torch.no_grad():
            logits = model(padded)[..., :height, :width]
        Image.fromarray(logits.argmax(1)[0].byte().numpy()).save(mask)

    return run


def contestant(run: Path, name: str) -> Step:
    """What goes from an image's file to its mask's: `predict`, or the loop under a decoder."""
    model, metadata = load_segmenter(Run(run).model("train_seg"), CPU)
    if name == "predict":
        return ours(model, EvaluateConfig())
    if name == "own":
        return plain(model)
    del model
    classes = len(metadata["class_names"]) + 1
    encoder, args = f"tu-{metadata['backbone']}", metadata["backbone_args"]
    net = DECODERS[name](encoder, encoder_weights=None, classes=classes, **args)
    return plain(net.eval())


def compare(run: Path, images: Path, count: int, repeats: int) -> None:
    paths = sorted(images.glob("*.jpg"))[:count]
    with tempfile.TemporaryDirectory() as folder:

        def work(step: Step) -> None:
            for path in paths:
                step(path, Path(folder) / f"{path.stem}.png")

        steps = {name: partial(work, contestant(run, name)) for name in NAMES}
        taken = in_turns(steps, repeats)
    least = {name: min(times) for name, times in taken.items()}
    print(f"{len(paths)} images, {torch.get_num_threads()} thread(s), processor time")
    for name, seconds in least.items():
        memory = peak(run, images, count, name)
        ratio = seconds / least["predict"]
        title = name if name == "predict" else f"loop, {name}"
        print(f"{title:18} {len(paths) / seconds:6.2f}/s  {ratio:5.2f}x  {memory:6.0f} MiB")


def peak(run: Path, images: Path, count: int, name: str) -> float:
    """Peak memory in MiB of a process that does one contestant's work alone."""
    command = [sys.executable, __file__, str(run), "--images", str(images), "--only", name]
    command += ["--count", str(count), "--threads", str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def only(run: Path, images: Path, count: int, name: str) -> None:
    step = contestant(run, name)
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(images.glob("*.jpg"))[:count]:
            step(path, Path(folder) / "mask.png")
    print(peak_memory())


def columns(run: Path, images: Path, count: int) -> None:
    """Processor time of the first, the first two and all columns of an evaluation, together."""
    model, _ = load_segmenter(Run(run).model("train_seg"), CPU)
    settings = EvaluateConfig()
    names = list(settings.columns())
    pixels = [read_image(path) for path in sorted(images.glob("*.jpg"))[:count]]
    for end in range(1, len(names) + 1):
        modes = [settings.columns()[name] for name in names[:end]]
        start = time.process_time()
        for image in pixels:
            segment(model, image, settings, modes)
        seconds = (time.process_time() - start) / len(pixels)
        print(f"{' + '.join(names[:end]):22} {seconds:6.2f} s per image", flush=True)


def photograph(run: Path, size: str, max_side: int, tile: int) -> None:
    """One large image: as it comes, in tiles, limited in side."""
    width, height = map(int, size.split("x"))
    small = np.random.default_rng(0).integers(0, 256, (height // 64, width // 64, 3), np.uint8)
    image = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    model, _ = load_segmenter(Run(run).model("train_seg"), CPU)
    ways = {
        f"long side {max_side}": EvaluateConfig(max_side=max_side or None, tile=None),
        f"tiles of {tile}": EvaluateConfig(max_side=None, tile=tile or None),
        "as it comes": EvaluateConfig(max_side=None, tile=None),
    }
    first = None
    for name, settings in ways.items():
        start = time.process_time()
        segment(model, image, settings)
        seconds = time.process_time() - start
        first = first or seconds
        times = f"{seconds:7.2f} s  {seconds / first:6.2f}x"
        print(f"{name:18} {times}  peak so far {peak_memory():6.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--columns", action="store_true")
    parser.add_argument("--photo", metavar="WIDTHxHEIGHT")
    parser.add_argument("--max-side", type=int, default=1024)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.photo:
        photograph(args.run, args.photo, args.max_side, args.tile)
    elif args.images is None:
        parser.error("give --images or --photo")
    elif args.columns:
        columns(args.run, args.images, args.count)
    elif args.only:
        only(args.run, args.images, args.count, args.only)
    else:
        compare(args.run, args.images, args.count, args.repeats)


if __name__ == "__main__":
    main()
