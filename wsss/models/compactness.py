"""How compact class activation is: what tells without masks whether a walk helps."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from wsss.data.augment import normalise_pixels
from wsss.data.images import Sample
from wsss.engine.inference import Loaded, Steps, load, process, to_device
from wsss.engine.runtime import Runtime
from wsss.models.classifier import TagClassifier
from wsss.models.multiscale import observe


def positive_share(
    model: TagClassifier, samples: Sequence[Sample], runtime: Runtime, max_side: int | None
) -> float:
    """The share of locations that are evidence for a tag by themselves, mean over images' tags.

    Args:
        model: classifier in eval mode.
        samples: images with tags.
        runtime: where to compute.
        max_side: larger images are reduced to this long side.
    """
    shares: list[float] = []

    @torch.inference_mode()
    def compute(batch: list[Loaded]) -> list[float]:
        pixels = to_device([one.image for one in batch], runtime.device)
        (seen,) = observe(model, normalise_pixels(pixels), (1.0,), False)
        positive = (seen.cam > 0).float().mean(dim=(2, 3)).cpu()
        return [
            float(own[list(one.sample.tags)].mean())
            for own, one in zip(positive, batch, strict=True)
        ]

    steps: Steps[Sample, Loaded, float] = Steps(
        partial(load, max_side=max_side), lambda one: one.image.shape, compute, shares.append
    )
    process(samples, steps, runtime, "tune: class activation")
    return float(np.mean(shares))
