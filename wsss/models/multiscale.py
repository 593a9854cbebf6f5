"""What a trained classifier says of images over scales and flip: all that seeds are made of."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from glmix.attention import recorded_attention
from wsss.errors import WsssError
from wsss.models.classifier import TagClassifier, slot_blocks
from wsss.seeding.cam import resize, scaled_size, with_flip
from wsss.seeding.maps import Evidence
from wsss.seeding.walks import Seeding, blocks_of

SEED_STRIDE = 4
"""Stride at which an image's score maps are kept: half of the finest grid that walks by default."""


def seed_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the score maps of an image."""
    return -(-height // SEED_STRIDE), -(-width // SEED_STRIDE)


def check_walks(seeding: Seeding, model: TagClassifier) -> None:
    """Refuse walks through blocks that the backbone doesn't have.

    Raises:
        WsssError: names the blocks that have slots.
    """
    names = slot_blocks(model.glnet)
    for walk in seeding.every_walk:
        if not blocks_of(walk.block, names):
            key = "walks" if walk in seeding.walks else "border"
            raise WsssError(
                f"pseudo_masks.{key} names the block {walk.block!r}, which has no slots in this "
                f"backbone: choose among {', '.join(names)}."
            )


@torch.inference_mode()
def observe(
    model: TagClassifier,
    images: Tensor,
    scales: tuple[float, ...],
    flip: bool,
    attention: bool = False,
) -> list[Evidence]:
    """One pass of the network per scale.

    Args:
        model: classifier in eval mode.
        images: (B, 3, H, W), normalised, on the model's device.
        scales: of the images' size.
        flip: the mirror images, too.
        attention: record attention among tokens, for the baselines that walk by it.

    Returns:
        What the classifier says at each scale.
    """
    height, width = images.shape[-2:]
    found = []
    for scale in scales:
        scaled = resize(images, scaled_size(height, width, scale))
        scaled = with_flip(scaled) if flip else scaled
        recorded: AbstractContextManager[Mapping[str, Tensor]] = (
            recorded_attention(model.glnet) if attention else nullcontext({})
        )
        with recorded as among:
            features, assignments = model.backbone.forward_slots(scaled)
        output = model.answer(features, assignments)
        cam = output.cam.float().relu()
        logits = output.logits.float().unflatten(0, (-1, len(images))).mean(dim=0)
        found.append(Evidence(cam, output.assignments, features, flip, among, logits))
    return found
