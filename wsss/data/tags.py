"""Images with their tags: all that training from image-level labels may see.

Nothing here knows where a mask lies or how to open one. Reads `Annotations/*.xml` of a data set in
VOC layout; `read_folder` reads a CSV beside one's own pictures.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from wsss import voc
from wsss.data import transforms
from wsss.data.folder import describe_unknown, read_folder
from wsss.data.pictures import IMAGE_SUFFIXES, Picture, TaggedPictures, read_image
from wsss.errors import WsssError

__all__ = [
    "IMAGE_SUFFIXES",
    "Picture",
    "TagTrainingSet",
    "TaggedPictures",
    "annotation_path",
    "image_paths",
    "read_folder",
    "read_image",
    "read_objects",
    "read_voc",
]


def read_voc(root: Path, split: str) -> TaggedPictures:
    """Reads a split of a data set in VOC layout.

    A picture's tags are the names of all objects of its XML, those marked difficult too.

    Args:
        root: folder with JPEGImages, Annotations and ImageSets (`VOCdevkit/VOC2012`).
        split: name of the list, e.g. `train_aug`.

    Raises:
        WsssError: list, picture or XML missing, an XML that does not parse, or a name that is no
            class.
    """
    ids = voc.split_ids(root, split)
    names = voc.read_class_names(root)
    index = {name: i for i, name in enumerate(names)}
    images = image_paths(root)
    missing = [i for i in ids if i not in images]
    if missing:
        raise WsssError(
            f"{len(missing)} of {len(ids)} pictures of split {split} are missing in "
            f"{root / 'JPEGImages'}, the first {missing[0]}.jpg; run wsss check-data to list them."
        )
    return TaggedPictures(
        names, tuple(Picture(i, images[i], _tags(annotation_path(root, i), index)) for i in ids)
    )


def image_paths(root: Path) -> dict[str, Path]:
    """Id → image file, for every picture in `<root>/JPEGImages`; empty where there is no folder."""
    folder = root / "JPEGImages"
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    # in the order of preference, so that a .jpg wins over a .png of the same id
    by_suffix = {s: [f for f in files if f.suffix.lower() == s] for s in IMAGE_SUFFIXES}
    return {f.stem: f for s in reversed(IMAGE_SUFFIXES) for f in by_suffix[s]}


def annotation_path(root: Path, id: str) -> Path:
    """Where a picture's XML lies."""
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
            f"The annotation {path} does not exist; expected an XML with the picture's objects."
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


class TagTrainingSet(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Augmented crops with tags.

    The augmentation of a sample follows from (seed, epoch, index) alone, whichever worker makes it
    and in whatever order, so a training that was killed goes on exactly where it was.
    """

    def __init__(
        self,
        pictures: TaggedPictures,
        size: int,
        seed: int,
        *,
        scale: tuple[float, float] = (0.5, 1.0),
        flip: bool = True,
        jitter: float = 1.0,
        max_side: int | None = None,
    ) -> None:
        """Sets up the crops.

        Args:
            pictures: what to train on.
            size: side of the square crops.
            seed: of the augmentation.
            scale: range of a crop's share of the picture's area.
            flip: mirror every other sample.
            jitter: strength of the colour jitter; 0 = none.
            max_side: larger pictures are reduced to this long side first.
        """
        self.pictures = pictures
        self.max_side = max_side
        self.size = size
        self.seed = seed
        self.scale = scale
        self.flip = flip
        self.jitter = jitter
        self._tags = torch.from_numpy(pictures.tag_matrix())

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """(epoch, index) → image (3, size, size) float32 normalised, tags (C,) of 0 and 1."""
        epoch, i = index
        rng = np.random.default_rng((self.seed, epoch, i))
        image = transforms.limit_side(read_image(self.pictures.pictures[i].path), self.max_side)
        image = transforms.random_resized_crop(image, self.size, rng, self.scale)
        if self.flip and transforms.random_flip(rng):
            image = transforms.mirror(image)
        image = transforms.colour_jitter(image, rng, self.jitter)
        return transforms.normalise(image), self._tags[i]
