#!/usr/bin/env python
r"""How well the scores of masks find the wrong ones, against true masks.

    scripts/measure_uncertainty.py RUN/pseudo_masks \
        --truth VOC2012/SegmentationClassAug --list VOC2012/ImageSets/Segmentation/train.txt

An image's error is 1 − the mean IoU over the labels of its mask and its truth, background included;
255 in a mask counts as background. An order of the masks is judged by the area under the
risk–coverage curve (the mean error of the most certain masks, averaged over their number) and by
how many of the 100 worst masks are among the first 200 that it shows. Beside the score stand random
order, mean confidence, every part by itself, their mean without weights, and the errors' own order.
The images are also judged in halves, every other image of the list, because the weights of the
parts were chosen on the first half of VOC-61's train.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from measuring import head, row
from numpy.typing import NDArray
from scipy.stats import rankdata

from wsss.data.mask_io import read_mask
from wsss.data.scores import Doubt, read_doubt
from wsss.metrics.confusion import ConfusionMatrix
from wsss.metrics.uncertainty import PARTS, combine

WORST, SHOWN = 100, 200
Values = NDArray[np.float64]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("masks", type=Path, help="folder of masks that wsss made")
    parser.add_argument("--truth", type=Path, required=True, help="folder of true masks")
    parser.add_argument("--list", type=Path, required=True, help="image ids, one a line")
    given = parser.parse_args()
    ids = given.list.read_text().split()
    found = {id_: read_doubt(given.masks / f"{id_}.png") for id_ in ids}
    doubts = {id_: doubt for id_, doubt in found.items() if doubt is not None}
    errors = np.array([error(given.masks, given.truth, id_) for id_ in doubts])
    print(f"{len(errors)} masks, mean error {errors.mean():.4f}")
    halves = np.arange(len(errors)) % 2
    for name, chosen in (("first half", halves == 0), ("second half", halves == 1)):
        report(
            name, [d for d, own in zip(doubts.values(), chosen, strict=True) if own], errors[chosen]
        )
    report("all", list(doubts.values()), errors)


def error(masks: Path, truth: Path, id_: str) -> float:
    """1 − the mean IoU of an image's mask."""
    matrix = ConfusionMatrix(255, unsure="background")
    matrix.update(read_mask(truth / f"{id_}.png"), read_mask(masks / f"{id_}.png"))
    return 1 - matrix.compute().miou


def report(title: str, doubts: list[Doubt], errors: Values) -> None:
    """Print one table."""
    parts = {name: [doubt.parts.get(name) for doubt in doubts] for name in PARTS}
    parts = {name: values for name, values in parts.items() if None not in values}
    worst, shown = (WORST, SHOWN) if title == "all" else (WORST // 2, SHOWN // 2)
    print(f"\n{title}: {len(errors)} masks; of the {worst} worst among the first {shown}")
    head("order", "risk–coverage", "worst among the first")
    row("random", f"{errors.mean():.4f}", f"{worst * shown / len(errors):.0f}")
    for name, scores in orders(parts, errors).items():
        row(name, f"{risk(errors, scores):.4f}", hits(errors, scores, worst, shown))


def orders(parts: Mapping[str, list[float | None]], errors: Values) -> dict[str, Values]:
    """Name → a score of each mask."""
    single = {f"`{name}`": np.array(values, np.float64) for name, values in parts.items()}
    ranks = [rankdata(values) for values in single.values()]
    return {
        **single,
        "mean of the ranks": np.mean(ranks, axis=0),
        "`score`": combine(parts),
        "error": errors,
    }


def risk(errors: Values, scores: Values) -> float:
    """Area under the risk–coverage curve."""
    order = np.argsort(scores, kind="stable")
    return float((np.cumsum(errors[order]) / np.arange(1, len(errors) + 1)).mean())


def hits(errors: Values, scores: Values, worst: int, shown: int) -> int:
    """How many of the worst are among the first shown."""
    bad = set(np.argsort(-errors, kind="stable")[:worst].tolist())
    return len(bad & set(np.argsort(-scores, kind="stable")[:shown].tolist()))


if __name__ == "__main__":
    main()
