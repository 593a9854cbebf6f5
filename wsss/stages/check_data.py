"""`wsss check-data`: names everything that is wrong with a data set, all at once.

Reads every list, annotation and mask, and of every image the header, or with `verify` the pixels;
writes nothing. A problem is one line, `kind: sentence`; an empty list means that nothing was found.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from wsss.config import DataConfig, RunConfig
from wsss.data.check_images import check_image
from wsss.data.check_masks import check_masks
from wsss.data.describe import describe_data
from wsss.data.given_masks import GivenMasks
from wsss.data.images import TaggedDataset
from wsss.data.masks import mask_path, masks_root, true_masks
from wsss.data.open import open_tagged
from wsss.engine.progress import track
from wsss.errors import WsssError
from wsss.formats import voc
from wsss.formats.coco_layout import is_coco
from wsss.formats.image_index import index_images, resolve_all
from wsss.formats.registry import read_tags
from wsss.formats.voc import annotation_path, image_paths
from wsss.formats.voc_xml import read_objects
from wsss.labels import describe_unknown

T = TypeVar("T")

TRAINING_SPLITS = ("train", "train_aug", "trainval")
HELD_OUT_SPLITS = ("val", "test")


def check_voc(
    root: Path,
    splits: Sequence[str],
    masks: bool = True,
    verify: bool = False,
    scored: Sequence[str] | None = None,
) -> list[str]:
    """Checks the named splits of a data set in VOC layout.

    Args:
        root: folder with JPEGImages, Annotations, ImageSets and, for `masks`, true masks.
        splits: names of the lists to check; an image in several is checked once.
        masks: whether true masks are checked.
        verify: decode every image.
        scored: the lists among them whose every image needs a true mask; all if left out.

    Returns:
        The problems: lists, then images in the order of the lists, then masks.
    """
    problems, lists = _check_lists(root, splits)
    ids = tuple(dict.fromkeys(chain.from_iterable(lists.values())))
    needed = {id_ for split in scored or splits for id_ in lists.get(split, ())}
    try:
        names = voc.read_class_names(root)
    except WsssError as error:
        return [*problems, f"class names: {error}"]
    images = image_paths(root)
    tags: dict[str, list[int]] = {}

    def check(id_: str) -> list[str]:
        path = images.get(id_, root / "JPEGImages" / f"{id_}.jpg")
        found = _check_image(path, verify)
        annotation = annotation_path(root, id_)
        objects, unread = _attempt("annotation", lambda: read_objects(annotation))
        tags[id_] = [names.index(name) for name in set(objects or ()) & set(names)]
        unknown = sorted(set(objects or ()) - set(names))
        return [
            *found,
            *unread,
            *(f"tag: {annotation} has {describe_unknown(name, names)}." for name in unknown),
        ]

    problems += _everywhere(check, ids)
    return problems + (_check_masks(root, ids, needed, names, tags, images) if masks else [])


def check_folder(
    images: Path,
    tags: Path,
    class_names: Sequence[str] | None = None,
    verify: bool = False,
    tags_format: str | None = None,
) -> list[str]:
    """Checks one's own images and tags, as `wsss.formats.own_images.read_folder` reads them.

    Args:
        images: folder of images.
        tags: file or folder of tags.
        class_names: the classes that tags may name; every tag is a class if left out.
        verify: decode every image.
        tags_format: name of the format; told by the file itself if left out.

    Returns:
        The problems: the table, tags, names of images, then the images themselves.
    """
    listed, unread = _attempt("tags", lambda: read_tags(tags, class_names, tags_format))
    index, unlisted = _attempt("image folder", lambda: index_images(images))
    if listed is None or index is None:
        return unread + unlisted
    names, problems = _attempt("class names", lambda: listed.names(class_names))
    if names is not None:
        problems += [f"tag: {text}." for text in listed.unknown(names)]
    paths, unresolved = resolve_all(listed.rows, index, listed.prefix)
    problems += [f"image name: {tags} names {text}." for text in unresolved]
    found = (images / path for path in dict.fromkeys(paths.values()))
    return problems + _everywhere(partial(_check_image, verify=verify), found)


def check_coco(
    data: DataConfig, splits: Sequence[str], scored: Sequence[str] = (), verify: bool = False
) -> list[str]:
    """Checks the named splits of a data set in COCO's layout.

    Args:
        data: its root, and the rule of its true masks.
        splits: to check.
        scored: those among them whose true masks are checked, and made where they aren't.
        verify: decode every image.

    Returns:
        The problems: annotations, then images, then masks, split by split.
    """
    problems: list[str] = []
    for split in splits:
        tagged, unread = _attempt("annotations", partial(open_tagged, data, split))
        problems += unread
        if tagged is None:
            continue
        samples = tagged.samples
        check = partial(_check_image, verify=verify)
        problems += _everywhere(check, [sample.path for sample in samples])
        if split in scored:
            make = partial(true_masks, data, split, tagged, track)
            root, unmade = _attempt("mask", make)
            problems += unmade
            if root is not None:
                masks = {sample.id: mask_path(root, sample.id) for sample in samples}
                images = {sample.id: sample.path for sample in samples}
                found = check_masks(masks, tagged.class_names, images=images).problems
                problems += [f"mask: {problem}" for problem in found]
    return problems


def run(data: DataConfig, verify: bool = False) -> list[str]:
    """Checks the data of a config.

    Args:
        data: where they are.
        verify: decode every image, not its header alone.

    Returns:
        A sentence for every problem.
    """
    problems = _check_source(data, verify)
    if problems:
        return problems
    if data.trusted is not None:
        problems += check_given(data.trusted, open_tagged(data, data.mask_split), "trusted mask")
    if data.masks is not None:
        problems += check_given(data.masks, open_tagged(data, data.score_split), "mask")
    return problems


def _check_source(data: DataConfig, verify: bool) -> list[str]:
    if data.images is not None and data.tags is not None:
        return check_folder(data.images, data.tags, data.class_names, verify, data.tags_format)
    assert data.root is not None  # DataConfig has one source
    scored = (data.score_split, data.val_split)
    splits = tuple(dict.fromkeys((data.train_split, data.mask_split, *scored)))
    if is_coco(data.root):
        return check_coco(data, splits, scored, verify)
    own = masks_root(data) is not None
    return check_voc(data.root, splits, own, verify, scored)


def check_given(source: Path, tagged: TaggedDataset, kind: str) -> list[str]:
    """Checks masks that a person gives.

    Args:
        source: file or folder of them.
        tagged: the images that they may be of.
        kind: what they are called in the problems.
    """
    given, problems = _attempt(kind, lambda: GivenMasks(source, tagged))
    if given is None:
        return problems
    problems += _attempt(kind, given.require_some)[1]
    return problems + [f"{kind}: {text}" for text in given.problems()]


def describe(config: RunConfig) -> list[str]:
    """What the data hold, as lines, and what in the tags will keep a classifier from learning."""
    tagged = open_tagged(config.data, config.data.train_split)
    return describe_data(config.data, tagged, config.train_cls.holdout, config.seed).lines()


def _check_image(path: Path, verify: bool) -> list[str]:
    return _attempt("image", lambda: check_image(path, verify))[1]


def _everywhere(check: Callable[[T], list[str]], items: Iterable[T]) -> list[str]:
    # decoding leaves Python's lock, so threads use all cores; map keeps the order
    with ThreadPoolExecutor() as pool:
        return list(chain.from_iterable(pool.map(check, items)))


def _attempt(kind: str, read: Callable[[], T]) -> tuple[T | None, list[str]]:
    try:
        return read(), []
    except WsssError as error:
        return None, [f"{kind}: {error}"]


def _check_lists(root: Path, splits: Sequence[str]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Problems of the lists, and the ids of each, once."""
    problems: list[str] = []
    lists: dict[str, tuple[str, ...]] = {}
    for split in splits:
        path = voc.split_list_path(root, split)
        repeated = Counter(voc.read_split_list(path)) if path.is_file() else Counter()
        twice = [id_ for id_, count in repeated.items() if count > 1]
        problems += [f"list: {path} names {id_} {repeated[id_]} times." for id_ in twice]
        unusable = _attempt("list", partial(voc.refuse_ids, tuple(repeated), path))[1]
        problems += unusable
        lists[split] = () if unusable else tuple(repeated)
        if not repeated:
            problems += _attempt("list", partial(voc.split_ids, root, split))[1]
    for training in (s for s in lists if s in TRAINING_SPLITS):
        for held in (s for s in lists if s in HELD_OUT_SPLITS):
            shared = sorted(set(lists[training]) & set(lists[held]))
            problems += [f"list: {id_} is in both {training} and {held}." for id_ in shared]
    return problems, lists


def _check_masks(
    root: Path,
    ids: Sequence[str],
    needed: set[str],
    names: tuple[str, ...],
    tags: dict[str, list[int]],
    images: dict[str, Path],
) -> list[str]:
    paths: dict[str, Path] = {}
    problems: list[str] = []
    for id_ in ids:
        path, missing = _attempt("mask", partial(mask_path, root, id_))
        problems += missing if id_ in needed else []
        if path is not None:
            paths[id_] = path
    report = check_masks(paths, names, tags, images)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return problems + [f"mask: {problem}" for problem in report.problems]
