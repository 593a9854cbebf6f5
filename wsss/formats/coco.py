"""COCO's JSON: images, categories, annotations. An image's tags are the categories in it.

A file of any size is read an entry at a time, whatever the order of its lists.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsss.errors import WsssError
from wsss.formats.json_stream import stream_json
from wsss.formats.rle import decode_rle, fill_polygons
from wsss.formats.text import clean, excerpt

Id = int | str


class CocoImage(NamedTuple):
    """An entry of `images`.

    Attributes:
        id: that annotations name it by.
        name: file name, folders in front of it included.
        size: height and width; None where the file doesn't say.
    """

    id: Id
    name: str
    size: tuple[int, int] | None


class CocoCategory(NamedTuple):
    """An entry of `categories`."""

    id: Id
    name: str
    parent: str


class CocoAnnotation(NamedTuple):
    """An entry of `annotations`.

    Attributes:
        image: id of its image.
        category: id of its category.
        crowd: whether it is a region of many instances.
        area: in pixels, as the file says; 0 where it doesn't.
        segmentation: polygons or RLE, as they stand there; see `instance_mask`. None for a box.
        place: where it stands in the file, for a sentence.
    """

    image: Id
    category: Id
    crowd: bool
    area: float
    segmentation: Any
    place: str


Entry = CocoImage | CocoCategory | CocoAnnotation


def stream_coco(path: Path) -> Iterator[Entry]:
    """Every image, category and annotation of a file, in its order.

    Raises:
        WsssError: it can't be read, is no JSON, or an entry lacks what makes it one.
    """
    numbers = dict.fromkeys(_MAKERS, 0)
    for key, entry in stream_json(path, "The annotations"):
        if key in _MAKERS:
            numbers[key] += 1
            yield _MAKERS[key](entry, path, numbers[key])


def instance_mask(annotation: CocoAnnotation, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of an annotation in its image of `size` = (H, W); none of a box.

    Raises:
        WsssError: its polygons or RLE can't be read, or are of another size.
    """
    found = annotation.segmentation
    try:
        if isinstance(found, Mapping):
            return decode_rle(found, size)
        if isinstance(found, list) and found and not isinstance(found[0], list | tuple):
            found = [found]  # a single polygon, without the list around it
        return fill_polygons(found or [], size)
    except ValueError as error:
        raise WsssError(
            f"{annotation.place} has {error}; expected polygons or RLE of its image: correct the "
            "annotation, or export it again."
        ) from None


def _image(entry: Any, path: Path, number: int) -> CocoImage:
    where = f"Image {number} of {path}"
    # LVIS has addresses alone
    name = _get(entry, "file_name") or str(_get(entry, "coco_url") or "").rpartition("/")[2]
    if not isinstance(name, str) or not clean(name):
        raise WsssError(
            f"{where} has no file_name; expected the name of an image file: export it again."
        )
    sides = (_get(entry, "height"), _get(entry, "width"))
    size = (sides[0], sides[1]) if all(type(side) is int for side in sides) else None
    return CocoImage(_id(entry, "id", where), name, size)


def _category(entry: Any, path: Path, number: int) -> CocoCategory:
    where = f"Category {number} of {path}"
    name = _get(entry, "name")
    if not isinstance(name, str) or not clean(name):
        raise WsssError(f"{where} has no name; expected the name of a class: export it again.")
    parent = _get(entry, "supercategory")
    return CocoCategory(_id(entry, "id", where), clean(name), clean(str(parent or "")))


def _annotation(entry: Any, path: Path, number: int) -> CocoAnnotation:
    where = f"Annotation {number} of {path}"
    area = _get(entry, "area")
    return CocoAnnotation(
        _id(entry, "image_id", where),
        _id(entry, "category_id", where),
        _get(entry, "iscrowd") in (1, True),
        float(area) if isinstance(area, int | float) else 0.0,
        _get(entry, "segmentation"),
        where,
    )


def _get(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


def _id(entry: Any, key: str, where: str) -> Id:
    value = _get(entry, key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | str):
        raise WsssError(
            f"{where} has the {key} {excerpt(value)}; expected a number: export it again."
        )
    return value


_MAKERS: dict[str, Callable[[Any, Path, int], Entry]] = {
    "images": _image,
    "categories": _category,
    "annotations": _annotation,
}
