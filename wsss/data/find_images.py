"""Which files of a folder are images: linked folders too, and what is left out is counted."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wsss.data.image_header import IMAGE_SUFFIXES, read_header
from wsss.errors import WsssError
from wsss.files import real_path

# indices or grey values: an image of these modes beside a colour one of its name is its mask
_MASK_MODES = ("1", "P", "L", "I;16", "I;16B", "I")
_LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif")


class FoundImages(NamedTuple):
    """The images of a folder.

    Attributes:
        paths: relative to the folder, with `/`, in order.
        left_out: suffix → number of files that are no images, by their suffix; links to what isn't
            there are `broken links`.
    """

    paths: tuple[str, ...]
    left_out: dict[str, int]


def find_images(
    folder: Path, skip: Path | None = None, suffixes: Sequence[str] = IMAGE_SUFFIXES
) -> FoundImages:
    """Every image, or file of other suffixes, below a folder.

    Links to folders are followed, and no folder is searched twice. Hidden files and folders, and
    what macOS and Windows leave, are not counted.

    Args:
        folder: to search with its subfolders.
        skip: a folder within it that is left out.
        suffixes: in small letters.
    """
    images: list[str] = []
    others: Counter[str] = Counter()
    broken: list[str] = []
    for path in _files(folder, None if skip is None else real_path(skip), broken):
        name = path.rpartition("/")[2]
        suffix = name[len(without_suffix(name)) :].lower()
        if suffix in suffixes:
            images.append(path)
        else:
            others[suffix or name] += 1
    found = dict(sorted(others.items()))
    if broken:
        found["broken links"] = len(broken)
    return FoundImages(tuple(sorted(images)), found)


def find_files(folder: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """Files below a folder by their suffixes in small letters, as `find_images` looks for images.

    Yields:
        Paths relative to the folder, with `/`.
    """
    return (path for path in _files(folder, None, []) if path.lower().endswith(tuple(suffixes)))


def _files(folder: Path, skip: Path | None, broken: list[str]) -> Iterator[str]:
    """Files below a folder; links to what isn't there are put into `broken`."""
    seen: set[Path] = set()
    links = [folder]
    while links:  # folders themselves before links to them, so that an image keeps its own path
        start = links.pop(0)
        for parent, folders, files in os.walk(start):
            real = real_path(Path(parent))
            if real in seen or real == skip:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not _is_clutter(name))
            links += [p for name in folders if (p := Path(parent, name)).is_symlink()]
            relative = Path(parent).relative_to(folder).as_posix()
            front = "" if relative == "." else f"{relative}/"
            for name in sorted(files):
                if _is_clutter(name):
                    continue
                path = os.path.join(parent, name)  # noqa: PTH118 a million times
                if os.path.isfile(path):  # noqa: PTH113
                    yield front + name
                elif os.path.islink(path):  # noqa: PTH114
                    broken.append(front + name)


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def describe_left_out(left_out: dict[str, int]) -> str:
    """`3 .heic, 1 .psd`, with what reads them where something does; empty for none."""
    text = ", ".join(f"{count} {suffix}" for suffix, count in left_out.items())
    if {".heic", ".heif"} & left_out.keys():
        text += " (pip install pillow-heif reads HEIC)"
    return text


def likely_images(paths: Sequence[Path]) -> list[Path]:
    """Of images of one name, those that aren't the masks of the others.

    `a.png` in indices or grey beside `a.jpg` in colour is its mask. Where that doesn't decide, all
    are returned.
    """
    if len(paths) < 2:
        return list(paths)
    images = [path for path in paths if not _may_be_mask(path)]
    return images or list(paths)


def _may_be_mask(path: Path) -> bool:
    if path.suffix.lower() not in _LOSSLESS:
        return False
    try:
        return read_header(path).mode in _MASK_MODES
    except WsssError:  # reported where it is read
        return False


def one_of_each_name(folder: Path, paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Images by name, their masks beside them left out.

    Args:
        folder: that the paths are relative to.
        paths: of images.

    Returns:
        The images, of which those of one name are several only where they can't be told apart,
        and the masks that were left out; both in their order.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_name[without_suffix(path)].append(path)
    kept: list[str] = []
    masks: list[str] = []
    for same in by_name.values():
        images = likely_images([folder / path for path in same])
        for path in same:
            (kept if folder / path in images else masks).append(path)
    return kept, masks


def without_suffix(path: str) -> str:
    """`a/b.c.jpg` → `a/b.c`: an image's id, and the name of its mask."""
    start = path.rfind("/") + 1
    dot = path.rfind(".", start)
    return path[:dot] if start < dot < len(path) - 1 else path
