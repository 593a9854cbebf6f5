"""What the segmenter trains on, wherever its masks come from."""

from typing import NamedTuple

import torch


class MaskSample(NamedTuple):
    """A crop, or a batch of them with one more axis in front.

    Attributes:
        image: (3, size, size) uint8; the device normalises it.
        mask: (size, size) uint8, 255 = ignored.
    """

    image: torch.Tensor
    mask: torch.Tensor
