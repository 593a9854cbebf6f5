"""What the segmenter trains on, wherever its masks come from."""

from typing import NamedTuple

import torch


class MaskSample(NamedTuple):
    """A crop, or a batch of them with one more axis in front.

    Attributes:
        image: (3, size, size) float32, normalised.
        mask: (size, size) int64, 255 = ignored.
        confidence: (size, size) float32 in 0…1, how sure the mask is; 0 outside the picture.
        tags: (C,) float32 of 0 and 1, of the whole picture; (0,) where they weren't given.
    """

    image: torch.Tensor
    mask: torch.Tensor
    confidence: torch.Tensor
    tags: torch.Tensor
