"""YOLO's label files: a line `class numbers…` for every box or polygon, classes in `data.yaml`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from wsss.data.find_images import find_files, without_suffix
from wsss.errors import WsssError
from wsss.files import parse_yaml
from wsss.formats.tag_list import Collector, TagList
from wsss.formats.text import clean, excerpt, read_text

_CONFIGS = ("data.yaml", "data.yml", "dataset.yaml")
_NAMES = ("classes.txt", "obj.names")  # as LabelImg, Label Studio and Darknet write them
_LISTS = re.compile(r"classes|train|val|valid|test|readme.*|notes|requirements", re.IGNORECASE)
_MOST = 1 << 16  # classes that a file may claim to have


def recognises(path: Path, start: str) -> bool:
    """Whether a folder, or that of a YAML file, holds the names of classes as YOLO has them."""
    if path.suffix.lower() in (".yaml", ".yml") and start:
        return re.search(r"^names\s*:", start, re.MULTILINE) is not None
    if any((path / name).is_file() for name in _CONFIGS):
        return True
    # other data sets have a classes.txt, too
    return any((path / name).is_file() for name in _NAMES) and bool(_labels_below(path))


def read_tags(path: Path, class_names: Sequence[str] | None = None) -> TagList:
    """The classes of every label file, in the order of their numbers.

    Label files lie anywhere below the folder, in folders called `labels` where there are any; the
    image of `labels/a.txt` is `images/a`. An empty label file is an image without tags; an image
    without a label file is left out, for nothing tells whether anybody looked at it.

    Raises:
        WsssError: there are no names or no label files, or a line can't be read.
    """
    folder, names = open_labels(path)
    rows = Collector(path)
    for file in label_files(folder):
        numbers: dict[int, int] = {}
        for line, number, _ in read_shapes(folder / file, len(names)):
            numbers.setdefault(number, line)
        first = next(iter(numbers.values()), 0)
        place = f"Line {first} of {folder / file}"
        rows.add(image_of(file), [names[number] for number in numbers], place)
    return rows.done(names)


def open_labels(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Folder and names of the classes, of a folder or its `data.yaml`.

    Raises:
        WsssError: there are no names, or they are none.
    """
    folder = path if path.is_dir() else path.parent
    candidates = (folder / name for name in (*_CONFIGS, *_NAMES))
    file = next((f for f in candidates if f.is_file()), None) if path.is_dir() else path
    if file is None:
        raise WsssError(
            f"{folder} has no data.yaml; expected one with the names of the classes: add it, or "
            "classes.txt with a name per line."
        )
    text = read_text(file, "The class names")
    if file.suffix.lower() in (".yaml", ".yml"):
        return folder, _names_of(text, file)
    return folder, tuple(clean(line) for line in text.splitlines() if clean(line))


def _names_of(text: str, file: Path) -> tuple[str, ...]:
    if "&" in text and re.search(r"(?m)[:\-\[,]\s*\*\w", text):  # anchors multiply what they name
        raise WsssError(f"{file} uses YAML's references; expected plain names: write them out.")
    try:
        values = parse_yaml(text)
    except ValueError as error:
        raise WsssError(f"{file} is not valid YAML ({error}): fix that line.") from None
    names: Any = values.get("names") if isinstance(values, dict) else None
    if isinstance(names, dict):
        numbers = sorted(key for key in names if isinstance(key, int))
        whole = len(numbers) == len(names) and numbers == list(range(len(numbers)))
        names = [names[number] for number in numbers] if whole else None
    if not isinstance(names, list) or not 0 < len(names) <= _MOST:
        raise WsssError(
            f"{file} has no list of names; expected `names:` with a name for every class from 0 "
            "on: add it."
        )
    return tuple(clean(str(name)) for name in names)


def label_files(folder: Path) -> list[str]:
    """Label files below a folder, relative to it; those within `labels` where there are any.

    Raises:
        WsssError: there are none.
    """
    found = _labels_below(folder)
    if not found:
        raise WsssError(
            f"{folder} has no label files; expected labels/<image>.txt for every image: name the "
            "folder that holds them."
        )
    return found


def _labels_below(folder: Path) -> list[str]:
    files = sorted(find_files(folder, (".txt",)))
    within = [file for file in files if "labels" in PurePosixPath(file).parts[:-1]]
    return within or [f for f in files if not _LISTS.fullmatch(PurePosixPath(f).stem)]


def image_of(file: str) -> str:
    """`a/labels/b.txt` → `a/images/b`: what an image is called, without its suffix."""
    *folders, name = PurePosixPath(file).parts
    last = max((i for i, part in enumerate(folders) if part == "labels"), default=None)
    if last is not None:
        folders[last] = "images"
    return without_suffix("/".join((*folders, name)))


def read_shapes(file: Path, classes: int) -> Iterator[tuple[int, int, list[float]]]:
    """(line, class, numbers) of a label file: x, y, width, height of a box, or a polygon's points.

    Args:
        file: of labels.
        classes: how many there are.

    Raises:
        WsssError: a line isn't a class of those and at least 4 numbers.
    """
    for line, text in enumerate(read_text(file, "The labels").splitlines(), 1):
        fields = text.split()
        if not fields:
            continue
        try:
            number, numbers = int(fields[0]), [float(field) for field in fields[1:]]
        except ValueError:
            number, numbers = -1, []
        if not 0 <= number < classes or len(numbers) < 4:
            raise WsssError(
                f"Line {line} of {file} is {excerpt(text)}; expected a class from 0 to "
                f"{classes - 1} and the numbers of a box or a polygon: correct the line, or the "
                "names in data.yaml."
            )
        yield line, number, numbers
