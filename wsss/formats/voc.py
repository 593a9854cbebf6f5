"""Data sets in VOC layout: split lists, class names, and the tags in their annotations."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath

from wsss.data.find_images import find_images, likely_images, without_suffix
from wsss.data.image_header import IMAGE_SUFFIXES
from wsss.data.images import Sample, TaggedDataset
from wsss.errors import WsssError
from wsss.formats.text import clean, excerpt, read_text
from wsss.formats.voc_xml import read_objects
from wsss.labels import (
    BACKGROUND,
    CLASS_NAMES_FILE,
    check_class_names,
    class_lines,
    describe_unknown,
)

_NAMES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
)
CLASS_NAMES: tuple[str, ...] = (BACKGROUND, *_NAMES.split())
NUM_CLASSES = len(CLASS_NAMES)

_LONGEST = 250  # bytes of a file's name, without its suffix


def split_list_path(root: Path, split: str) -> Path:
    """Where the ids of a split are listed, one per line."""
    return root / "ImageSets" / "Segmentation" / f"{split}.txt"


def read_split_list(path: Path) -> tuple[str, ...]:
    """Ids of a list as they stand there, duplicates included; blank lines are skipped.

    An id may hold blanks. Lists of pairs (`/JPEGImages/x.jpg /SegmentationClassAug/x.png`), as
    often handed around for train_aug, are read too: the id is the first file's stem. So are lists
    of file names, and those with 1, 0 or -1 for a class, as in VOC's `ImageSets/Main`.
    """
    lines = [line.strip() for line in read_text(path, "The split list").splitlines()]
    lines = [line for line in lines if line]
    labelled = [_LABELLED.fullmatch(line) for line in lines]
    if all(labelled):
        lines = [match[1] for match in labelled if match]
    return tuple(_id(line) for line in lines)


_SUFFIX = "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)
_PAIR = re.compile(rf"(.+?(?:{_SUFFIX}))[ \t,]+\S.*(?:{_SUFFIX})", re.IGNORECASE)
_LABELLED = re.compile(r"(\S+)(?: -1|  [01])")  # exactly so: an id may end in a number


def _id(line: str) -> str:
    pair = _PAIR.fullmatch(line)
    first = pair[1] if pair else line.split()[0] if line.startswith("/") else line
    if first.lower().endswith(IMAGE_SUFFIXES):
        first = first[: first.rindex(".")]
    return first.rpartition("/")[2] if pair or line.startswith("/") else first


def split_ids(root: Path, split: str) -> tuple[str, ...]:
    """Ids of the images of a split, from `ImageSets/Segmentation/<split>.txt`, in its order.

    Raises:
        WsssError: no such list, an empty one, or an id listed twice.
    """
    path = split_list_path(root, split)
    if not root.is_dir():
        raise WsssError(
            f"The data root {root} does not exist; expected a folder in VOC layout (JPEGImages, "
            "Annotations, ImageSets): set data.root."
        )
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))) or "none"
        raise WsssError(
            f"There is no split list {path}; the lists found there are: {there}; name one of them."
        )
    ids = read_split_list(path)
    if not ids:
        raise WsssError(f"The split list {path} is empty; expected one image id per line.")
    if len(set(ids)) != len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise WsssError(
            f"The split list {path} names {twice[:60]} more than once; expected every id once: "
            f"remove the {len(ids) - len(set(ids))} repeated lines."
        )
    refuse_ids(ids, path)
    return ids


def refuse_ids(ids: Sequence[str], path: Path) -> None:
    """Refuse ids that lie outside the data set, or that no file can have.

    Args:
        ids: of a list.
        path: of the list.

    Raises:
        WsssError: one of them does.
    """
    outside = next((i for i in ids if PurePath(i).is_absolute() or ".." in PurePath(i).parts), None)
    if outside is not None:
        raise WsssError(
            f"The split list {path} names {excerpt(outside)}, which lies outside the data set; "
            "expected ids within JPEGImages: correct that line."
        )
    unusable = next((i for i in ids if _is_unusable(i)), None)
    if unusable is not None:
        raise WsssError(
            f"The split list {path} names {excerpt(unusable)}, which no file can be called; "
            "expected ids of images: correct that line."
        )


def _is_unusable(id: str) -> bool:
    parts = PurePath(id).parts
    longest = max((len(part.encode(errors="replace")) for part in parts), default=0)
    return "\0" in id or not 0 < longest <= _LONGEST


def read_class_names(root: Path) -> tuple[str, ...]:
    """Foreground class names of a data set in VOC layout, in the order of mask values 1, 2, ….

    They come from `<root>/class_names.txt`, one per line without background, or as `class_lines`
    has them; or are VOC's 20 where there is no such file.

    Raises:
        WsssError: the file is empty, repeats a name, names the background, holds over 254, or
            counts them wrongly.
    """
    path = root / CLASS_NAMES_FILE
    if not path.is_file():
        return CLASS_NAMES[1:]
    text = read_text(path, "The class names")
    names = [clean(line) for line in text.splitlines() if clean(line)]
    if names[:1] == class_lines(()):
        counted, names = names, [name.partition(" ")[2].strip() for name in names[1:]]
        strange = [line for line in counted if line not in class_lines(names)]
        if strange:
            raise WsssError(
                f"{path} has the line {strange[0][:60]!r} out of order; expected `value name` with "
                "the values 0, 1, 2 and so on: renumber the classes, or leave all numbers out."
            )
    return check_class_names(names, str(path))


def read_voc(root: Path, split: str) -> TaggedDataset:
    """Reads a split of a data set in VOC layout.

    An image's tags are the names of all objects of its XML, those marked difficult too.

    Args:
        root: folder with JPEGImages, Annotations and ImageSets (`VOCdevkit/VOC2012`).
        split: name of the list, e.g. `train_aug`.

    Raises:
        WsssError: list, image or XML missing, an XML that does not parse, or a name that is no
            class.
    """
    ids = split_ids(root, split)
    names = read_class_names(root)
    index = {name: i for i, name in enumerate(names)}
    images = image_paths(root)
    missing = [i for i in ids if i not in images]
    if missing:
        raise WsssError(
            f"{len(missing)} of {len(ids)} images of split {split} are missing in "
            f"{root / 'JPEGImages'}, the first {excerpt(missing[0])}: wsss check-data lists them."
        )
    return TaggedDataset(
        names, tuple(Sample(i, images[i], _tags(annotation_path(root, i), index)) for i in ids)
    )


def image_paths(root: Path) -> dict[str, Path]:
    """Id → image file, for every image in `<root>/JPEGImages`; empty where there is no folder.

    Of several files of one name a mask is never taken, and then the first of `IMAGE_SUFFIXES`.
    """
    folder = root / "JPEGImages"
    by_id: dict[str, list[Path]] = defaultdict(list)
    for path in find_images(folder).paths if folder.is_dir() else ():
        by_id[without_suffix(path)].append(folder / path)
    order = {suffix: n for n, suffix in enumerate(IMAGE_SUFFIXES)}
    return {
        id_: min(likely_images(files), key=lambda path: (order[path.suffix.lower()], path))
        for id_, files in by_id.items()
    }


def annotation_path(root: Path, id: str) -> Path:
    """Where an image's XML lies."""
    return root / "Annotations" / f"{id}.xml"


def _tags(path: Path, index: dict[str, int]) -> tuple[int, ...]:
    names = set(read_objects(path))
    unknown = sorted(names - index.keys())
    if unknown:
        raise WsssError(f"The annotation {path} has {describe_unknown(unknown[0], list(index))}.")
    return tuple(sorted(index[name] for name in names))
