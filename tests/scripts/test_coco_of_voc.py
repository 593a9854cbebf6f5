"""The COCO-shaped set that is made of VOC images: its ids, instances, crowds and true masks."""

import json
from pathlib import Path

import coco_of_voc
import numpy as np

from wsss.data import mask_io
from wsss.data.coco_truth import make_masks
from wsss.formats import voc
from wsss.formats.coco_layout import annotations_file, read_coco


def test_categories_are_cocos() -> None:
    found = coco_of_voc.categories()
    assert len(found) == 80 and max(found) == 90
    assert (found[1], found[13], found[44], found[90]) == (
        "person",
        "stop sign",
        "bottle",
        "toothbrush",
    )
    assert set(coco_of_voc.names(coco_of_voc.VOC)) <= set(found.values())


def test_annotations_of_a_mask() -> None:
    mask = np.zeros((40, 60), np.uint8)
    for i, value in enumerate((1, 1, 1, 1, 1, 255)):  # five aeroplanes, the first the largest
        mask[2:12, 10 * i + 1 : 10 * i + 9 - i] = value
    found = coco_of_voc.annotations(mask)
    assert [one["category_id"] for one in found] == [5] * 4
    assert [one["area"] for one in found] == [80, 70, 60, 50 + 40]
    assert [one["iscrowd"] for one in found] == [0, 0, 0, 1]
    assert found[0]["bbox"] == [1, 2, 8, 10]
    assert sum(found[3]["segmentation"]["counts"]) == mask.size


def test_make_split_makes_a_set_that_is_read_and_scored(tmp_path: Path, synthetic: Path) -> None:
    ids = list(voc.split_ids(synthetic, "train"))
    coco_of_voc.make_split(synthetic, tmp_path, "train2014", ids[:3])
    content = json.loads(annotations_file(tmp_path, "train2014").read_text())
    assert len(content["images"]) == 3 and len(content["categories"]) == 80
    found = read_coco(tmp_path, "train2014")
    names = [sample.id for sample in found.samples]
    masks = make_masks(tmp_path, "train2014", "coco2voc", names, lambda items, *_: items)
    numbers = {name: ids[i] for i, name in enumerate(names)}
    for name, id_ in numbers.items():
        truth = mask_io.read_mask(synthetic / "SegmentationClassAug" / f"{id_}.png")
        made = mask_io.read_mask(masks / "SegmentationClass" / f"{name}.png")
        # outlines run through the middle of pixels: a pixel's width is lost
        assert ((made > 0) == ((truth > 0) & (truth < 255))).mean() > 0.9
