"""How compact class activation is, and where it leads: what tells without masks what suits."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wsss.config import PseudoMasksConfig
from wsss.data.augment import normalise_pixels
from wsss.data.images import Sample
from wsss.engine.inference import Loaded, Steps, load, process, to_device
from wsss.engine.runtime import Runtime
from wsss.models.classifier import TagClassifier
from wsss.models.multiscale import seed_size
from wsss.seeding.cam import fold_flip, resize, scaled_size, with_flip
from wsss.seeding.candidates import Compactness
from wsss.seeding.maps import Evidence, score_maps
from wsss.seeding.masks import margins
from wsss.seeding.walks import Seeding

RARE = 0.99
"""Share of locations without a class that its activation has to exceed to be surely there."""
_LOCATIONS = 200
"""Of an image, whose activation of classes that it doesn't have is kept."""


class _Seen(NamedTuple):
    """What is kept of an image; L tags.

    Attributes:
        tags: L class indices.
        absent: (C, n) activation at some locations.
        positive: (L,) shares of locations with activation above 0.
        own: (L, h, w) activation of the tags, before anything is cut off.
        seed: (L, h, w), where the walked seeds are.
    """

    tags: list[int]
    absent: Tensor
    positive: Tensor
    own: Tensor
    seed: Tensor


def compactness(
    model: TagClassifier,
    samples: Sequence[Sample],
    settings: PseudoMasksConfig,
    runtime: Runtime,
    max_side: int | None,
    skip_damaged: bool = False,
) -> Compactness:
    """How compact class activation is, and how sure a walk's seeds are, at scale 1 with flip.

    Args:
        model: classifier in eval mode.
        samples: images, some with tags.
        settings: name the walks, and the threshold of seeds.
        runtime: where to compute.
        max_side: larger images are reduced to this long side.
        skip_damaged: leave out images that can't be read.
    """
    seen: list[_Seen] = []

    @torch.inference_mode()
    def compute(batch: list[Loaded]) -> list[_Seen]:
        pixels = to_device([one.image for one in batch], runtime.device)
        return [
            _look(model, normalise_pixels(pixels[i : i + 1]), list(one.sample.tags), settings)
            for i, one in enumerate(batch)
        ]

    steps: Steps[Sample, Loaded, _Seen] = Steps(
        partial(load, max_side=max_side), lambda one: one.image.shape, compute, seen.append
    )
    process(samples, steps, runtime, "tune: class activation", skip_damaged)
    positive = [float(share) for one in seen for share in one.positive]
    if not positive:
        return Compactness(0.0, None)
    tagged = sum(bool(one.tags) for one in seen)
    return Compactness(float(np.mean(positive)), _sure(seen), tagged)


def _look(
    model: TagClassifier, image: Tensor, tags: list[int], settings: PseudoMasksConfig
) -> _Seen:
    height, width = image.shape[-2:]
    output = model(with_flip(resize(image, scaled_size(height, width, 1.0))))
    cam, size = output.cam.float(), seed_size(height, width)
    mask = torch.zeros(1, cam.shape[1], dtype=torch.bool)
    mask[0, tags] = True
    evidence = Evidence(cam.relu(), output.assignments, flipped=True)
    walked = score_maps([evidence], mask, Seeding(settings.walks), size)[0, tags]
    folded = fold_flip(cam)
    locations = folded[0].flatten(1)
    return _Seen(
        tags,
        locations[:, :: max(1, locations.shape[1] // _LOCATIONS)].cpu(),
        (cam[0, tags] > 0).float().mean(dim=(1, 2)).cpu(),
        resize(folded[:, tags], size)[0].cpu(),
        (margins(walked, settings.background, size) > 0).cpu(),
    )


def _sure(seen: Sequence[_Seen]) -> float | None:
    """Share of a seed where the class is surely there, mean over tags; None without comparison."""
    classes = range(len(seen[0].absent))
    without = [[one.absent[c] for one in seen if c not in one.tags] for c in classes]
    least = [torch.quantile(torch.cat(found), RARE) if found else None for found in without]
    shares = [
        float((own[seed] > bound).float().mean())
        for one in seen
        for tag, own, seed in zip(one.tags, one.own, one.seed, strict=True)
        if (bound := least[tag]) is not None and seed.any()
    ]
    return float(np.mean(shares)) if shares else None
