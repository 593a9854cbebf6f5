#!/usr/bin/env python3
"""What masks lose on the way through every format: `scripts/measure_formats.py MASKS [COUNT]`.

MASKS is a folder of PNGs of class indices, such as VOC's SegmentationClassAug. Each format is
written and read back; printed are the share of pixels that changed (void left out), the largest
distance of one from a contour, the mean IoU with what was written, bytes, and seconds.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measuring import head, row
from scipy import ndimage

from wsss.data.mask_io import read_mask
from wsss.formats.mask_list import MaskToWrite, Writing
from wsss.formats.mask_registry import WRITERS, read_masks
from wsss.formats.target import Target
from wsss.labels import IGNORE_INDEX
from wsss.metrics.confusion import ConfusionMatrix

CLASSES = tuple(f"c{value}" for value in range(1, 255))
RUNS = [("coco", False), ("cvat", False), ("label-studio", False), ("voc", False)]
RUNS += [(name, True) for name in ("coco", "cvat", "label-studio", "labelme", "yolo-seg")]


def far(mask: np.ndarray, wrong: np.ndarray) -> float:
    """The largest distance of a wrong pixel from a contour of the mask, or the image's border."""
    padded = np.pad(mask, 1, constant_values=IGNORE_INDEX)
    edge = np.zeros(padded.shape, bool)
    for axis in (0, 1):
        step = np.diff(padded.astype(int), axis=axis) != 0
        first = [slice(None)] * 2
        first[axis] = slice(1, None)
        edge[tuple(first)] |= step
        first[axis] = slice(None, -1)
        edge[tuple(first)] |= step
    # a pixel beside a contour is half a pixel from it
    away = ndimage.distance_transform_edt(~edge)[1:-1, 1:-1] + 0.5
    return float(away[wrong].max(initial=0))


def main(folder: Path, count: int) -> None:
    paths = sorted(folder.glob("*.png"))[:count]
    masks = {path.stem: read_mask(path) for path in paths}

    def entries() -> Iterator[MaskToWrite]:
        for number, (id_, mask) in enumerate(masks.items(), 1):
            yield MaskToWrite(id_, number, f"{id_}.jpg", None, mask)

    pixels = sum(mask.size for mask in masks.values())
    print(f"{len(masks)} masks of {folder}, {pixels / len(masks):,.0f} pixels each on the mean")
    head("format", "changed pixels", "farthest", "mIoU", "kB per mask", "write, ms", "read, ms")
    for name, polygons in RUNS:
        with tempfile.TemporaryDirectory() as there:
            start = time.process_time()
            WRITERS[name](entries(), Writing(CLASSES, polygons=polygons), Target(Path(there)))
            wrote = time.process_time() - start
            size = sum(p.stat().st_size for p in Path(there).rglob("*") if p.is_file())
            place = Path(there)
            if name == "label-studio":  # as if somebody had submitted the predictions
                tasks = json.loads((place / "tasks.json").read_text())
                for task in tasks:
                    task["annotations"] = task.pop("predictions")
                place = place / "submitted.json"
                place.write_text(json.dumps(tasks))
            start = time.process_time()
            changed, farthest, total = 0, 0.0, 0
            confusion = ConfusionMatrix(255, unsure="background")
            listed = read_masks(place)
            values = np.arange(256, dtype=np.uint8)
            for value, label in enumerate(listed.classes or (), 1):
                values[value] = int(label[1:])
            came = {n.removesuffix(".jpg").removeprefix("images/"): n for n in listed.names}
            read = 0.0
            for id_, mask in masks.items():
                begun = time.process_time()
                back = np.zeros_like(mask)
                if id_ in came:
                    back = values[listed.read(came[id_], (mask.shape[0], mask.shape[1]))]
                read += time.process_time() - begun
                known = mask != IGNORE_INDEX
                plain = np.where(known, mask, 0).astype(np.uint8)
                wrong = (back != mask) & known
                changed, total = changed + int(wrong.sum()), total + int(known.sum())
                farthest = max(farthest, far(plain, wrong))
                confusion.update(mask, np.where(back == IGNORE_INDEX, 0, back))
            n = len(masks)
            row(
                f"{name}{', polygons' if polygons else ''}",
                f"{changed / total:.4%}",
                f"{farthest:.2f} px",
                f"{confusion.compute().miou:.4%}",
                f"{size / n / 1000:.1f}",
                f"{1000 * wrote / n:.0f}",
                f"{1000 * read / n:.0f}",
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int([*sys.argv, "1000000"][2]))
