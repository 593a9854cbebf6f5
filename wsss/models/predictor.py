"""A picture to masks: limited in size, looked at in several ways, labelled at its own size."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsss.config import EvaluateConfig, PredictionMode
from wsss.crf import make_crf
from wsss.data import transforms
from wsss.models.views import View, predict_views
from wsss.seeding.cam import resize
from wsss.seeding.masks import refine

Mask = NDArray[np.uint8]


@torch.inference_mode()
def predict_masks(
    model: nn.Module,
    image: NDArray[np.uint8],
    modes: Sequence[PredictionMode],
    settings: EvaluateConfig,
    device: torch.device,
) -> list[Mask]:
    """Segment one picture in several ways; what they share is computed once.

    Args:
        model: normalised pictures → logits.
        image: (H, W, 3) uint8 RGB.
        modes: scales, flip and CRF of each mask.
        settings: its `max_side` and `tile`.
        device: of the model.

    Returns:
        A mask (H, W) of class indices a mode.
    """
    small = transforms.limit_side(image, settings.max_side)
    views = list(dict.fromkeys(View(mode.scales, mode.flip) for mode in modes))
    tensor = transforms.normalise(small)[None].to(device)
    probs = dict(zip(views, predict_views(model, tensor, views, settings.tile), strict=True))
    pixels = torch.from_numpy(small).permute(2, 0, 1).to(device)
    masks = []
    for mode in modes:
        (found,) = refine([pixels], [probs[View(mode.scales, mode.flip)]], make_crf(mode.crf))
        masks.append(label_at(found, image.shape[:2]).cpu().numpy())
    return masks


def label_at(probs: Tensor, size: tuple[int, int]) -> Tensor:
    """The likeliest class at a picture's own size.

    Equals the argmax of the enlarged probabilities, but holds two planes of that size instead of
    one a class: those of a photograph would fill gigabytes.

    Args:
        probs: (C + 1, h, w).
        size: (H, W).

    Returns:
        (H, W) uint8.
    """
    if tuple(probs.shape[1:]) == tuple(size):
        return probs.argmax(dim=0).to(torch.uint8)
    best = resize(probs[None, :1], size)[0, 0].clone()
    labels = torch.zeros(size, dtype=torch.uint8, device=probs.device)
    for label in range(1, len(probs)):
        plane = resize(probs[None, label : label + 1], size)[0, 0]
        labels[plane > best] = label
        best = torch.maximum(best, plane)
    return labels
