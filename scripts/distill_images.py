"""Unlabelled images of `distill.py`: chosen by name, decoded once, cropped by (seed, step)."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from wsss.errors import WsssError

SUFFIXES = {".jpg", ".jpeg", ".png"}


def list_images(folders: list[str], voc_root: str | None, voc_split: str) -> list[Path]:
    """Images of the folders and of one VOC split, sorted by name; none of VOC's `val`.

    Raises:
        WsssError: a folder or list is missing or empty, or an image of `val` is among them.
    """
    found: list[Path] = []
    for folder in folders:
        inside = sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in SUFFIXES)
        if not inside:
            raise WsssError(f"No image is in {folder}; give a folder of .jpg or .png files.")
        found += inside
    if voc_root:
        lists = Path(voc_root) / "ImageSets" / "Segmentation"
        found += [
            Path(voc_root) / "JPEGImages" / f"{name}.jpg"
            for name in _names(lists / f"{voc_split}.txt")
        ]
        refuse_val(found, lists / "val.txt")
    return sorted(found, key=lambda p: p.name)


def refuse_val(images: list[Path], val_list: Path) -> None:
    """Raise a `WsssError` if an image bears the id of one that `val_list` names."""
    both = sorted({p.stem for p in images} & set(_names(val_list)))
    if both:
        raise WsssError(
            f"{len(both)} of the images to train on are in {val_list} (first: {both[0]}); "
            "weights that have seen val cannot be measured on it, so leave them out."
        )


def is_held(path: Path, one_in: int) -> bool:
    """Whether an image is held out: by a hash of its name, so others change nothing."""
    return int(hashlib.sha256(path.stem.encode()).hexdigest()[:8], 16) % one_in == 0


@dataclass
class Images:
    """Decoded images in one flat array; `images[i]` is (h, w, 3) uint8 RGB."""

    names: list[str]
    pixels: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        h, w = self.sizes[i]
        start = self.starts[i]
        return self.pixels[start : start + h * w * 3].reshape(h, w, 3)


def decode_images(paths: list[Path], short_side: int) -> Images:
    """Read images, shrink each to a short side (never enlarge beyond it).

    Raises:
        WsssError: a file is missing or no image.
    """
    decoded = [_shrink(_read(path), short_side) for path in paths]
    sizes = np.array([p.shape[:2] for p in decoded], dtype=np.int64).reshape(-1, 2)
    lengths = sizes.prod(axis=1) * 3
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    pixels = np.empty(int(lengths.sum()), dtype=np.uint8)
    for i, start in enumerate(starts):
        pixels[start : start + lengths[i]] = decoded[i].reshape(-1)
        decoded[i] = decoded[i][:0]
    return Images([p.stem for p in paths], pixels, sizes, starts)


def random_crops(
    source: Images, *, seed: int, step: int, batch: int, size: int, min_area: float
) -> Tensor:
    """The batch of a step: random resized crops, mirrored, brightness and contrast moved.

    It depends on `seed` and `step` alone, so a resumed run sees what an unbroken one sees.

    Args:
        source: where to draw from; every image once an epoch.
        seed: of the run.
        step: from 0.
        batch: crops per step.
        size: side of a crop in pixels.
        min_area: least share of an image's area in a crop, in (0, 1].

    Returns:
        (batch, 3, size, size), RGB in 0–1.
    """
    rng = np.random.default_rng([seed, 1, step])
    out = np.empty((batch, size, size, 3), dtype=np.uint8)
    for j in range(batch):
        epoch, index = divmod(step * batch + j, len(source))
        image = source[_order(seed, epoch, len(source))[index]]
        out[j] = _random_crop(image, size, min_area, rng)
    images = torch.from_numpy(out).permute(0, 3, 1, 2).float().div_(255)
    gain, shift = rng.uniform(0.8, 1.2, (2, batch, 1, 1, 1)).astype(np.float32)
    return (
        images.sub_(0.5)
        .mul_(torch.from_numpy(gain))
        .add_(torch.from_numpy(shift - 0.5))
        .clamp_(0, 1)
    )


def mixed(images: Tensor, *, seed: int, step: int, share: float) -> Tensor:
    """A share of the crops mixed with others of the batch: half blended, half with a rectangle.

    The teacher is asked about what comes of it, so nothing has to be assumed about labels; a few
    thousand images become more than a student can learn by heart ("Knowledge distillation: a good
    teacher is patient and consistent", Beyer et al., CVPR 2022; mixup, Zhang et al., ICLR 2018;
    CutMix, Yun et al., ICCV 2019). It depends on `seed` and `step` alone.

    Args:
        images: (B, 3, S, S).
        seed: of the run.
        step: from 0.
        share: of the crops, in 0…1.

    Returns:
        (B, 3, S, S).
    """
    rng = np.random.default_rng([seed, 2, step])
    size, out = images.shape[-1], images.clone()
    for i, j in enumerate(rng.permutation(len(images))):
        kind, part = rng.random(), rng.random()
        if kind < share / 2:
            out[i] = torch.lerp(images[i], images[j], part)
        elif kind < share:
            side = round(size * part**0.5)
            top, left = rng.integers(0, size - side + 1, 2)
            area = (slice(None), slice(top, top + side), slice(left, left + side))
            out[i][area] = images[j][area]
    return out


def centre_crops(images: Images, size: int) -> Tensor:
    """The middle square of every image: (n, 3, size, size), RGB in 0–1."""
    out = np.empty((len(images), size, size, 3), dtype=np.uint8)
    for i in range(len(images)):
        image = images[i]
        h, w = image.shape[:2]
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        out[i] = _resize(image[top : top + side, left : left + side], size, size)
    return torch.from_numpy(out).permute(0, 3, 1, 2).float().div_(255)


def _names(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError as error:
        raise WsssError(
            f"The split list {path} cannot be read; give voc_root=…/VOC2012."
        ) from error


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise WsssError(f"{path} is missing or is not an image; remove it from the list or fix it.")
    return np.ascontiguousarray(image[..., ::-1])


def _shrink(image: np.ndarray, short_side: int) -> np.ndarray:
    h, w = image.shape[:2]
    scale = short_side / min(h, w)
    return image if scale >= 1 else _resize(image, round(h * scale), round(w * scale))


def _resize(image: np.ndarray, h: int, w: int) -> np.ndarray:
    shrinks = image.shape[0] > h
    return cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(n)


def _random_crop(
    image: np.ndarray, size: int, min_area: float, rng: np.random.Generator
) -> np.ndarray:
    """A crop of random area and aspect (3:4 to 4:3), within the image; half of them mirrored."""
    h, w = image.shape[:2]
    area = h * w * rng.uniform(min_area, 1.0)
    aspect = float(np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3))))
    ch = min(h, max(1, round((area / aspect) ** 0.5)))
    cw = min(w, max(1, round((area * aspect) ** 0.5)))
    top, left = rng.integers(0, h - ch + 1), rng.integers(0, w - cw + 1)
    crop = _resize(image[top : top + ch, left : left + cw], size, size)
    return crop[:, ::-1] if rng.random() < 0.5 else crop
