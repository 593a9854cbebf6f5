"""What a trained classifier says of a picture, over scales and flip: all that seeds are made of."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glmix.attention import attention_modules, recorded_attention
from wsss import cam as cams
from wsss.config import PseudoMasksConfig
from wsss.data.transforms import normalise
from wsss.errors import WsssError
from wsss.models.classifier import ClassifierOutput, TagClassifier
from wsss.walk import Border, Evidence, Seeding, Walk, blocks_of

# Scores of a picture are kept at this stride: half of the finest grid that walks by default.
SEED_STRIDE = 4


def seed_size(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Rows and columns of the score maps of an (H, W, 3) picture."""
    height, width = image.shape[:2]
    return -(-height // SEED_STRIDE), -(-width // SEED_STRIDE)


def seeding_of(settings: PseudoMasksConfig) -> Seeding:
    """The walks of a config as `wsss.walk` takes them."""
    border = None
    if settings.border is not None:
        walk = Walk(settings.border.block, settings.border.steps)
        border = Border(walk, settings.border.width, settings.border.weight)
    return Seeding(
        tuple(Walk(**walk.model_dump()) for walk in settings.walks),
        slot_map=settings.slot_map,
        silent_by_slots=settings.silent_by_slots,
        confine=settings.confine,
        confine_to=settings.confine_to,
        border=border,
    )


def needs_attention(seeding: Seeding) -> bool:
    """Whether a walk goes by attention, which `observe` keeps only where asked."""
    return any(walk.kind in ("attention", "tokens") for walk in seeding.walks)


def check_walks(seeding: Seeding, model: TagClassifier) -> None:
    """Refuse walks through blocks that the backbone doesn't have.

    Raises:
        WsssError: names the blocks that have slots, or attention among tokens.
    """
    for walk in seeding.every_walk:
        tokens = walk.kind == "tokens"
        what = "is no attention block of" if tokens else "has no slots in"
        names = list(attention_modules(model.backbone, tokens))
        if tokens:  # attention of finer grids isn't used
            names = [name for name in names if name.split(".")[0] in ("16", "32")]
        key = "walks" if walk in seeding.walks else "border"
        if not blocks_of(walk.block, names):
            raise WsssError(
                f"pseudo_masks.{key} names the block {walk.block!r}, which {what} this "
                f"backbone: choose among {', '.join(names)}."
            )


def evidence_in_training(output: ClassifierOutput, tags: Tensor, slot_block: str) -> Evidence:
    """What a classifier in training says of a batch, without gradient; absent classes say nothing.

    Args:
        output: of B pictures.
        tags: (B, C) in {0, 1}.
        slot_block: of the classifier.
    """
    assignments = {
        name: found._replace(logits=found.logits.detach().float())
        for name, found in output.assignments.items()
    }
    cam = output.cam.detach().float().relu() * tags[:, :, None, None]
    return Evidence(cam, assignments, output.slot_scores.detach(), slot_block, (), {})


@torch.inference_mode()
def observe(
    model: TagClassifier,
    image: NDArray[np.uint8],
    tags: tuple[int, ...],
    scales: tuple[float, ...],
    flip: bool,
    attention: bool = False,
) -> list[Evidence]:
    """One pass of the network a scale.

    Args:
        model: classifier in eval mode.
        image: (H, W, 3) uint8 RGB.
        tags: class indices from 0, the channels of the evidence.
        scales: of the picture's size.
        flip: the mirror image beside it.
        attention: keep what attention is computed from.

    Returns:
        A scale each.
    """
    height, width = image.shape[:2]
    normalised = normalise(image)[None].to(model.bias.device)
    found = []
    for scale in scales:
        images = cams.resize(normalised, cams.scaled_size(height, width, scale))
        images = cams.with_flip(images) if flip else images
        recorded: AbstractContextManager[Mapping[str, Tensor]] = (
            recorded_attention(model.backbone) if attention else nullcontext({})
        )
        with recorded as among:
            features, assignments = model.backbone.forward_slots(images)
        output = model.answer(features, assignments)
        own = list(tags)
        found.append(
            Evidence(
                cam=output.cam[:, own].float().relu(),
                assignments=output.assignments,
                slot_scores=output.slot_scores[..., own],
                slot_block=model.slot_block,
                features=features,
                attention=among,
            )
        )
    return found
