#!/usr/bin/env python
"""By how much lenient counting flatters: the same seeds, by the counts of published code.

scripts/lenient_counts.py RUN: takes the seeds of a run on `data.score_split`, which are kept by
`pseudo_masks.keep_seeds=true`, makes masks by two thresholds, between which a pixel is 255, and
prints their mIoU as IRN's and ToCo's code would count it. The row of the oracle is one threshold,
swept on the true masks that are scored.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from measuring import head, row
from torch import Tensor

from wsss.config import RunConfig
from wsss.data.images import Sample
from wsss.data.masks import mask_path, read_target, true_masks
from wsss.data.open import open_tagged
from wsss.engine.progress import track
from wsss.labels import IGNORE_INDEX
from wsss.metrics.protocols import COUNTINGS
from wsss.metrics.split_scores import SplitScores
from wsss.metrics.threshold_sweep import ThresholdSweep
from wsss.run.state import Run, read_config
from wsss.seeding.cam import resize

CENTRE = 0.4
WIDTHS = (0.0, 0.1, 0.2, 0.4, 0.6)  # of the band of 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run with seeds")
    config = read_config(parser.parse_args().run, [])
    bands, sweep = count(config)
    head("threshold", "255 %", *COUNTINGS, "per image")
    for width, scores in bands.items():
        found = scores.summary()
        figures = [*found["countings"].values(), found["image_miou"]]
        low, high = CENTRE - width / 2, CENTRE + width / 2
        name = f"{low:.2f} to {high:.2f}" if width else f"{CENTRE}"
        row(name, *(f"{100 * figure:.1f}" for figure in (found["unsure"], *figures)))
    threshold, miou = sweep.best()
    print(f"oracle: {100 * miou:.1f} at {threshold}, swept on these true masks")


def count(config: RunConfig) -> tuple[dict[float, SplitScores], ThresholdSweep]:
    """The scores of each band, and the sweep."""
    data, run = config.data, Run(config.run)
    tagged = open_tagged(data, data.score_split)
    root = true_masks(data, data.score_split, tagged, track)
    bands = {width: SplitScores(tagged.class_names) for width in WIDTHS}
    sweep = ThresholdSweep(len(tagged.class_names) + 1, [k / 20 for k in range(1, 20)])
    for sample in track(tagged.samples, "count", len(tagged)):
        target = read_target(sample.path, mask_path(root, sample.id))
        scores, labels = seeds(run, sample, (target.shape[0], target.shape[1]))
        sweep.update(target, scores, labels)
        for width, found in bands.items():
            found.update(target, banded(scores, labels, CENTRE - width / 2, CENTRE + width / 2))
    return bands, sweep


def seeds(run: Run, sample: Sample, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(C, H, W) scores at the image's size, (C,) mask values."""
    with np.load(run.seed(sample.id)) as soft:
        scores = torch.from_numpy(soft["seed"]).float()
        labels = torch.from_numpy(soft["labels"])
    return resize(scores[None], size)[0], labels


def banded(scores: Tensor, labels: Tensor, low: float, high: float) -> np.ndarray:
    """The highest class above `high`, background up to `low`, 255 between."""
    if not len(labels):
        return np.zeros(scores.shape[-2:], np.uint8)
    best, index = scores.max(0)
    mask = labels[index].to(torch.uint8)
    mask[best <= high] = IGNORE_INDEX
    mask[best <= low] = 0
    return np.asarray(mask)


if __name__ == "__main__":
    main()
