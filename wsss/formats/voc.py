"""Data sets in VOC layout: split lists, class names, and the tags in their annotations."""

import xml.etree.ElementTree as ET
from pathlib import Path

from wsss.data.images import IMAGE_SUFFIXES, Sample, TaggedDataset
from wsss.errors import WsssError
from wsss.labels import (
    BACKGROUND,
    CLASS_NAMES_FILE,
    check_class_names,
    class_lines,
    describe_unknown,
)

CLASS_NAMES: tuple[str, ...] = (
    BACKGROUND,
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

NUM_CLASSES = len(CLASS_NAMES)


def split_list_path(root: Path, split: str) -> Path:
    """Where the ids of a split are listed, one per line."""
    return root / "ImageSets" / "Segmentation" / f"{split}.txt"


def read_split_list(path: Path) -> tuple[str, ...]:
    """Ids of a list as they stand there, duplicates included; blank lines are skipped.

    Lists of pairs (`/JPEGImages/x.jpg /SegmentationClassAug/x.png`), as often handed around for
    train_aug, are read too: the id is the first field's stem.
    """
    fields = (line.split() for line in path.read_text("utf-8-sig", "replace").splitlines())
    return tuple(Path(f[0]).stem if f[0].startswith("/") else f[0] for f in fields if f)


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
        twice = next(i for n, i in enumerate(ids) if i in ids[:n])
        raise WsssError(
            f"The split list {path} names {twice} more than once; expected every id once: remove "
            f"the {len(ids) - len(set(ids))} repeated lines."
        )
    return ids


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
    text = path.read_text(encoding="utf-8-sig")
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if names[:1] == class_lines(()):
        counted, names = names, [name.partition(" ")[2].strip() for name in names[1:]]
        strange = [line for line in counted if line not in class_lines(names)]
        if strange:
            raise WsssError(
                f"{path} has the line {strange[0]!r} out of order; expected `value name` with the "
                "values 0, 1, 2 and so on: renumber the classes, or leave all numbers out."
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
            f"{root / 'JPEGImages'}, the first {missing[0]}.jpg; run wsss check-data to list them."
        )
    return TaggedDataset(
        names, tuple(Sample(i, images[i], _tags(annotation_path(root, i), index)) for i in ids)
    )


def image_paths(root: Path) -> dict[str, Path]:
    """Id → image file, for every image in `<root>/JPEGImages`; empty where there is no folder."""
    folder = root / "JPEGImages"
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    # in the order of preference, so that a .jpg wins over a .png of the same id
    by_suffix = {s: [f for f in files if f.suffix.lower() == s] for s in IMAGE_SUFFIXES}
    return {f.stem: f for s in reversed(IMAGE_SUFFIXES) for f in by_suffix[s]}


def annotation_path(root: Path, id: str) -> Path:
    """Where an image's XML lies."""
    return root / "Annotations" / f"{id}.xml"


def read_objects(path: Path) -> tuple[str, ...]:
    """Names of the objects in an XML, as often as they occur (names of body parts are not read).

    Raises:
        WsssError: the file is missing, does not parse, or an object has no name.
    """
    try:
        root = ET.parse(path).getroot()
    except FileNotFoundError:
        raise WsssError(
            f"The annotation {path} does not exist; expected an XML with the image's objects."
        ) from None
    except (ET.ParseError, OSError, ValueError) as error:
        raise WsssError(
            f"The annotation {path} does not parse ({error}); expected XML: copy it again."
        ) from error
    names = tuple((o.findtext("name") or "").strip() for o in root.findall("object"))
    if "" in names:
        raise WsssError(
            f"The annotation {path} has an object without a name; expected <name> in every object."
        )
    return names


def _tags(path: Path, index: dict[str, int]) -> tuple[int, ...]:
    names = set(read_objects(path))
    unknown = sorted(names - index.keys())
    if unknown:
        raise WsssError(f"The annotation {path} has {describe_unknown(unknown[0], list(index))}.")
    return tuple(sorted(index[name] for name in names))
