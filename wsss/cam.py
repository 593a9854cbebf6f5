"""Class activation maps: from features and classifier weights to (B, C, h, w) ≥ 0, over scales."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, align_corners=False: (B, C, h, w) → (B, C, *size)."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if maps.shape[1] == 0:  # a picture without tags; interpolate refuses empty tensors
        return maps.new_zeros(maps.shape[0], 0, *size)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def fold_flip(maps: Tensor) -> Tensor:
    """Mean of a picture's map and that of its mirror image, brought back.

    Args:
        maps: (2, C, h, w), the picture's and its mirror image's; or (1, C, h, w) without one.

    Returns:
        (1, C, h, w).
    """
    if maps.shape[0] == 1:
        return maps
    return (maps[:1] + maps[1:].flip(-1)) / 2


def merge_scales(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Mean over scales at one size: list of (1, C, h_s, w_s) → (C, *size)."""
    return torch.stack([resize(m, size)[0] for m in maps]).mean(dim=0)


def with_flip(image: Tensor) -> Tensor:
    """A picture and its mirror image: (1, 3, H, W) → (2, 3, H, W)."""
    return torch.cat([image, image.flip(-1)])


def scaled_size(height: int, width: int, scale: float, multiple: int = 32) -> tuple[int, int]:
    """Size of a picture at a scale, rounded to whole grid steps of the deepest stage."""
    return (
        max(multiple, round(height * scale / multiple) * multiple),
        max(multiple, round(width * scale / multiple) * multiple),
    )
