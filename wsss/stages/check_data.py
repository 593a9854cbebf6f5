"""`wsss check-data`: names everything that is wrong with a data set, all at once.

Reads every list, image, annotation and mask; writes nothing. A problem is one line,
`kind: sentence`; an empty list means that nothing was found.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from wsss.config import DataConfig
from wsss.data import mask_io
from wsss.data.images import read_image
from wsss.data.masks import has_masks, mask_path
from wsss.errors import WsssError
from wsss.formats import voc
from wsss.formats.csv import index_images, names_of, read_rows, resolve_all, unknown_tags
from wsss.formats.voc import annotation_path, image_paths, read_objects
from wsss.labels import IGNORE_INDEX, describe_unknown

T = TypeVar("T")

TRAINING_SPLITS = ("train", "train_aug", "trainval")
HELD_OUT_SPLITS = ("val", "test")


def check_voc(root: Path, splits: Sequence[str], masks: bool = True) -> list[str]:
    """Checks the named splits of a data set in VOC layout.

    Args:
        root: folder with JPEGImages, Annotations, ImageSets and, for `masks`, true masks.
        splits: names of the lists to check; an image in several is checked once.
        masks: whether every image needs a true mask.

    Returns:
        The problems: lists, then images in the order of the lists.
    """
    problems, ids = _check_lists(root, splits)
    try:
        names = voc.read_class_names(root)
    except WsssError as error:
        return [*problems, f"class names: {error}"]
    images = image_paths(root)

    def check(id_: str) -> list[str]:
        return _check_image(root, id_, images.get(id_), names, masks)

    return problems + _everywhere(check, ids)


def check_folder(
    images: Path, tags_csv: Path, class_names: Sequence[str] | None = None
) -> list[str]:
    """Checks one's own images and their CSV, as `wsss.formats.csv.read_folder` reads them.

    Args:
        images: folder of images.
        tags_csv: CSV with the columns image and tags.
        class_names: the classes that tags may name; every tag is a class if left out.

    Returns:
        The problems: the table, tags, names of images, then the images themselves.
    """
    rows, unread = _attempt("tags", lambda: read_rows(tags_csv))
    index, unlisted = _attempt("image folder", lambda: index_images(images))
    if rows is None or index is None:
        return unread + unlisted
    names, problems = _attempt("class names", lambda: names_of(rows, tags_csv, class_names))
    if names is not None:
        problems += [f"tag: {text}." for text in unknown_tags(rows, tags_csv, names)]
    paths, unresolved = resolve_all(rows, index)
    problems += [f"image name: {tags_csv} names {text}." for text in unresolved]

    def check(path: str) -> list[str]:
        return _attempt("image", lambda: read_image(images / path))[1]

    return problems + _everywhere(check, dict.fromkeys(paths.values()))


def run(data: DataConfig) -> list[str]:
    """Checks the data of a config; a sentence a problem."""
    if data.images is not None and data.tags is not None:
        return check_folder(data.images, data.tags, data.class_names)
    assert data.root is not None  # DataConfig has one source
    splits = (data.train_split, data.mask_split, data.score_split, data.val_split)
    return check_voc(data.root, tuple(dict.fromkeys(splits)), has_masks(data.root))


def _everywhere(check: Callable[[str], list[str]], items: Iterable[str]) -> list[str]:
    # decoding leaves Python's lock, so threads use all cores; map keeps the order
    with ThreadPoolExecutor() as pool:
        return list(chain.from_iterable(pool.map(check, items)))


def _attempt(kind: str, read: Callable[[], T]) -> tuple[T | None, list[str]]:
    try:
        return read(), []
    except WsssError as error:
        return None, [f"{kind}: {error}"]


def _check_lists(root: Path, splits: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Problems of the lists, and every id that one of them names, once."""
    problems: list[str] = []
    lists: dict[str, tuple[str, ...]] = {}
    for split in splits:
        path = voc.split_list_path(root, split)
        repeated = Counter(voc.read_split_list(path)) if path.is_file() else Counter()
        twice = [id_ for id_, count in repeated.items() if count > 1]
        problems += [f"list: {path} names {id_} {repeated[id_]} times." for id_ in twice]
        lists[split] = tuple(repeated)
        if not repeated:
            problems += _attempt("list", partial(voc.split_ids, root, split))[1]
    for training in (s for s in lists if s in TRAINING_SPLITS):
        for held in (s for s in lists if s in HELD_OUT_SPLITS):
            shared = sorted(set(lists[training]) & set(lists[held]))
            problems += [f"list: {id_} is in both {training} and {held}." for id_ in shared]
    return problems, tuple(dict.fromkeys(chain.from_iterable(lists.values())))


def _check_image(
    root: Path, id_: str, image: Path | None, names: tuple[str, ...], masks: bool
) -> list[str]:
    path = image or root / "JPEGImages" / f"{id_}.jpg"
    pixels, problems = _attempt("image", lambda: read_image(path))
    annotation = annotation_path(root, id_)
    objects, unread = _attempt("annotation", lambda: read_objects(annotation))
    problems += unread
    problems += [
        f"tag: {annotation} has {describe_unknown(name, names)}."
        for name in sorted(set(objects or ()) - set(names))
    ]
    if masks:
        problems += _check_mask(root, id_, pixels.shape[:2] if pixels is not None else None, names)
    return problems


def _check_mask(
    root: Path, id_: str, size: tuple[int, ...] | None, names: tuple[str, ...]
) -> list[str]:
    mask, problems = _attempt("mask", lambda: mask_io.read_mask(mask_path(root, id_)))
    if mask is None:
        return problems
    path = mask_path(root, id_)
    if size is not None and mask.shape != size:
        problems.append(
            f"mask: {path} is {mask.shape[1]}×{mask.shape[0]} and its image {size[1]}×{size[0]}."
        )
    allowed = {*range(len(names) + 1), IGNORE_INDEX}
    strange = sorted(set(np.unique(mask).tolist()) - allowed)
    if strange:
        problems.append(
            f"mask: {path} holds the values {strange}; expected 0..{len(names)} or 255."
        )
    return problems
