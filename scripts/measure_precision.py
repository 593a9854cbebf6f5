#!/usr/bin/env python
"""What networks answer in half the bits, beside float32: the packaged segmenter, and a classifier.

    scripts/measure_precision.py IMAGES [--run RUN] [--images 12]

For every precision the share of pixels that keep their label, the largest difference of a
probability or of a seed's score (of the class that the classifier finds the likeliest, after the
default walk), and answers that are not finite; and the largest number that any layer puts out in
float32, since float16 ends at 65,504. It runs on a CPU, which may emulate float16 at a tenth of the
speed.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from measuring import head, row
from torch import Tensor, nn

from wsss.config import PseudoMasksConfig
from wsss.data.augment import normalise
from wsss.data.find_images import find_images
from wsss.data.images import read_image
from wsss.export.load import open_network
from wsss.models.classifier import TagClassifier
from wsss.models.inference import View, predict_views
from wsss.models.multiscale import observe, seed_size
from wsss.models.segmenter import build_segmenter
from wsss.models.trained import load_classifier
from wsss.run.state import Run
from wsss.seeding.maps import score_maps
from wsss.stages.predict import shipped_model

CPU = torch.device("cpu")
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SEEDING = PseudoMasksConfig().seeding


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of images")
    parser.add_argument("--run", type=Path, help="run whose classifier is measured, too")
    parser.add_argument("--images", type=int, default=12)
    given = parser.parse_args()
    paths = [given.folder / path for path in find_images(given.folder).paths[: given.images]]
    networks: dict[str, nn.Module] = {
        "segmenter": open_network(shipped_model(), build_segmenter, CPU)[0]
    }
    if given.run:
        networks["classifier"] = load_classifier(Run(given.run).model("train_cls"), CPU)
    head("network", "precision", "same label", "largest difference", "not finite", "largest output")
    for name, network in networks.items():
        same: dict[str, float] = defaultdict(float)
        apart: dict[str, float] = defaultdict(float)
        lost: dict[str, int] = defaultdict(int)
        highest = [0.0]
        for path in paths:
            images = normalise(read_image(path))[None]
            with watched(network, highest):
                exact, tag = answer(network, images)
            for kind in ("bf16", "fp16"):
                with torch.autocast("cpu", KINDS[kind]):
                    found, _ = answer(network, images, tag)
                same[kind] += float((labels(found) == labels(exact)).float().mean()) / len(paths)
                apart[kind] = max(apart[kind], float((found - exact).abs().max()))
                lost[kind] += int((~found.isfinite()).sum())
        for kind in same:
            shares = f"{same[kind]:.3%}", f"{apart[kind]:.4f}"
            row(name, kind, *shares, lost[kind], f"{highest[0]:.0f}")


@torch.inference_mode()
def answer(network: nn.Module, images: Tensor, tag: int | None = None) -> tuple[Tensor, int]:
    """Probabilities (C + 1, H, W), or a seed (1, h, w) and its class."""
    if not isinstance(network, TagClassifier):
        return predict_views(network, images, [View()])[0][0], 0
    evidence = observe(network, images, (1.0,), flip=False)
    tag = int(evidence[0].logits[0].argmax()) if tag is None else tag
    tags = torch.zeros(1, len(network.bias), dtype=torch.bool)
    tags[0, tag] = True
    with torch.autocast("cpu", enabled=False):
        maps = score_maps(evidence, tags, SEEDING, seed_size(*images.shape[-2:]))
    return maps[0, tag : tag + 1], tag


def labels(answered: Tensor) -> Tensor:
    """The likeliest class of each pixel; of a seed, whether the score is above a half."""
    return answered.argmax(dim=0) if len(answered) > 1 else answered[0] > 0.5


@contextmanager
def watched(network: nn.Module, highest: list[float]) -> Iterator[None]:
    """Note the largest number that a layer puts out."""

    def note(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            highest[0] = max(highest[0], float(output.abs().max()))

    handles = [module.register_forward_hook(note) for module in network.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


if __name__ == "__main__":
    main()
