#!/usr/bin/env python
"""Time and memory of COCO's annotations: tags and true masks of a file of train2014's size.

scripts/bench_coco.py ROOT: repeats the annotations of `ROOT/annotations/instances_train2014.json`
(as scripts/coco_of_voc.py writes it) under new ids, in random order, until there are as many images
and instances as in COCO's own file, polygons cut to 32 points, and reads that one. Prints seconds
of processor time.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from measuring import peak_memory

from wsss.data.coco_truth import make_masks
from wsss.formats.coco_layout import annotations_file, coco_ids

T = TypeVar("T")
SPLIT = "train2014"
IMAGES, INSTANCES = 82_783, 604_907
MASKS = 1000  # that are made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    source = json.loads(annotations_file(parser.parse_args().root, SPLIT).read_text())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotations" / f"instances_{SPLIT}.json"
        path.parent.mkdir()
        path.write_text(json.dumps(enlarged(source)))
        print(f"{IMAGES} images, {path.stat().st_size / 1e6:.0f} MB", flush=True)
        # a process of its own, whose memory is none of the making
        reader = multiprocessing.get_context("spawn").Process(target=measure, args=(Path(folder),))
        reader.start()
        reader.join()


def enlarged(source: dict[str, Any]) -> dict[str, Any]:
    """So many images and instances, each instance in an image of its size."""
    images = [
        {**image, "id": i, "file_name": f"COCO_{SPLIT}_{i:012d}.jpg"}
        for i, image in enumerate(islice(cycle(source["images"]), IMAGES), 1)
    ]
    of_image = defaultdict(list)
    for one in source["annotations"]:
        if not one["iscrowd"]:
            of_image[one["image_id"]].append({**one, "segmentation": short(one["segmentation"])})
    known = [of_image[image["id"]] for image in source["images"]]
    annotations = [
        {**one, "image_id": image["id"]}
        for image, ones in zip(images, cycle(known), strict=False)
        for one in islice(cycle(ones), INSTANCES // IMAGES + 1)
    ]
    order = np.random.default_rng(0).permutation(len(annotations))[:INSTANCES]
    return {**source, "images": images, "annotations": [annotations[i] for i in order]}


def short(polygons: list[list[int]]) -> list[list[float]]:
    """About as long, and with two digits, as COCO's are."""
    return [[x + 0.37 for x in polygon[:64]] for polygon in polygons]


def measure(root: Path) -> None:
    start = time.process_time()
    ids = coco_ids(root, SPLIT)
    print(f"tags of {len(ids)} images: {time.process_time() - start:.1f} s, {memory()}")
    start = time.process_time()

    def track(items: Iterable[T], title: str, total: int) -> Iterable[T]:
        nonlocal start
        print(f"annotations gathered: {time.process_time() - start:.1f} s, {memory()}")
        start = time.process_time()
        return islice(items, MASKS)

    make_masks(root, SPLIT, "coco2voc", ids, track)
    print(f"true masks: {1000 * (time.process_time() - start) / MASKS:.2f} ms each")


def memory() -> str:
    return f"peak {peak_memory() / 1000:.1f} GB"


if __name__ == "__main__":
    main()
