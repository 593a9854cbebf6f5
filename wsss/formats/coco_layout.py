"""Data sets in COCO's layout: `annotations/instances_<split>.json` and a folder of images a split.

As the field uses COCO 2014: a split holds the images with at least one annotation, and an image's
tags are the categories of all of them, crowds too. Category ids have gaps; their order gives the
values of masks, 1 to 80.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from wsss.data.find_images import without_suffix
from wsss.data.images import Sample, TaggedDataset
from wsss.errors import WsssError
from wsss.formats.coco import CocoCategory, CocoImage, Id, stream_coco
from wsss.labels import check_class_names

_ANNOTATIONS, _PREFIX, _SUFFIX = "annotations", "instances_", ".json"


@dataclass(frozen=True)
class CocoSplit:
    """The images of a split and what is in them.

    Attributes:
        class_names: by ascending id of their category.
        values: category id → mask value.
        images: of the split, by id, in the order of their file names.
        tags: image id → 0-based classes, ascending.
    """

    class_names: tuple[str, ...]
    values: dict[Id, int]
    images: dict[Id, CocoImage]
    tags: dict[Id, tuple[int, ...]]

    def name(self, id: Id) -> str:
        """The id of a sample: its file name without suffix, such as COCO_val2014_000000000042."""
        return without_suffix(self.images[id].name)


def is_coco(root: Path) -> bool:
    """Whether a folder has COCO's layout."""
    return bool(splits_of(root))


def splits_of(root: Path) -> list[str]:
    """Names of the splits, in order: `train2014`, `val2014`."""
    files = (root / _ANNOTATIONS).glob(f"{_PREFIX}*{_SUFFIX}")
    return sorted(path.name[len(_PREFIX) : -len(_SUFFIX)] for path in files)


def annotations_file(root: Path, split: str) -> Path:
    """Where the instances of a split are.

    Raises:
        WsssError: there is no such split.
    """
    path = root / _ANNOTATIONS / f"{_PREFIX}{split}{_SUFFIX}"
    if not path.is_file():
        raise WsssError(
            f"There is no {path}; the splits found there are {', '.join(splits_of(root))}: name "
            "one of them (data.train_split, data.mask_split, data.score_split, data.val_split)."
        )
    return path


def read_split(root: Path, split: str) -> CocoSplit:
    """What the annotations of a split say, without looking for its images.

    Raises:
        WsssError: the file is missing or damaged, names an image or a category that it hasn't, or
            holds no annotation.
    """
    path = annotations_file(root, split)
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, _time: int) -> CocoSplit:
    """Read once a process: the file of 82,081 images takes seconds."""
    images: dict[Id, CocoImage] = {}
    categories: dict[Id, str] = {}
    present: defaultdict[Id, set[Id]] = defaultdict(set)
    for entry in stream_coco(path):
        if isinstance(entry, CocoImage):
            images[entry.id] = entry
        elif isinstance(entry, CocoCategory):
            categories[entry.id] = entry.name
        else:
            present[entry.image].add(entry.category)
    if not present:
        raise WsssError(f"{path} holds no annotation; expected one of every image that is used.")
    _refuse_unknown(path, "image", present.keys() - images.keys())
    _refuse_unknown(path, "category", set().union(*present.values()) - categories.keys())
    order = sorted(categories, key=lambda id_: (isinstance(id_, str), id_))
    values = {id_: value for value, id_ in enumerate(order, 1)}
    chosen = sorted(present, key=lambda id_: images[id_].name)
    names = [without_suffix(images[id_].name) for id_ in chosen]
    twice = next((a for a, b in pairwise(names) if a == b), None)
    if twice is not None:
        raise WsssError(
            f"{path} has two images called {twice}; expected every file name once, because masks "
            "are named after it."
        )
    return CocoSplit(
        check_class_names([categories[id_] for id_ in order], str(path)),
        values,
        {id_: images[id_] for id_ in chosen},
        {id_: tuple(sorted(values[one] - 1 for one in present[id_])) for id_ in chosen},
    )


def _refuse_unknown(path: Path, what: str, unknown: set[Id]) -> None:
    if unknown:
        raise WsssError(
            f"{path} has an annotation of {what} {min(unknown, key=str)}, which it doesn't list"
            f"{f' (and {len(unknown) - 1} more)' if len(unknown) > 1 else ''}: take the file as it "
            "was published, or add the missing entries."
        )


def read_coco(root: Path, split: str) -> TaggedDataset:
    """Reads a split of a data set in COCO's layout.

    Args:
        root: folder with `annotations` and the splits' images (in `<split>` or `images/<split>`).
        split: such as `train2014`.

    Raises:
        WsssError: the annotations or an image are missing or wrong.
    """
    found = read_split(root, split)
    folder = image_folder(root, split)
    there = {path.name for path in folder.iterdir()}
    missing = [image.name for image in found.images.values() if image.name not in there]
    missing = [name for name in missing if not (folder / name).is_file()]
    if missing:
        raise WsssError(
            f"{len(missing)} of {len(found.images)} images of split {split} are missing in "
            f"{folder}, the first {missing[0]}: unpack the images there, all of them."
        )
    return TaggedDataset(
        found.class_names,
        tuple(
            Sample(found.name(id_), folder / image.name, found.tags[id_])
            for id_, image in found.images.items()
        ),
    )


def image_folder(root: Path, split: str) -> Path:
    """Where the images of a split lie.

    Raises:
        WsssError: there is no such folder.
    """
    folders = (root / split, root / "images" / split)
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise WsssError(
            f"There are no images of split {split}: expected the folder {folders[0]}; unpack them "
            "there (wsss fetch-coco downloads COCO 2014)."
        )
    return folder


def coco_ids(root: Path, split: str) -> tuple[str, ...]:
    """Ids of the samples of a split, in order."""
    found = read_split(root, split)
    return tuple(found.name(id_) for id_ in found.images)
