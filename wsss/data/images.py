"""What a tagged image is, a set of them, and how one is read. Knows no masks."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from wsss.data.image_header import ORIENTATION, open_image, orientation
from wsss.formats.unread import Unread

_AT_ONCE = 10_000  # images whose text is in memory at once


class Sample(NamedTuple):
    """An image and what is in it.

    Attributes:
        id: unique in its set and safe as a relative file name; `<id>.png` is its mask's name.
        path: the image file.
        tags: 0-based foreground class indices, ascending, each once; none where nothing is there.
    """

    id: str
    path: Path
    tags: tuple[int, ...]

    @property
    def labels(self) -> list[int]:
        """The mask values of its tags."""
        return [tag + 1 for tag in self.tags]


@dataclass(frozen=True)
class TaggedDataset:
    """Images with tags.

    Attributes:
        class_names: foreground classes; a class's mask value is its index here + 1.
        samples: in the order of their list.
        unread: columns of the list that say nothing of tags.
    """

    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    unread: tuple[Unread, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def tag_matrix(self) -> NDArray[np.float32]:
        """(n, C) float32, 1 where the image has the class, else 0."""
        matrix = np.zeros((len(self.samples), len(self.class_names)), np.float32)
        for row, sample in zip(matrix, self.samples, strict=True):
            row[list(sample.tags)] = 1
        return matrix

    def digest(self) -> str:
        """16 hexadecimal digits of the classes' names and of every image's id and tags."""
        whole = hashlib.sha256(f"[{json.dumps(self.class_names)}, [".encode())
        for first in range(0, len(self.samples), _AT_ONCE):
            part = self.samples[first : first + _AT_ONCE]
            text = json.dumps([(sample.id, sample.tags) for sample in part])
            whole.update(f"{', ' if first else ''}{text[1:-1]}".encode())
        whole.update(b"]]")
        return whole.hexdigest()[:16]

    def split_holdout(self, fraction: float, seed: int) -> tuple["TaggedDataset", "TaggedDataset"]:
        """Sets a part aside to score a classifier on, without taking any class's last image.

        Args:
            fraction: share to hold, in [0, 1); fewer are held where a class would vanish.
            seed: the same seed gives the same split.

        Returns:
            (train, held), each in the old order.
        """
        if not 0 <= fraction < 1:
            raise ValueError(f"fraction is {fraction}; expected 0 ≤ fraction < 1")
        wanted = round(fraction * len(self.samples))
        left = self.tag_matrix().sum(0)
        held: set[int] = set()
        for index in np.random.default_rng(seed).permutation(len(self.samples)).tolist():
            tags = list(self.samples[index].tags)
            if len(held) < wanted and bool((left[tags] > 1).all()):
                left[tags] -= 1
                held.add(index)
        return self._keep(set(range(len(self.samples))) - held), self._keep(held)

    def _keep(self, indices: Iterable[int]) -> "TaggedDataset":
        kept = tuple(self.samples[i] for i in sorted(indices))
        return TaggedDataset(self.class_names, kept)


def read_image(path: Path, at_least: int | None = None) -> NDArray[np.uint8]:
    """Reads an image upright (EXIF orientation applied) and in colour, whatever its mode.

    Transparency is dropped, and the first frame taken. More than 8 bits become 8 by whole bits:
    the most that the image uses sets the scale, so that 12 bits in 16 lose 4 bits and stay as
    bright as they are. Float values up to 1 are taken as shares of 255.

    Args:
        path: of the image.
        at_least: a JPEG may be decoded at a half, a quarter or an eighth of its size, if both sides
            stay as long as this.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        WsssError: the file is missing, is not an image, or is cut off.
    """
    with open_image(path) as file:
        if at_least is not None and isinstance(file, JpegImageFile):
            file.draft(file.mode, (at_least, at_least))
        deep = _deep_colour(file, path)
        turn = orientation(file)
        if deep is not None and isinstance(file, TiffImageFile):  # not turned by Pillow
            turn = file.tag_v2.get(ORIENTATION, 1)
        image = _to_rgb(file) if deep is None else Image.fromarray(deep)
        return np.array(image.transpose(_TURNS[turn]) if turn in _TURNS else image)


# EXIF orientation → what sets the image upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_eight_bits(values: NDArray[np.number]) -> NDArray[np.uint8]:
    """Values of any depth as 8 bits, scaled by the bits that the largest uses, 8 at least.

    `v · 2^(8 − b)` with the smallest b ≥ 8 for which all values are below 2^b. Floats up to 1 are
    shares of 255; what is negative or not a number becomes 0.
    """
    if np.issubdtype(values.dtype, np.floating):
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        if values.max(initial=0) <= 1:
            values = values * 255
    whole = values.clip(0).astype(np.int64)
    bits = max(int(whole.max(initial=0)).bit_length(), 8)
    return (whole >> (bits - 8)).astype(np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(to_eight_bits(np.asarray(image)))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _deep_colour(image: ImageFile.ImageFile, path: Path) -> NDArray[np.uint8] | None:
    """Colours of 16 bits, of which Pillow keeps the upper 8 even where they are all 0."""
    raw = image.tile[0].args if image.tile else ""
    mode = str(raw[0] if isinstance(raw, tuple) else raw)
    if not mode.startswith(("RGB", "LA;")) or ";16" not in mode:
        return None
    values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3 or sorted(values.shape[:2]) != sorted(image.size):
        return None
    return to_eight_bits(values[..., 2::-1])
