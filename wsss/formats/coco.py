"""COCO's JSON: images, categories, annotations. An image's tags are the categories in it.

A file of any size is read an entry at a time, whatever the order of its lists.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsss.errors import WsssError
from wsss.formats.json_stream import stream_json
from wsss.formats.rle import decode_rle, fill_polygons
from wsss.formats.tag_list import Collector, TagList
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

ROBOFLOW = "_annotations.coco.json"
"""Name of the file beside the images, as Roboflow calls it."""


def recognises(path: Path, start: str) -> bool:
    """Whether a file is JSON whose outermost brackets are an object, or a folder has Roboflow's."""
    if path.is_dir():
        return (path / ROBOFLOW).is_file()
    return _START.match(start) is not None and path.suffix.lower() not in (".jsonl", ".ndjson")


_START = re.compile(r"\{\s*[}\"]")


def read_tags(path: Path, class_names: Sequence[str] | None = None) -> TagList:
    """The categories of every image's annotations; classes in the order of the categories' ids.

    Raises:
        WsssError: as `stream_coco`, or an annotation names an image or category that isn't there.
    """
    file = file_of(path)
    images: dict[Id, str] = {}
    categories: dict[Id, CocoCategory] = {}
    found: dict[Id, tuple[Id, ...]] = {}
    places: dict[Id, str] = {}
    joined: dict[tuple[tuple[Id, ...], Id], tuple[Id, ...]] = {}
    for entry in stream_coco(file):
        if isinstance(entry, CocoAnnotation):
            places.setdefault(entry.category, entry.place)
            former = found.get(entry.image, ())
            if entry.category not in former:
                # few combinations of categories in many images: each is kept once
                key = (former, entry.category)
                found[entry.image] = joined.setdefault(key, (*former, entry.category))
        elif isinstance(entry, CocoImage):
            images[entry.id] = entry.name
        else:
            categories[entry.id] = entry
    for category, place in places.items():
        if category not in categories:
            raise missing(place, "category", category)
    for image in found.keys() - images.keys():
        raise missing(str(file), "image", image)
    names = {used: tuple(categories[id_].name for id_ in used) for used in set(found.values())}
    rows = Collector(file)
    for id_ in sorted(places, key=str):  # each category first where it is first annotated
        rows.places.setdefault(categories[id_].name, places[id_])
    for image, name in images.items():
        rows.add(name, names.get(found.get(image, ()), ()), str(file))
    return rows.done(class_list(categories, places))


def file_of(path: Path) -> Path:
    """The JSON itself, where Roboflow's folder was named."""
    return path / ROBOFLOW if path.is_dir() else path


def class_list(categories: Mapping[Id, CocoCategory], used: Collection[Id]) -> list[str]:
    """Names of categories by their ids; without one that only others are under, as Roboflow's 0."""
    children = Counter(category.parent for category in categories.values())
    ids = sorted(categories, key=lambda id_: (isinstance(id_, str), id_))

    def has_others_below(one: CocoCategory) -> bool:
        itself = one.parent == one.name
        return children[one.name] > int(itself)

    return [
        categories[id_].name for id_ in ids if id_ in used or not has_others_below(categories[id_])
    ]


def missing(place: str, what: str, id_: Id) -> WsssError:
    """The error of an annotation that names what the file doesn't have."""
    return WsssError(
        f"{place} has an annotation of the {what} {excerpt(id_)}, which the file doesn't list; "
        f"expected every {what} in its list: export the file again, whole."
    )


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
        if isinstance(found, str):  # polygons that were put away as text
            found = json.loads(found)
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
    image, category = _id(entry, "image_id", where), _id(entry, "category_id", where)
    area = entry.get("area")
    return CocoAnnotation(
        image,
        category,
        entry.get("iscrowd") in (1, True),
        float(area) if isinstance(area, int | float) else 0.0,
        entry.get("segmentation"),
        where,
    )


def _get(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


def _id(entry: Any, key: str, where: str) -> Id:
    value = _get(entry, key)
    if type(value) is int:  # of millions nearly all
        return value
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
