"""Large pictures in overlapping windows, so that time and memory grow with their area alone."""

import torch
from torch import Tensor, nn

STRIDE = 32  # windows start and end on whole steps of the deepest grid


def tiled(model: nn.Module, images: Tensor, tile: int | None) -> Tensor:
    """What `model` answers, window by window where a picture is larger than `tile`.

    Windows overlap by a quarter of their side at least; where they do, their logits are averaged
    with weights that fall linearly towards a window's edge, so that no seam shows. A picture of
    one window is answered exactly as without windows.

    Args:
        model: images → logits of the same height and width.
        images: (B, 3, H, W).
        tile: side of a window, rounded down to whole strides of 32 (one at least); None for no
            limit.

    Returns:
        (B, C + 1, H, W).
    """
    height, width = images.shape[-2:]
    if tile is None or max(height, width) <= tile:
        return model(images)
    side = max(tile // STRIDE, 1) * STRIDE
    rows, columns = starts(height, side), starts(width, side)
    total: Tensor | None = None
    weights = images.new_zeros(height, width)
    for top in rows:
        for left in columns:
            window = (..., slice(top, top + side), slice(left, left + side))
            logits = model(images[window])
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], height, width, dtype=torch.float32)
            h, w = logits.shape[-2:]
            weight = _hat(h, images)[:, None] * _hat(w, images)
            total[window] += weight * logits
            weights[window] += weight
    assert total is not None
    return total / weights


def starts(extent: int, side: int) -> list[int]:
    """First pixels of the fewest windows of `side` that cover `extent` with a quarter's overlap.

    They are spread evenly and start on whole strides; the last one reaches the edge, or a part of
    a stride beyond it.
    """
    if extent <= side:
        return [0]
    last = -(-(extent - side) // STRIDE)  # in strides, rounded up: the edge is covered
    step = max(side * 3 // 4 // STRIDE, 1)
    count = -(-last // step)
    return [round(i * last / count) * STRIDE for i in range(count + 1)]


def _hat(length: int, like: Tensor) -> Tensor:
    """(length,) weights that rise to the middle and fall again, above 0 everywhere."""
    place = torch.arange(length, device=like.device, dtype=like.dtype)
    return torch.minimum(place, length - 1 - place) + 1
