"""Images with masks: for evaluation, and for training on pseudo-masks.

Stages that work from tags alone must not import this module; its tests hold them to it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from wsss.config import DataConfig
from wsss.data import augment
from wsss.data.coco_truth import make_masks
from wsss.data.given_masks import GivenMasks
from wsss.data.image_header import read_header
from wsss.data.images import TaggedDataset, read_image
from wsss.data.mask_io import VOC_FOLDERS, Track, read_mask, size_problem
from wsss.errors import WsssError
from wsss.formats.coco_layout import is_coco
from wsss.labels import IGNORE_INDEX
from wsss.run.fingerprint import listing_digest


def has_masks(root: Path) -> bool:
    """Whether a data set in VOC layout comes with true masks."""
    return any((root / folder).is_dir() for folder in VOC_FOLDERS)


def masks_root(data: DataConfig) -> Path | None:
    """The VOC folder that the true masks lie in; None where the data come with none."""
    own = data.masks is None and data.root is not None and has_masks(data.root)
    return data.root if own else None


def has_truth(data: DataConfig) -> bool:
    """Whether there are true masks, or instances that they can be made of."""
    return data.masks is not None or masks_root(data) is not None or _coco_root(data) is not None


def require_truth(data: DataConfig) -> None:
    """Refuse data without true masks.

    Raises:
        WsssError: they have none.
    """
    if not has_truth(data):
        raise WsssError(
            f"There are no true masks at {data.root or data.images}: scoring and --ceiling need "
            "data.masks=FOLDER with masks of some images, a VOC folder with SegmentationClassAug "
            "or SegmentationClass, or a COCO folder."
        )


def with_truth(data: DataConfig, tagged: TaggedDataset) -> TaggedDataset:
    """The images that can be scored: with `data.masks` those that it has one of, else all.

    Raises:
        WsssError: the masks can't be read.
    """
    if data.masks is None:
        return tagged
    return replace(tagged, samples=_given(data.masks, listing_digest(data.masks), tagged).samples)


def true_masks(data: DataConfig, split: str, tagged: TaggedDataset, track: Track) -> Path:
    """The folder to look up the true masks of images in, by `mask_path`.

    Those that are made of instances, or come in another format, and are not there yet are made.

    Args:
        data: where they are.
        split: that the images are of.
        tagged: images whose masks are needed.
        track: shows the progress.

    Raises:
        WsssError: the data of the config have none, or their instances are damaged.
    """
    require_truth(data)
    if data.masks is not None:
        given = _given(data.masks, listing_digest(data.masks), tagged)
        given.require_some()
        return given.write(data.masks.with_name(f"{data.masks.name}.wsss"), track, "true masks")
    coco = _coco_root(data)
    if coco is not None:
        ids = [sample.id for sample in tagged.samples]
        return make_masks(coco, split, data.truth_rule, ids, track)
    root = masks_root(data)
    assert root is not None  # required above
    return root


@lru_cache(maxsize=4)
def _given(source: Path, _digest: str, tagged: TaggedDataset) -> GivenMasks:
    """Looked up once a process, unless they change."""
    return GivenMasks(source, tagged)


def _coco_root(data: DataConfig) -> Path | None:
    own = data.masks is None and data.root is not None and is_coco(data.root)
    return data.root if own else None


def mask_path(root: Path, id: str) -> Path:
    """The true mask of an image: in SegmentationClassAug, SegmentationClass or the folder itself.

    Raises:
        WsssError: neither folder has it.
    """
    path = find_mask(root, id)
    if path is not None:
        return path
    raise WsssError(
        f"There is no mask {id}.png in {_shown(root)}; expected the "
        "true mask of every image that is scored: run wsss check-data to list what is missing."
    )


def without_masks(root: Path, ids: Iterable[str]) -> list[str]:
    """The ids of images that have no true mask."""
    return [id_ for id_ in ids if find_mask(root, id_) is None]


def find_mask(root: Path, id: str) -> Path | None:
    """The true mask of an image; None where it has none."""
    paths = (root / folder / f"{id}.png" for folder in (*VOC_FOLDERS, ""))
    return next((path for path in paths if path.is_file()), None)


def _shown(root: Path) -> str:
    """Where masks are looked for, for a sentence."""
    return f"{root / VOC_FOLDERS[0]} or {root / VOC_FOLDERS[1]}" if has_masks(root) else str(root)


def read_pair(
    image_path: Path, mask_path: Path, max_side: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Reads an image and its mask, both reduced to a long side of `max_side` if it is longer.

    Returns:
        (H, W, 3) uint8 RGB and (H, W) uint8.

    Raises:
        WsssError: one of them is missing or does not decode, or their sizes differ.
    """
    image, mask = read_image(image_path), read_mask(mask_path)
    _check_size(mask, mask_path, image_path, (image.shape[0], image.shape[1]))
    image = augment.limit_side(image, max_side)
    return image, augment.resize_mask(mask, image.shape[:2])


def read_target(image_path: Path, mask_path: Path, background: bool = True) -> NDArray[np.uint8]:
    """Reads the mask of an image, whose size alone is looked up.

    Args:
        image_path: the image.
        mask_path: its mask.
        background: whether 0 is the background; if not, it is void.

    Returns:
        (H, W) uint8.

    Raises:
        WsssError: the mask is missing or does not decode, or the image has another size.
    """
    mask, header = read_mask(mask_path), read_header(image_path)
    _check_size(mask, mask_path, image_path, (header.height, header.width))
    return mask if background else void_background(mask)


def void_background(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask whose 0, which data without background don't have, is void."""
    return np.where(mask == 0, np.uint8(IGNORE_INDEX), mask)


def _check_size(
    mask: NDArray[np.uint8], mask_path: Path, image_path: Path, size: tuple[int, int]
) -> None:
    problem = size_problem(mask_path, mask.shape, image_path, size)
    if problem:
        raise WsssError(problem)


class MaskSample(NamedTuple):
    """A crop, or a batch of them with one more axis in front.

    Attributes:
        image: (3, size, size) uint8; the device normalises it.
        mask: (size, size) uint8, 255 = ignored.
        trusted: scalar bool, whether a person vouches for the mask.
    """

    image: torch.Tensor
    mask: torch.Tensor
    trusted: torch.Tensor


@dataclass(frozen=True, eq=False)
class MaskTrainingSet(Dataset[MaskSample]):
    """Augmented crops with masks; the augmentation follows from (seed, epoch, index) alone.

    Attributes:
        pairs: (image file, mask file).
        size: side of the square crops.
        seed: of the augmentation.
        scale: range of the magnification.
        jitter: strength of the colour jitter; 0 = none.
        paste: share of crops that the objects of another image are pasted on.
        max_side: larger images and masks are reduced to this long side first.
        trusted: the mask files that a person vouches for.
    """

    pairs: Sequence[tuple[Path, Path]]
    size: int
    seed: int
    _: KW_ONLY
    scale: tuple[float, float] = (0.5, 2.0)
    jitter: float = 1.0
    paste: float = 0.0
    max_side: int | None = None
    trusted: frozenset[Path] = frozenset()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: tuple[int, int]) -> MaskSample:
        """(epoch, index) → a crop of an image."""
        epoch, i = index
        rng = np.random.default_rng((self.seed, epoch, i))
        image, mask = self._crop(i, rng)
        vouched = self.pairs[i][1] in self.trusted
        if self.paste and rng.random() < self.paste:
            other = int(rng.integers(len(self.pairs)))
            # a mask is trusted as a whole
            if vouched == (self.pairs[other][1] in self.trusted):
                image, mask = augment.paste_objects(image, mask, *self._crop(other, rng))
        trusted = torch.tensor(vouched)
        return MaskSample(augment.as_pixels(image), torch.from_numpy(mask), trusted)

    def _crop(
        self, i: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        image, mask = augment.joint_scale_crop_flip(
            *read_pair(*self.pairs[i], self.max_side), self.size, rng, self.scale
        )
        return augment.colour_jitter(image, rng, self.jitter), mask
