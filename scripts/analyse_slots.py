#!/usr/bin/env python
"""Which blocks of a GLNet group objects: a table over images with masks.

    scripts/analyse_slots.py glnet_nano --checkpoint W.safetensors --root VOC2012 --count 300

Columns: learnt scale; entropy of a token's choice (P) and of what a slot gathers (G), over their
maxima; slots that win a token, and effective number of slots; purity of the slots' territories;
mean IoU of the best single slot for each object (class region of an image); mIoU of the masks that
arise when every slot takes its commonest true label, one confusion matrix over all images; mean
IoU of each object with what 1 and 4 symmetric steps through the slots make of the fifth of it round
its middle, at the best threshold. The last rows know locations alone: a regular 8×8 partition, and
a disc that grows round that fifth. All from purity on looks at true masks: it judges blocks, it
chooses nothing.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from measuring import head, row

from glmix.analysis import (
    agreement,
    part_of,
    regrown,
    regular_partition,
    sharpness,
    territories,
)
from glmix.clustering import dispatch_weights
from wsss.data.augment import normalise
from wsss.data.masks import mask_path, read_pair
from wsss.errors import WsssError
from wsss.formats.voc import image_paths, read_class_names, split_ids
from wsss.metrics.confusion import ConfusionMatrix
from wsss.models.backbone import create_backbone
from wsss.seeding.walks import symmetric_walk

REGULAR, DISC = "regular 8×8", "growing disc"
STEPS = (1, 4)


class Row:
    """What one partition of all images adds up to."""

    def __init__(self, num_classes: int) -> None:
        self.sharpness: list[tuple[float, ...]] = []
        self.purity: list[float] = []
        self.best_iou: list[float] = []
        self.regrown: list[list[float]] = []
        self.confusion = ConfusionMatrix(num_classes)

    def add(self, partition: torch.Tensor, mask: torch.Tensor) -> None:
        """Count one image."""
        found = agreement(partition, mask)
        self.purity.append(found.purity)
        self.best_iou.extend(found.best_iou.values())
        self.confusion.update(mask.numpy(), found.labelled.numpy())

    def grow(
        self, dispatch: torch.Tensor | None, grid: tuple[int, int], mask: torch.Tensor
    ) -> None:
        """Walk from a part of every object; `dispatch` is (N, K), None for a growing disc."""
        small = mask[None, None].float()
        labels = F.interpolate(small, size=grid, mode="nearest-exact").flatten().long()
        for label in labels[(labels > 0) & (labels < 255)].unique():
            region = labels == label
            part = part_of(region, grid).float()[None, None]
            if dispatch is None:
                self.regrown.append([regrown(disc(part.view(grid)), region)] * len(STEPS))
                continue
            walks = [symmetric_walk(part, dispatch[None], t)[0, 0] for t in STEPS]
            self.regrown.append([regrown(walk, region) for walk in walks])

    def cells(self) -> list[str]:
        """The row's figures, from the entropies on."""
        sharp = np.mean(self.sharpness, axis=0) if self.sharpness else None
        first = ["–"] * 4 if sharp is None else [f"{sharp[0]:.2f}", f"{sharp[1]:.2f}"]
        if sharp is not None:
            first += [f"{sharp[2]:.0f}", f"{sharp[3]:.0f}"]
        walks = np.mean(self.regrown, axis=0).tolist()
        judged = [f"{100 * value:.1f}" for value in walks]
        if not self.purity:
            return [*first, "–", "–", "–", *judged]
        whole = [np.mean(self.purity), np.mean(self.best_iou), self.confusion.compute().miou]
        return [*first, *(f"{100 * value:.1f}" for value in whole), *judged]


def disc(part: torch.Tensor) -> torch.Tensor:
    """(h, w) → (h·w,): 1 in the middle of the part, falling with the distance from it to 0."""
    rows, columns = torch.meshgrid(*(torch.arange(n).float() for n in part.shape), indexing="ij")
    inside = part > 0
    away = (rows - rows[inside].mean()).square() + (columns - columns[inside].mean()).square()
    return (1 - (away / away.max()).sqrt()).flatten()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--root", type=Path, required=True, help="data set in VOC layout")
    parser.add_argument("--split", default="train")
    parser.add_argument("--count", type=int, default=300, help="images, drawn once with seed 0")
    args = parser.parse_args()
    net = create_backbone(args.model, args.checkpoint, {}).eval()
    ids, paths = split_ids(args.root, args.split), image_paths(args.root)
    chosen = sorted(np.random.default_rng(0).permutation(len(ids))[: args.count].tolist())
    num_classes = len(read_class_names(args.root)) + 1
    rows: dict[str, Row] = defaultdict(lambda: Row(num_classes))
    for i in chosen:
        image, target = read_pair(paths[ids[i]], mask_path(args.root, ids[i]))
        mask = torch.from_numpy(target)
        with torch.no_grad():
            _, assignments = net.forward_slots(normalise(image)[None])
        for assignment in assignments:
            rows[assignment.name].sharpness.append(sharpness(assignment))
            rows[assignment.name].add(territories(assignment, tuple(mask.shape)), mask)
            dispatch = dispatch_weights(assignment.logits)[0]
            rows[assignment.name].grow(dispatch, assignment.grid, mask)
        rows[REGULAR].add(regular_partition(tuple(mask.shape)), mask)
        grid = next(a.grid for a in assignments if a.stride == 8)
        cells = F.one_hot(regular_partition(grid).flatten(), 64).float()
        rows[REGULAR].grow(cells, grid, mask)
        rows[DISC].grow(None, grid, mask)
    scales = {a.name: net.stages[a.stage].blocks[a.block].slot_scale.item() for a in assignments}
    print(f"{args.model}, {len(chosen)} of {len(ids)} images of {args.split}, original size\n")
    head("block", "scale", "H(P)", "H(G)", "used", "effective", "purity", "best IoU",
         "labelled mIoU", "regrown, 1 step", "regrown, 4 steps")  # fmt: skip
    for name, found in rows.items():
        row(name, f"{scales[name]:.1f}" if name in scales else "–", *found.cells())


if __name__ == "__main__":
    try:
        main()
    except WsssError as error:
        sys.exit(str(error))
