"""Image transforms: pure functions from arrays and a random generator to arrays.

Randomness comes in as a `numpy.random.Generator`, so a sample's augmentation is whatever its caller
derives it from. Images are uint8 (H, W, 3) RGB until `normalise`, the last step.
"""

import math
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from wsss.labels import IGNORE_INDEX

Image = NDArray[np.uint8]

IMAGENET_MEAN: tuple[float, float, float] = (0.485, 0.456, 0.406)

IMAGENET_STD: tuple[float, float, float] = (0.229, 0.224, 0.225)

PADDING = tuple(round(255 * m) for m in IMAGENET_MEAN)  # about zero after normalisation

_SCALE = (1 / (255 * np.array(IMAGENET_STD))).astype(np.float32)

_SHIFT = (-np.array(IMAGENET_MEAN) / np.array(IMAGENET_STD)).astype(np.float32)

_GREY = np.array([0.299, 0.587, 0.114])

# RGB to luma and two chroma axes (YIQ), in which a hue shift is a rotation of the chroma plane
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])

_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def as_pixels(image: Image) -> torch.Tensor:
    """(H, W, 3) uint8 → (3, H, W) uint8, contiguous: what `normalise_pixels` takes."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def normalise(image: Image) -> torch.Tensor:
    """(pixel / 255 − mean) / std with ImageNet's mean and std.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (3, H, W) float32, contiguous.
    """
    return normalise_pixels(as_pixels(image))


def normalise_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """`normalise` where the tensor is: (..., 3, H, W) uint8 → the same float32."""
    scale, shift = _on(pixels.device)
    return pixels.float().mul_(scale[:, None, None]).add_(shift[:, None, None])


@cache
def _on(device: torch.device) -> tuple[torch.Tensor, ...]:
    """Scale and shift on a device, which waits for them once."""
    return tuple(torch.from_numpy(v).to(device) for v in (_SCALE, _SHIFT))


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Resizes (H, W[, 3]) uint8 to `size` = (height, width); area mean to shrink, else bilinear."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


def resize_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resizes (H, W) class indices to `size` = (height, width) by the nearest pixel centre."""
    if mask.shape == size:
        return mask
    # plain INTER_NEAREST takes the corner, half a pixel off the image's bilinear grid
    small = cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(small, np.uint8)


def limit_side(image: Image, max_side: int | None) -> Image:
    """(H, W[, 3]) uint8 with its long side at most `max_side`, in its own proportions."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    factor = max_side / max(height, width)
    return resize(image, (max(1, round(height * factor)), max(1, round(width * factor))))


def random_resized_crop(
    image: Image,
    size: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.5, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Image:
    """A crop of random area and aspect, resized to a square (Szegedy et al. 2015, inception crop).

    Args:
        image: (H, W, 3) uint8.
        size: side of the result.
        rng: where chance comes from; always four draws, whatever the image.
        scale: range of the crop's area as a share of the image's.
        ratio: range of width / height, drawn uniformly in its logarithm.

    Returns:
        (size, size, 3) uint8.
    """
    height, width = image.shape[:2]
    area = rng.uniform(*scale) * height * width
    aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
    # A window that sticks out is clipped to the image, rather than drawn again.
    w = max(1, min(width, round(math.sqrt(area * aspect))))
    h = max(1, min(height, round(math.sqrt(area / aspect))))
    top, left = int(rng.random() * (height - h + 1)), int(rng.random() * (width - w + 1))
    return resize(image[top : top + h, left : left + w], (size, size))


def random_flip(rng: np.random.Generator) -> bool:
    """Whether to mirror left and right: one draw, even odds."""
    return bool(rng.random() < 0.5)


def mirror(image: Image) -> Image:
    """Left and right exchanged, contiguous: (H, W[, 3]) → the same shape."""
    return np.ascontiguousarray(image[:, ::-1])


def colour_jitter(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Random brightness, contrast, saturation (factors in 1 ± 0.4 strength), hue (± 18° strength).

    All four are affine in RGB, so they are multiplied into one 3×4 matrix and applied in one pass.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: where chance comes from; always four draws.
        strength: 0 leaves the image as it is, 1 is the field's usual jitter; in [0, 2].
    """
    brightness, contrast, saturation, hue = rng.uniform(-1, 1, 4) * strength
    if strength == 0:
        return image
    matrix = _hue_matrix(hue * math.pi / 10) @ _saturation_matrix(1 + 0.4 * saturation)
    mean = float(_GREY @ np.array(cv2.mean(image)[:3]))
    c, b = 1 + 0.4 * contrast, 1 + 0.4 * brightness
    affine = np.hstack([b * c * matrix, np.full((3, 1), b * (1 - c) * mean)])
    return np.asarray(cv2.transform(image, affine), np.uint8)


def _saturation_matrix(factor: float) -> NDArray[np.float64]:
    return factor * np.eye(3) + (1 - factor) * np.tile(_GREY, (3, 1))


def _hue_matrix(angle: float) -> NDArray[np.float64]:
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return np.asarray(_FROM_YIQ @ turn @ _TO_YIQ, np.float64)


def crop_window(
    image: Image, mask: NDArray[np.uint8], window: tuple[int, int, int]
) -> tuple[Image, NDArray[np.uint8]]:
    """Cuts the same square from image and mask, padding what lies outside.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8.
        window: (top, left, side) in pixels; may reach beyond the image on any side.

    Returns:
        (side, side, 3) padded with ImageNet's mean colour, and (side, side) padded with 255.
    """
    top, left, side = window
    height, width = mask.shape
    rows = slice(max(top, 0), min(top + side, height))
    columns = slice(max(left, 0), min(left + side, width))
    cut = np.empty((side, side, 3), np.uint8)
    cut[:] = PADDING
    cut_mask = np.full((side, side), IGNORE_INDEX, np.uint8)
    if rows.start < rows.stop and columns.start < columns.stop:
        into = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        cut[into], cut_mask[into] = image[rows, columns], mask[rows, columns]
    return cut, cut_mask


def joint_scale_crop_flip(
    image: Image,
    mask: NDArray[np.uint8],
    size: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: bool = True,
) -> tuple[Image, NDArray[np.uint8]]:
    """Random scale, square crop and mirror, the same for image and mask.

    The window is cut at the source's resolution and then resized, which equals resizing first at a
    fraction of the work.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8 with 255 = ignored.
        size: side of the result.
        rng: where chance comes from.
        scale: range of the magnification, drawn uniformly in its logarithm.
        flip: mirror every other sample.

    Returns:
        (size, size, 3) uint8 and (size, size) uint8, padded as in `crop_window`.
    """
    factor = math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
    side = max(1, round(size / factor))
    cut, cut_mask = crop_window(image, mask, _random_window(mask.shape, side, rng))
    cut, cut_mask = resize(cut, (size, size)), resize_mask(cut_mask, (size, size))
    if flip and random_flip(rng):
        return mirror(cut), mirror(cut_mask)
    return cut, cut_mask


def paste_objects(
    image: Image, mask: NDArray[np.uint8], source: Image, labels: NDArray[np.uint8]
) -> tuple[Image, NDArray[np.uint8]]:
    """An image with the objects of another one in front of it, and the mask of both.

    Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method" (CVPR 2021); with masks
    that may be wrong, Olsson et al., "ClassMix" (WACV 2021). Objects come to lie on surroundings
    that say nothing of them.

    Args:
        image: (H, W, 3) uint8; left as it is.
        mask: (H, W) uint8.
        source: (H, W, 3) uint8.
        labels: (H, W) uint8, mask of the source; 0 and 255 are not pasted.

    Returns:
        (H, W, 3) uint8 and (H, W) uint8.
    """
    objects = (labels != 0) & (labels != IGNORE_INDEX)
    return np.where(objects[..., None], source, image), np.where(objects, labels, mask)


def _random_window(
    shape: tuple[int, ...], side: int, rng: np.random.Generator
) -> tuple[int, int, int]:
    """A window inside the image where it fits, else with the image anywhere inside it."""
    spare = [extent - side for extent in shape[:2]]
    top, left = (round(rng.random() * s) for s in spare)
    return top, left, side
