"""From marginals to a pseudo-mask, and how sure each pixel of it is: a grey PNG beside the mask."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wsss.data.transforms import resize_mask
from wsss.run_dir import write_atomic
from wsss.voc import IGNORE_INDEX, read_mask


def harden(marginals: Tensor, labels: Sequence[int], confidence: float) -> NDArray[np.uint8]:
    """The likeliest label of each pixel, 255 where it isn't likely enough.

    Args:
        marginals: (L + 1, H, W), background first, each pixel summing to 1.
        labels: L mask values.
        confidence: smallest marginal of a label that is kept, in [0, 1).

    Returns:
        (H, W) uint8.
    """
    best, index = marginals.max(dim=0)
    values = torch.tensor([0, *labels], device=marginals.device)
    mask = torch.where(best >= confidence, values[index], IGNORE_INDEX)
    return mask.cpu().numpy().astype(np.uint8)


def write_confidence(path: Path, marginals: Tensor, size: tuple[int, int] | None = None) -> None:
    """Write the best of (L + 1, h, w) marginals in whole steps of 1/255, at `size` = (H, W)."""
    levels = (255 * marginals.amax(dim=0)).round().clamp(0, 255).byte().cpu().numpy()
    levels = resize_mask(levels, size or levels.shape)
    write_atomic(path, lambda target: Image.fromarray(levels).save(target))


def read_confidence(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8, 255 for sure.

    Raises:
        WsssError: the file is missing or doesn't decode.
    """
    return read_mask(path)
