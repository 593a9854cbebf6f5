"""A small drawn data set in VOC layout: what the quickstart and the tests of the whole line run on.

Writes JPEGImages, Annotations, SegmentationClassAug, ImageSets/Segmentation and class_names.txt.
"""

import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss import voc
from wsss.data.drawing import CLASS_NAMES, draw_picture
from wsss.errors import WsssError

__all__ = ["CLASS_NAMES", "draw_voc"]

_MARKER = "drawn.json"
_FOLDERS = ("JPEGImages", "Annotations", "SegmentationClassAug", "ImageSets")
_EDITION = 3  # raised whenever the same seed would give other pictures


def draw_voc(root: Path, *, train: int, val: int, size: int = 128, seed: int = 0) -> None:
    """Draws the data set, unless it is there already.

    The pictures follow from (seed, split, number) alone: drawing them again gives the same bytes,
    and a larger set begins with the smaller one. The lists `train` and `train_aug` are the same;
    the classes take turns, so each occurs in every five pictures. A set that was left half drawn,
    or drawn with other settings, is drawn anew.

    Args:
        root: folder of the data set; made if need be.
        train: pictures to train on.
        val: pictures to score on.
        size: side of a picture in pixels, at least 32.
        seed: another one gives other pictures.

    Raises:
        ValueError: a count below 1 or a size below 32.
        WsssError: `root` holds something that was not drawn here, or cannot be written.
    """
    if train < 1 or val < 1 or size < 32:
        raise ValueError(f"train={train}, val={val}, size={size}; expected 1, 1, 32 at least")
    wanted = {"edition": _EDITION, "train": train, "val": val, "size": size, "seed": seed}
    marker = root / _MARKER
    if _read_marker(marker) == {**wanted, "finished": True}:
        return
    if root.is_dir() and any(root.iterdir()) and not marker.is_file():
        raise WsssError(
            f"{root} holds files that were not drawn by this program; expected a new or empty "
            "folder for the drawn data set: name another one."
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps({**wanted, "finished": False}))
        for folder in _FOLDERS:
            shutil.rmtree(root / folder, ignore_errors=True)
            (root / folder).mkdir()
        _draw_all(root, {"train": train, "val": val}, size, seed)
        marker.write_text(json.dumps({**wanted, "finished": True}))
    except OSError as error:
        raise WsssError(
            f"The drawn data set cannot be written to {root} ({error.strerror}); expected a "
            "writable folder with free space: make room or name another one."
        ) from error


def _read_marker(marker: Path) -> object:
    try:
        return json.loads(marker.read_text())
    except (OSError, ValueError):
        return None


def _draw_all(root: Path, counts: dict[str, int], size: int, seed: int) -> None:
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir()
    (root / "class_names.txt").write_text("".join(f"{name}\n" for name in CLASS_NAMES))
    for number, (split, count) in enumerate(counts.items()):
        ids = [f"{split}_{i:05d}" for i in range(count)]
        for i, id_ in enumerate(ids):
            rng = np.random.default_rng((seed, number, i))
            _write(root, id_, *draw_picture(size, i % len(CLASS_NAMES), rng))
        (lists / f"{split}.txt").write_text("".join(f"{id_}\n" for id_ in ids))
    shutil.copyfile(lists / "train.txt", lists / "train_aug.txt")


def _write(root: Path, id_: str, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    Image.fromarray(image).save(root / "JPEGImages" / f"{id_}.jpg", quality=92)
    voc.write_mask(root / "SegmentationClassAug" / f"{id_}.png", mask)
    (root / "Annotations" / f"{id_}.xml").write_text(_annotation(id_, mask))


def _annotation(id_: str, mask: NDArray[np.uint8]) -> str:
    """The XML of a picture: size, and the name of every class that can be seen in it."""
    height, width = mask.shape
    names = [CLASS_NAMES[value - 1] for value in np.unique(mask) if value > 0]
    objects = "".join(f"\t<object>\n\t\t<name>{name}</name>\n\t</object>\n" for name in names)
    return (
        f"<annotation>\n\t<filename>{id_}.jpg</filename>\n\t<size>\n\t\t<width>{width}</width>\n"
        f"\t\t<height>{height}</height>\n\t\t<depth>3</depth>\n\t</size>\n{objects}</annotation>\n"
    )
