"""The heads of stage 1 on a backbone that is left as it is.

The backbone sees every image once; what the heads need of it is kept, and they learn from that.
Whole images take the place of random crops, and a training takes seconds.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from glmix.clustering import soft_cluster
from wsss.data.augment import normalise_pixels
from wsss.data.features import Features
from wsss.data.images import Sample
from wsss.engine.inference import (
    Loaded,
    Steps,
    from_device,
    load,
    network_autocast,
    process,
    to_device,
)
from wsss.engine.parameter_groups import freeze
from wsss.engine.runtime import Runtime
from wsss.models.classifier import ClassifierOutput, TagClassifier
from wsss.seeding.cam import resize, scaled_size

_MEASURED = 500
"""Images that the statistics of channels are taken of, at most."""


def keep_features(
    model: TagClassifier,
    samples: Sequence[Sample],
    file: Callable[[str], Path],
    runtime: Runtime,
    max_side: int | None,
    skip_damaged: bool = False,
) -> list[Sample]:
    """Compute and write what the heads need of images.

    Args:
        model: on the runtime's device.
        samples: images.
        file: of the features of the image with an id.
        runtime: where to compute; its processes share the work.
        max_side: larger images are reduced to this long side.
        skip_damaged: leave out images that can't be read.

    Returns:
        The images that were left out.
    """
    model.eval()

    def compute(batch: list[Loaded]) -> list[tuple[Sample, Features]]:
        pixels = to_device([one.image for one in batch], runtime.device)
        with network_autocast(runtime)():
            found = features_of(model, normalise_pixels(pixels))
        return [
            (one.sample, Features(*from_device([part[i] for part in found])))
            for i, one in enumerate(batch)
        ]

    steps = Steps(
        partial(load, max_side=max_side),
        lambda one: one.image.shape,
        compute,
        lambda made: made[1].save(file(made[0].id)),
    )
    _, left_out = process(samples, steps, runtime, "features", skip_damaged)
    return left_out


@torch.inference_mode()
def features_of(model: TagClassifier, images: Tensor) -> Features:
    """What the heads need of images (B, 3, H, W), normalised; with an axis of B, in half precision.

    An image is seen once, as it is: mirror images and other scales gave no better heads.
    """
    scaled = resize(images, scaled_size(images.shape[-2], images.shape[-1], 1.0))
    stages, found = model.backbone.forward_slots(scaled)
    assignment = next(one for one in found if one.name == model.slot_block)
    slots = soft_cluster(assignment.logits, stages[2].flatten(2).transpose(1, 2))
    deep = model.backbone.norm(stages[3])
    return Features(stages[2].half(), deep.half(), slots.half())


class HeadsOnFeatures(nn.Module):
    """The heads of a classifier on kept features, every channel with mean 0 and variance 1.

    The batch norm of stage 3 takes the statistics of whole images for good; those of stage 4
    become part of the weights at the end.

    Attributes:
        model: the classifier, whose backbone and batch norm are frozen.
    """

    def __init__(self, model: TagClassifier, files: Sequence[Path]) -> None:
        """Measures the channels on files of features of images."""
        super().__init__()
        freeze(model.backbone)
        freeze(model.norm3)
        self.model = model
        third, deep = _Moments(), _Moments()
        for path in files[:: -(-len(files) // _MEASURED)]:
            features = Features.load(path)
            third.add(features.third)
            deep.add(features.deep)
        model.norm3.reset_parameters()
        cast(Tensor, model.norm3.running_mean).copy_(third.mean)
        cast(Tensor, model.norm3.running_var).copy_(third.variance)
        deviation = (deep.variance + model.norm3.eps).sqrt()
        self.mean = nn.Buffer(deep.mean[:, None, None].to(model.bias.device))
        self.deviation = nn.Buffer(deviation[:, None, None].to(model.bias.device))

    def forward(self, *features: Tensor) -> ClassifierOutput:
        """Logits of features as `data.features.by_shape` has them, without their tags."""
        logits, slot_logits = [], []
        shapes = zip(*(features[i::3] for i in range(3)), strict=True)
        for third, deep, slots in shapes:
            cam = self.model.activation(
                self.model.norm3(third.float()), (deep.float() - self.mean) / self.deviation
            )
            logits.append(self.model.pool(cam))
            normed = self.model.norm3(slots.float().transpose(1, 2).unsqueeze(-1))
            slot_logits.append(self.model.slot_answer(normed.squeeze(-1).transpose(1, 2)))
        return ClassifierOutput(torch.cat(logits), torch.empty(0), torch.cat(slot_logits), {})

    @torch.no_grad()
    def fold(self) -> None:
        """Make the classifier answer images as this answers their features; once, at the end."""
        kernel = self.model.cam4.weight
        kernel.div_(self.deviation)
        self.model.bias.sub_((kernel * self.mean).sum(dim=(1, 2, 3)))


class _Moments:
    """Mean and variance of channels over all locations of features (D, h, w)."""

    def __init__(self) -> None:
        self._count, self._sum, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, features: Tensor) -> None:
        locations = features.double().flatten(1)
        self._count += locations.shape[1]
        self._sum = self._sum + locations.sum(dim=1)
        self._squares = self._squares + locations.square().sum(dim=1)

    @property
    def mean(self) -> Tensor:
        return (self._sum / self._count).float()

    @property
    def variance(self) -> Tensor:
        mean = self._sum / self._count
        return (self._squares / self._count - mean.square()).clamp_min(0).float()
