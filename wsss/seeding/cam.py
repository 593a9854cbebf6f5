"""Class activation maps over scales and flip: sizes, mirror images, means."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, align_corners=False: (B, C, h, w) → (B, C, *size)."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if maps.shape[1] == 0:  # an image without tags; interpolate refuses empty tensors
        return maps.new_zeros(maps.shape[0], 0, *size)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def in_whole_strides(
    network: Callable[[Tensor], Tensor], images: Tensor, multiple: int = 32, least: int = 32
) -> Tensor:
    """The answer of a network that takes sides of whole strides to images of any size.

    They are resized to the nearest such size, and the answer back. What padding adds is no part of
    the image, but slots and attention would take it for one.

    Args:
        network: (B, 3, h, w) → (B, C, h, w).
        images: (B, 3, H, W), of any size.
        multiple: what sides must be a multiple of.
        least: the smallest side.

    Returns:
        (B, C, H, W).
    """
    size = (images.shape[-2], images.shape[-1])
    height, width = scaled_size(*size, 1.0, multiple)
    return resize(network(resize(images, (max(height, least), max(width, least)))), size)


def with_flip(images: Tensor) -> Tensor:
    """Images and, behind them, their mirror images: (B, C, H, W) → (2B, C, H, W)."""
    return torch.cat([images, images.flip(-1)])


def fold_flip(maps: Tensor) -> Tensor:
    """Means of the maps of images and of their mirror images, mirrored back.

    Args:
        maps: (2B, C, h, w), in the order of `with_flip`.

    Returns:
        (B, C, h, w).
    """
    upright, mirrored = maps.chunk(2)
    return (upright + mirrored.flip(-1)) / 2


def merge_scales(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Mean over scales at one size: list of (B, C, h_s, w_s) → (B, C, *size)."""
    return torch.stack([resize(m, size) for m in maps]).mean(dim=0)


def scaled_size(height: int, width: int, scale: float, multiple: int = 32) -> tuple[int, int]:
    """Size of an image at a scale, rounded to whole steps of the deepest stage's grid."""
    return (
        max(multiple, round(height * scale / multiple) * multiple),
        max(multiple, round(width * scale / multiple) * multiple),
    )
