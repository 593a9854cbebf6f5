"""COCO's JSON as masks: read from instances, written with exact RLE or with polygons."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wsss.formats.coco import (
    CocoAnnotation,
    CocoCategory,
    CocoImage,
    Id,
    class_list,
    file_of,
    instance_mask,
    missing,
    stream_coco,
)
from wsss.formats.instances import Instance, Shape, Size
from wsss.formats.mask_list import (
    MaskList,
    MaskToWrite,
    Writing,
    of_shapes,
    refuse_twice,
    size_said,
)
from wsss.formats.polygons import joined
from wsss.formats.rle import encode_rle
from wsss.formats.target import Target

FILE = "annotations.json"
PER_IMAGE = 100_000
"""Ids of annotations are the image's number times this and the instance's number: they stay."""


def read_masks(path: Path) -> MaskList:
    """The masks of every image that has an annotation with polygons or RLE.

    Args:
        path: the JSON, or the folder with it.
    """
    file = path / FILE if (path / FILE).is_file() else file_of(path)
    images: dict[Id, CocoImage] = {}
    categories: dict[Id, CocoCategory] = {}
    found: defaultdict[Id, list[CocoAnnotation]] = defaultdict(list)
    for entry in stream_coco(file):
        if isinstance(entry, CocoAnnotation):
            if entry.segmentation:
                found[entry.image].append(_compact(entry))
        elif isinstance(entry, CocoImage):
            images[entry.id] = entry
        else:
            categories[entry.id] = entry
    for annotations in found.values():
        for one in annotations:
            if one.category not in categories:
                raise missing(one.place, "category", one.category)
            if one.image not in images:
                raise missing(one.place, "image", one.image)
    by_name: dict[str, list[CocoAnnotation]] = {}
    sizes: dict[str, Size | None] = {}
    for id_, image in images.items():
        if id_ in found:
            refuse_twice(image.name, by_name, file)
            by_name[image.name] = found[id_]
            sizes[image.name] = image.size and size_said(*image.size)
    classes = class_list(categories, {a.category for v in found.values() for a in v})

    def shapes(name: str, size: Size) -> Iterator[Shape]:
        for one in by_name[name]:
            yield Shape(categories[one.category].name, instance_mask(one, size))

    return of_shapes(file, by_name, classes, shapes, sizes)


def _compact(annotation: CocoAnnotation) -> CocoAnnotation:
    """With polygons as text: a list of numbers takes ten times the memory."""
    if isinstance(annotation.segmentation, list):
        return annotation._replace(segmentation=json.dumps(annotation.segmentation))
    return annotation


def write_masks(masks: Iterable[MaskToWrite], how: Writing, to: Target) -> None:
    """Writes `annotations.json`; areas and boxes are those of the exact mask."""
    categories = [
        {"id": value, "name": name, "supercategory": ""}
        for value, name in enumerate(how.classes, 1)
    ]

    def parts() -> Iterator[bytes]:
        yield b'{"categories": ' + json.dumps(categories).encode() + b', "images": ['
        annotations: list[bytes] = []
        for count, one in enumerate(masks):
            height, width = one.mask.shape
            image = {"id": one.number, "file_name": one.name, "height": height, "width": width}
            yield b", " * (count > 0) + json.dumps(image).encode()
            annotations += [
                json.dumps(_annotation(instance, one.number, number, how.polygons)).encode()
                for number, instance in enumerate(how.instances(one.mask), 1)
            ]
        yield b'], "annotations": ['
        for count, text in enumerate(annotations):
            yield b", " * (count > 0) + text
        yield b"]}\n"

    to.put(FILE, parts())


def _annotation(instance: Instance, image: int, number: int, polygons: bool) -> dict[str, Any]:
    segmentation: Any
    if polygons:
        segmentation = [joined(part).ravel().tolist() for part in instance.parts()]
    else:
        segmentation = encode_rle(instance.whole())
    return {
        "id": image * PER_IMAGE + number,
        "image_id": image,
        "category_id": instance.value,
        "iscrowd": 0,
        "area": instance.area,
        "bbox": instance.box,
        "segmentation": segmentation,
    }
