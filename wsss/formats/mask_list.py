"""The masks that a file or a folder holds, whatever their format; read one at a time."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from re import Pattern
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsss.errors import WsssError
from wsss.formats.instances import Instance, Shape, Size, paint, split
from wsss.formats.tag_list import without_background
from wsss.formats.target import Target
from wsss.formats.text import excerpt

Read = Callable[[str, Size], NDArray[np.uint8]]
"""(image name, size of the image) → mask of the list's own values."""


@dataclass(frozen=True)
class MaskList:
    """Masks by names of images that are still to be looked up on disk.

    Attributes:
        path: file or folder that they come from.
        names: of the images that have one, as they stand there.
        read: a mask; raises `WsssError` where it can't be read.
        classes: what its values from 1 on mean; None where they are the run's own classes.
        prefix: what a program may have put in front of a file's name.
        files: image name → the PNG that is its mask already; empty for all other formats.
    """

    path: Path
    names: tuple[str, ...]
    read: Read
    classes: tuple[str, ...] | None = None
    prefix: Pattern[str] | None = None
    files: dict[str, Path] | None = None


def of_shapes(
    path: Path,
    names: Iterable[str],
    classes: Iterable[str],
    shapes: Callable[[str, Size], Iterable[Shape]],
    sizes: Mapping[str, Size | None] = {},
    prefix: Pattern[str] | None = None,
) -> MaskList:
    """The masks that shapes on images make.

    Args:
        path: file or folder that they come from.
        names: of the images.
        classes: in the order of their values; background is none.
        shapes: (image name, size of the image) → what is painted on it.
        sizes: image name → the size that the shapes were drawn at, where that is said; an image of
            another one is refused.
        prefix: see `MaskList`.
    """
    known = without_background(classes)
    values = {name: value for value, name in enumerate(known, 1)}

    def read(name: str, size: Size) -> NDArray[np.uint8]:
        refuse_other_size(sizes.get(name), size, f"The image {excerpt(name)} of {path}")
        return paint(shapes(name, size), size, values)

    return MaskList(path, tuple(names), read, known, prefix)


def size_said(height: object, width: object) -> Size | None:
    """A size that an annotation gives, if it gives one."""
    if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
        return height, width
    return None


def refuse_other_size(said: Size | None, size: Size, where: str) -> None:
    """Refuse shapes of an image that had another size, whose places mean nothing in this one.

    Args:
        said: height and width that the annotation gives; None where it doesn't.
        size: of the image.
        where: what says so, for the sentence.

    Raises:
        WsssError: they differ.
    """
    if said is not None and said != size:
        turned = (
            ", which the photograph is when it isn't turned upright" if said == size[::-1] else ""
        )
        raise WsssError(
            f"{where} is {said[1]}×{said[0]}{turned}, and its file {size[1]}×{size[0]} (width × "
            "height); expected the same size: annotate, or export, the image as it is."
        )


def refuse_twice(name: str, known: Container[str], path: Path) -> None:
    """Refuse a second mask of an image, of which only one could be taken.

    Raises:
        WsssError: there is one already.
    """
    if name in known:
        raise WsssError(
            f"{path} has two annotations of an image {excerpt(name)}; expected one an image, or "
            "names with their folders: export the images of one task, or take one away."
        )


class MaskToWrite(NamedTuple):
    """An image with its mask, for a writer.

    Attributes:
        id: of the image, safe as a relative file name.
        number: of the image in its set, from 1, whatever else is left out.
        name: the image's file name, relative to the folder of images.
        image: the image file; None where it isn't known.
        mask: (H, W) class indices.
    """

    id: str
    number: int
    name: str
    image: Path | None
    mask: NDArray[np.uint8]

    def known_image(self) -> Path:
        """The image file.

        Raises:
            WsssError: it isn't known.
        """
        if self.image is None:
            raise WsssError(
                f"The image of the mask {self.id} is not known, and this format holds images: add "
                "--images with their folder."
            )
        return self.image


@dataclass(frozen=True)
class Writing:
    """How masks are written.

    Attributes:
        classes: foreground classes in the order of mask values.
        semantic: one annotation a class and image, instead of one a connected component.
        min_area: components of fewer pixels become background.
        polygons: in formats that can do either, instead of exact masks.
    """

    classes: tuple[str, ...]
    semantic: bool = False
    min_area: int = 0
    polygons: bool = False

    def instances(self, mask: NDArray[np.uint8]) -> list[Instance]:
        """The instances of a mask, as they are to be written."""
        return split(mask, self.semantic, self.min_area)


Writer = Callable[[Iterable[MaskToWrite], Writing, Target], None]
