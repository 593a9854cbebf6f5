"""Class probabilities of one picture by several ways of looking at it, in one pass."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wsss.models.tiles import tiled
from wsss.seeding.cam import fold_flip, resize, scaled_size, with_flip


class View(NamedTuple):
    """What probabilities are averaged over.

    Attributes:
        scales: of the picture's sides.
        flip: also the mirror image, at every scale.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False


@torch.inference_mode()
def predict_views(
    model: nn.Module, image: Tensor, views: Sequence[View], tile: int | None = None
) -> list[Tensor]:
    """Probabilities by each view; what several views share is computed once.

    Args:
        model: images (B, 3, H, W) → logits (B, C + 1, H, W).
        image: (1, 3, H, W), normalised.
        views: at least one.
        tile: side of the windows that larger pictures are cut into, None for no limit.

    Returns:
        A tensor (C + 1, H, W) a view, each pixel summing to 1.
    """
    size = (image.shape[-2], image.shape[-1])
    totals: list[Tensor | None] = [None] * len(views)
    for scale in dict.fromkeys(scale for view in views for scale in view.scales):
        takers = [i for i, view in enumerate(views) if scale in view.scales]
        scaled = resize(image, scaled_size(*size, scale)) if scale != 1.0 else image
        flipped = any(views[i].flip for i in takers)
        pictures = with_flip(scaled) if flipped else scaled
        probs = resize(tiled(model, pictures, tile).float(), size).softmax(dim=1)
        for i in takers:
            seen = fold_flip(probs) if views[i].flip else probs[: len(image)]
            before = totals[i]
            totals[i] = seen if before is None else before + seen
    means = zip(totals, views, strict=True)
    return [total[0] / len(set(view.scales)) for total, view in means if total is not None]
