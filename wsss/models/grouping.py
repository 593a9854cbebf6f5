"""What stage 1 adds to the tags' cross-entropy so that slots group objects: terms by weight."""

import torch
from torch import Tensor

from wsss.cam import resize, scaled_size
from wsss.config import GroupingConfig
from wsss.errors import WsssError
from wsss.models import slot_losses as losses
from wsss.models.classifier import ClassifierOutput, TagClassifier, slot_blocks
from wsss.models.evidence import evidence_in_training
from wsss.walk import Seeding, Walk
from wsss.walk.maps import walked

# Size of the other view of `consistency` over the first's: an object is seen smaller, and whole.
VIEW_SCALE = 2 / 3


def check_blocks(settings: GroupingConfig, model: TagClassifier) -> None:
    """Refuse blocks that the backbone doesn't have.

    Raises:
        WsssError: names the blocks that have slots.
    """
    known = slot_blocks(model.backbone)
    for name in settings.blocks:
        if name not in known:
            raise WsssError(
                f"train_cls.grouping.blocks names the block {name!r}, which has no slots in this "
                f"backbone: choose among {', '.join(known)}."
            )


def grouping_loss(
    settings: GroupingConfig,
    model: TagClassifier,
    images: Tensor,
    output: ClassifierOutput,
    tags: Tensor,
) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of the terms that `settings` ask for, and the value of each.

    Args:
        settings: weights; a term of weight 0 is not computed. One at least is above 0.
        model: the classifier in training, which answers on the other view of `consistency`.
        images: (B, 3, H, W), what `output` answers.
        output: of the classifier.
        tags: (B, C) in {0, 1}.
    """
    seen = other_view(model, images) if settings.consistency else None
    # autocast would compute the walks in bfloat16, which swallows differences of pooled logits
    with torch.autocast(images.device.type, enabled=False):
        terms = _terms(settings, model.slot_block, output, seen, tags)
    weighed = [getattr(settings, name) * term for name, term in terms.items()]
    return torch.stack(weighed).sum(), {name: float(t.detach()) for name, t in terms.items()}


def _terms(
    settings: GroupingConfig,
    slot_block: str,
    output: ClassifierOutput,
    seen: ClassifierOutput | None,
    tags: Tensor,
) -> dict[str, Tensor]:
    blocks = [output.assignments[name] for name in settings.blocks]
    cam, terms = output.cam.float(), {}
    if settings.walked:
        terms["walked"] = _mean([losses.walked_loss(cam, block, tags) for block in blocks])
    if settings.erasing:
        terms["erasing"] = _mean([losses.erasing_loss(cam, block, tags) for block in blocks])
    if settings.background:
        terms["background"] = _mean([losses.background_loss(cam, block, tags) for block in blocks])
    if settings.sharpness:
        terms["sharpness"] = _mean([losses.sharpness_loss(block) for block in blocks])
    if settings.contrast:
        own = output.assignments[slot_block]
        terms["contrast"] = losses.contrast_loss(output.features.float(), cam, own, tags)
    if seen is not None:
        walks = tuple(Walk(block, 2) for block in settings.blocks)
        evidence = evidence_in_training(seen, torch.ones_like(tags), slot_block)
        target = walked(evidence, Seeding(walks)).flip(-1)
        terms["consistency"] = losses.consistency_loss(
            cam, target, tags * seen.logits.float().sigmoid()
        )
    return terms


@torch.no_grad()
def other_view(model: TagClassifier, images: Tensor) -> ClassifierOutput:
    """The classifier's answer, as it would be at a test, on the mirrored and smaller pictures.

    Args:
        model: in training, and left so; its statistics are not updated.
        images: (B, 3, H, W).
    """
    size = scaled_size(images.shape[-2], images.shape[-1], VIEW_SCALE)
    model.eval()
    output: ClassifierOutput = model(resize(images.flip(-1), size))
    model.train()
    return output


def _mean(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean()
