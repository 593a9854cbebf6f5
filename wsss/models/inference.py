"""From an image to its masks: scales and flips, windows over large images, CRF, labels."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsss.config import PredictionMode
from wsss.crf import make_crf
from wsss.data import augment
from wsss.data.scores import Doubt
from wsss.engine.inference import Autocast, from_device
from wsss.models.doubts import doubt_of_prediction, prediction_signs
from wsss.models.gate import Gate
from wsss.seeding.cam import fold_flip, resize, scaled_size, with_flip
from wsss.seeding.indexing import best_channel, index_tensor
from wsss.seeding.masks import Refiner, refine, without_others

UNLIKELY = 0.01
"""A class whose probability reaches this nowhere takes no part in the CRF of a prediction."""

STRIDE = 32  # windows start and end on whole steps of the deepest grid


def tiled(model: nn.Module, images: Tensor, tile: int | None) -> Tensor:
    """What `model` answers, window by window where an image is larger than `tile`.

    Windows overlap by a quarter of their side at least; where they do, their logits are averaged
    with weights that fall linearly towards a window's edge, so that no seam shows. An image of
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
    position = torch.arange(length, device=like.device, dtype=like.dtype)
    return torch.minimum(position, length - 1 - position) + 1


class View(NamedTuple):
    """What probabilities are averaged over.

    Attributes:
        scales: of the image's sides.
        flip: also the mirror image, at every scale.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False


@torch.inference_mode()
def predict_views(
    model: nn.Module, images: Tensor, views: Sequence[View], tile: int | None = None
) -> list[Tensor]:
    """Probabilities by each view; what several views share is computed once.

    Args:
        model: images (B, 3, H, W) → logits (B, C + 1, H, W).
        images: (B, 3, H, W), normalised.
        views: at least one.
        tile: side of the windows that larger images are cut into, None for no limit.

    Returns:
        A tensor (B, C + 1, H, W) per view, each pixel summing to 1.
    """
    size = (images.shape[-2], images.shape[-1])
    totals: list[Tensor | None] = [None] * len(views)
    for scale in dict.fromkeys(scale for view in views for scale in view.scales):
        takers = [i for i, view in enumerate(views) if scale in view.scales]
        scaled = resize(images, scaled_size(*size, scale)) if scale != 1.0 else images
        flipped = any(views[i].flip for i in takers)
        batch = with_flip(scaled) if flipped else scaled
        probs = resize(tiled(model, batch, tile).float(), size).softmax(dim=1)
        for i in takers:
            seen = fold_flip(probs) if views[i].flip else probs[: len(images)]
            before = totals[i]
            totals[i] = seen if before is None else before + seen
    means = zip(totals, views, strict=True)
    return [total / len(set(view.scales)) for total, view in means if total is not None]


Mask = NDArray[np.uint8]


class Prediction(NamedTuple):
    """What an image was segmented into.

    Attributes:
        mask: (H, W) class indices, of the image's own size.
        doubt: what is known of its uncertainty.
    """

    mask: Mask
    doubt: Doubt


@torch.inference_mode()
def predict_images(
    model: nn.Module,
    pixels: Tensor,
    modes: Sequence[PredictionMode],
    sizes: Sequence[tuple[int, int]],
    tile: int | None = None,
    autocast: Autocast = nullcontext,
    gate: Gate | None = None,
) -> list[list[Prediction]]:
    """Segment images of one shape in several ways; what they share is computed once.

    Args:
        model: normalised images → logits.
        pixels: (B, 3, H, W) uint8 RGB, on the model's device.
        modes: scales, flip and CRF of each mask.
        sizes: rows and columns of each image's masks.
        tile: see `predict_views`.
        autocast: around the networks alone.
        gate: says which classes an image may hold; None allows all of them.

    Returns:
        Of each image a prediction per mode.
    """
    views = list(dict.fromkeys(View(mode.scales, mode.flip) for mode in modes))
    images = augment.normalise_pixels(pixels)
    with autocast():
        probs = dict(zip(views, predict_views(model, images, views, tile), strict=True))
        likely = None if gate is None else gate.probabilities(images).cpu()
    allowed = _allowed(len(images), probs[views[0]].shape[1] - 1, likely, gate)
    made: list[list[Prediction]] = [[] for _ in sizes]
    for mode in modes:
        seen = probs[View(mode.scales, mode.flip)]
        first = [without_others(one, own) for one, own in zip(seen, allowed, strict=True)]
        found = refine_likely(list(pixels), first, make_crf(mode.crf))
        channels = from_device(
            [label_at(one, size) for one, size in zip(found, sizes, strict=True)]
        )
        signs = from_device(
            [
                prediction_signs(None if mode.crf == "none" else one, last)
                for one, last in zip(first, found, strict=True)
            ]
        )
        for i, (channel, own) in enumerate(zip(channels, allowed, strict=True)):
            mask = np.array([0, *own], np.uint8)[channel.numpy()]
            sure = [] if likely is None else likely[i].tolist()
            made[i].append(Prediction(mask, doubt_of_prediction(own, signs[i], sure)))
    return made


def _allowed(
    images: int, classes: int, likely: Tensor | None, gate: Gate | None
) -> list[list[int]]:
    """Mask values that each image may hold beside background."""
    if likely is None or gate is None:
        return [list(range(1, classes + 1))] * images
    return [[int(i) + 1 for i in row.nonzero()] for row in gate.allows(likely)]


def refine_likely(
    images: Sequence[Tensor], probs: Sequence[Tensor], refiner: Refiner | None
) -> list[Tensor]:
    """`refine` among the background and the classes that are likely anywhere in an image.

    A CRF's time grows with the labels, of which COCO has 81 and an image some ten at this limit.

    Args:
        images: (3, H_i, W_i) uint8 RGB each.
        probs: (C + 1, H_i, W_i) each, background first, every pixel summing to 1.
        refiner: such as a dense CRF; None leaves the probabilities.

    Returns:
        (C + 1, H_i, W_i) each, 0 for classes that took no part.
    """
    if refiner is None:
        return list(probs)
    # a pixel's likeliest class is kept, however many there are
    limits = [min(UNLIKELY, 0.5 / len(prob)) for prob in probs]
    tops = from_device([prob.flatten(1).amax(1) for prob in probs])
    chosen = [
        [label for label, top in enumerate(own.tolist()) if label == 0 or top >= limit]
        for own, limit in zip(tops, limits, strict=True)
    ]
    indices = [index_tensor(own, prob.device) for own, prob in zip(chosen, probs, strict=True)]
    kept = [prob.index_select(0, own) for prob, own in zip(probs, indices, strict=True)]
    refined = refine(images, [own / own.sum(dim=0) for own in kept], refiner)
    return [
        torch.zeros_like(prob).index_copy_(0, labels, own)
        for prob, labels, own in zip(probs, indices, refined, strict=True)
    ]


def label_at(probs: Tensor, size: tuple[int, int]) -> Tensor:
    """The likeliest class at an image's own size.

    Equals the argmax of the enlarged probabilities, but holds two planes of that size instead of
    one per class, which would take gigabytes for a photograph.

    Args:
        probs: (C + 1, h, w).
        size: (H, W).

    Returns:
        (H, W) uint8.
    """
    if tuple(probs.shape[1:]) == tuple(size):
        return best_channel(probs).to(torch.uint8)
    best = resize(probs[None, :1], size)[0, 0].clone()
    labels = torch.zeros(size, dtype=torch.uint8, device=probs.device)
    for label in range(1, len(probs)):
        plane = resize(probs[None, label : label + 1], size)[0, 0]
        labels.masked_fill_(plane > best, label)
        best = torch.maximum(best, plane)
    return labels
