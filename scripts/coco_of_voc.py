#!/usr/bin/env python
"""Make a set in COCO's layout of images in VOC's: to run COCO's part of the pipeline without COCO.

scripts/coco_of_voc.py VOC_ROOT OUT: `OUT/annotations/instances_{train,val}2014.json` and the images
in `OUT/train2014` and `OUT/val2014`. Each connected component of a class is an instance with
polygons; where a class has more than three in an image, the smaller ones are one crowd, as RLE. The
categories are COCO's 80 with their ids, of which VOC's images hold 20. Void becomes background. It
is no COCO: compare no score on it with one on COCO.
"""

import argparse
import json
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss.data.mask_io import read_mask
from wsss.data.masks import mask_path
from wsss.engine.progress import track
from wsss.files import write_atomic, write_text
from wsss.formats.rle import runs_of
from wsss.formats.voc import image_paths, split_ids

CLASSES = """
person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,
handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,
surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,
broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,
mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,
teddy bear,hair drier,toothbrush"""
UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}  # of the ids 1 to 90
# VOC's classes in the order of their mask values, by COCO's names
VOC = """
airplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,dining table,dog,horse,motorcycle,person,
potted plant,sheep,couch,train,tv"""

SPLITS = {"train2014": "train_aug", "val2014": "val"}
LEAST = 16  # pixels of an instance
SINGLE = 3  # instances of a class in an image that are no crowd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="folder in VOC layout, with true masks")
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, help="so many images of train_aug; all if left out")
    parser.add_argument("--val", type=int, help="so many images of val")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    args = parser.parse_args()
    for (split, source), limit in zip(SPLITS.items(), (args.train, args.val), strict=True):
        ids = split_ids(args.root, source)
        drawn = np.random.default_rng(args.seed).permutation(len(ids))[:limit]
        make_split(args.root, args.out, split, [ids[i] for i in sorted(drawn)])


def make_split(root: Path, out: Path, split: str, ids: list[str]) -> None:
    paths = image_paths(root)
    content: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": n} for i, n in categories().items()],
    }
    numbers = count(1)
    for id_ in track(ids, split, len(ids)):
        number = int("".join(filter(str.isdigit, id_)))
        name = f"COCO_{split}_{number:012d}.jpg"
        write_atomic(out / split / name, lambda to, id_=id_: shutil.copyfile(paths[id_], to))
        mask = read_mask(mask_path(root, id_))
        image = {"id": number, "file_name": name, "height": mask.shape[0], "width": mask.shape[1]}
        content["images"].append(image)
        content["annotations"] += [
            {"id": next(numbers), "image_id": number, **one} for one in annotations(mask)
        ]
    path = out / "annotations" / f"instances_{split}.json"
    write_text(path, json.dumps(content))
    print(f"{path}: {len(content['images'])} images, {len(content['annotations'])} annotations")


def categories() -> dict[int, str]:
    """COCO's ids and names."""
    ids = (i for i in range(1, 91) if i not in UNUSED)
    return dict(zip(ids, names(CLASSES), strict=True))


def names(text: str) -> list[str]:
    return text.replace("\n", "").split(",")


def annotations(mask: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """The instances of a mask, the largest of a class first, and its crowd."""
    ids = {name: id_ for id_, name in categories().items()}
    found = []
    for value, name in enumerate(names(VOC), 1):
        parts = components(mask == value)
        for part in parts[:SINGLE]:
            outlines, _ = cv2.findContours(
                part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
            )
            polygons = [line.ravel().tolist() for line in outlines if len(line) > 2]
            if polygons:
                found.append(annotation(ids[name], part, polygons, crowd=False))
        if parts[SINGLE:]:
            rest = np.logical_or.reduce(parts[SINGLE:])
            runs = {"size": list(rest.shape), "counts": runs_of(rest.T.ravel())}
            found.append(annotation(ids[name], rest, runs, crowd=True))
    return found


def components(pixels: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Connected components of at least `LEAST` pixels, the largest first."""
    number, labels = cv2.connectedComponents(pixels.astype(np.uint8))
    parts = [labels == i for i in range(1, number)]
    parts = [part for part in parts if part.sum() >= LEAST]
    return sorted(parts, key=lambda part: -int(part.sum()))


def annotation(
    category: int, part: NDArray[np.bool_], segmentation: Any, crowd: bool
) -> dict[str, Any]:
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    y, x = int(rows[0]), int(columns[0])
    return {
        "category_id": category,
        "segmentation": segmentation,
        "area": int(part.sum()),
        "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        "iscrowd": int(crowd),
    }


if __name__ == "__main__":
    main()
