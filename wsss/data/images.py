"""What a tagged image is, a set of them, and how one is read. Knows no masks."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from wsss.errors import WsssError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


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


@dataclass(frozen=True)
class TaggedDataset:
    """Images with tags.

    Attributes:
        class_names: foreground classes; a class's mask value is its index here + 1.
        samples: in the order of their list.
    """

    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]

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
        listed = [(sample.id, sample.tags) for sample in self.samples]
        text = json.dumps([self.class_names, listed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

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


def read_image(path: Path) -> NDArray[np.uint8]:
    """Reads an image upright (EXIF orientation applied) and in colour, whatever its mode.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        WsssError: the file is missing, is not an image, or is cut off.
    """
    try:
        with Image.open(path) as file:
            ImageOps.exif_transpose(file, in_place=True)
            return np.array(_to_rgb(file))
    except FileNotFoundError:
        raise WsssError(
            f"The image {path} does not exist; check the folder, or take it off the list."
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise WsssError(
            f"The image {path} does not decode ({error}); expected a whole JPEG or PNG: copy it "
            "again, or take it off the list."
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which PIL would clip at 255
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype("u1"))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
