"""The classifier of stage 1: a GLNet that answers with tags, activation maps and slots."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import glmix
from glmix.attention import attention_modules
from glmix.clustering import SlotAssignment, soft_cluster
from wsss.config import RunConfig
from wsss.errors import WsssError
from wsss.models.backbone import create_backbone
from wsss.models.backbone_pair import BackbonePair, pair
from wsss.models.trial import refusal


class ClassifierOutput(NamedTuple):
    """What the classifier answers.

    Attributes:
        logits: (B, C), a tag each.
        cam: (B, C, h, w) at stride 16, logits of every location; pooled over the grid: `logits`.
        slot_logits: (B, C), from the slots of one block.
        assignments: block name (stride.index) → slot assignment.
    """

    logits: Tensor
    cam: Tensor
    slot_logits: Tensor
    assignments: dict[str, SlotAssignment]


class TagClassifier(nn.Module):
    """Class activation from stages 3 and 4 together; an auxiliary head on the slots of one block.

    cam = W₃·BN(f₃) + up(W₄·BN(f₄)) + b; logits = pool(cam). The auxiliary head gathers f₃ into the
    slots of a block (before slot self-attention, so that a slot speaks of its own pixels), scores
    every slot for every class and takes the mean of the highest: multiple-instance learning.

    Args:
        backbone: a GLNet, or one beside another network whose features are read, too.
        num_classes: C, foreground classes.
        slot_block: block of stage 3 whose slots are classified, as stride.index.
        slot_top: slots per class that the mean takes.
        pooling: `mean`, or `lse`: log of the mean of exp(cam), between mean and maximum.

    Raises:
        WsssError: stage 3 has no such block, or one without slots.
    """

    def __init__(
        self,
        backbone: glmix.GLNet | BackbonePair,
        num_classes: int,
        slot_block: str,
        slot_top: int,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        _check_block(self.glnet, slot_block)
        dims = [info["num_chs"] for info in backbone.feature_info]
        self.norm3 = nn.BatchNorm2d(dims[2])
        self.cam3 = nn.Conv2d(dims[2], num_classes, 1, bias=False)
        self.cam4 = nn.Conv2d(dims[3], num_classes, 1, bias=False)
        self.bias = nn.Parameter(torch.full((num_classes,), -2.0))
        self.slot_head = nn.Linear(dims[2], num_classes)
        self.slot_block, self.slot_top, self.pooling = slot_block, slot_top, pooling
        for conv in (self.cam3, self.cam4):
            nn.init.normal_(conv.weight, std=0.01)
        nn.init.constant_(self.slot_head.bias, -2.0)

    @property
    def glnet(self) -> glmix.GLNet:
        """The backbone that has the slots."""
        both = self.backbone
        return both.glnet if isinstance(both, BackbonePair) else both

    def forward(self, images: Tensor) -> ClassifierOutput:
        """(B, 3, H, W), normalised images of any size."""
        return self.answer(*self.backbone.forward_slots(images))

    def answer(self, features: list[Tensor], found: list[SlotAssignment]) -> ClassifierOutput:
        """The answer to what `forward_slots` of the backbone found in images."""
        assignments = {assignment.name: assignment for assignment in found}
        third = self.norm3(features[2])
        slots = soft_cluster(assignments[self.slot_block].logits, third.flatten(2).transpose(1, 2))
        cam = self.activation(third, self.backbone.norm(features[3]))
        return ClassifierOutput(self.pool(cam), cam, self.slot_answer(slots), assignments)

    def activation(self, third: Tensor, deep: Tensor) -> Tensor:
        """Class activation (B, C, h, w) of features (B, D, h, w) of stages 3 and 4, normalised."""
        cam = self.cam3(third)
        deep = F.interpolate(self.cam4(deep), cam.shape[-2:], mode="bilinear", align_corners=False)
        # with the bias, only locations that are evidence for the class by themselves stay positive
        return cam + deep + self.bias[:, None, None]

    def slot_answer(self, slots: Tensor) -> Tensor:
        """Logits (B, C) of slots (B, K, D) that normalised features of stage 3 are gathered in."""
        scores = self.slot_head(slots)
        return scores.topk(min(self.slot_top, scores.shape[1]), dim=1).values.mean(dim=1)

    def pool(self, cam: Tensor) -> Tensor:
        """Logits (B, C) of class activation (B, C, h, w)."""
        flat = cam.flatten(2)
        if self.pooling == "mean":
            return flat.mean(dim=2)
        return flat.float().logsumexp(dim=2) - math.log(flat.shape[2])

    def loss(self, output: ClassifierOutput, tags: Tensor, slot_weight: float) -> Tensor:
        """Binary cross-entropy of the tags, and of the slots' answer.

        Args:
            output: of `forward`.
            tags: (B, C) in {0, 1}.
            slot_weight: of the auxiliary term.
        """
        main = F.binary_cross_entropy_with_logits(output.logits.float(), tags)
        auxiliary = F.binary_cross_entropy_with_logits(output.slot_logits.float(), tags)
        return main + slot_weight * auxiliary


def slot_blocks(backbone: glmix.GLNet) -> list[str]:
    """Names of the blocks with slots, as stride.index, in network order."""
    return list(attention_modules(backbone, tokens=False))


def _check_block(backbone: glmix.GLNet, slot_block: str) -> None:
    known = [name for name in slot_blocks(backbone) if name.startswith("16.")]
    if slot_block not in known:
        others = f"among {', '.join(known)}" if known else "another backbone, it has none"
        raise WsssError(
            f"train_cls.slot_block is {slot_block!r}, which is not a block with slots at stride "
            f"16 of this backbone: choose {others}."
        )


def new_classifier(config: RunConfig, classes: int, trained: bool = True) -> TagClassifier:
    """The classifier that a config describes, heads from the seed.

    Args:
        config: of the run.
        classes: how many.
        trained: whether backbones get the weights that the config names.
    """
    torch.manual_seed(config.seed)
    own, heads = config.backbone, config.train_cls
    backbone = _backbone(
        (own.name, own.weights if trained else None, own.args),
        heads.second_backbone,
        heads.second_backbone_weights if trained else None,
    )
    return TagClassifier(backbone, classes, heads.slot_block, heads.slot_top, heads.pooling)


def _backbone(
    own: tuple[str, Path | str | None, dict[str, Any]],
    second: str | None,
    weights: Path | str | None = None,
) -> glmix.GLNet | BackbonePair:
    glnet = create_backbone(*own)
    return glnet if second is None else pair(glnet, second, weights)


def build_classifier(metadata: dict[str, Any]) -> TagClassifier:
    """An untrained classifier of the shape that a model file's metadata describes."""
    own = (metadata["backbone"], None, metadata["backbone_args"])
    backbone = _backbone(own, metadata.get("second_backbone"))
    model = TagClassifier(
        backbone,
        len(metadata["class_names"]),
        metadata["slot_block"],
        metadata["slot_top"],
        metadata.get("pooling", "mean"),
    )
    reason = refusal(model)
    if reason:
        raise WsssError(f"The metadata of the classifier don't build one ({reason}): train again.")
    return model
