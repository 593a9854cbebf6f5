"""The segmenter of stage 3: a segmentation-models-pytorch decoder on a GLNet encoder."""

from collections.abc import Sequence
from typing import Any, cast

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

import glmix
from wsss.config import RunConfig
from wsss.errors import WsssError, brief, first_line
from wsss.models.trial import refusal
from wsss.seeding.cam import in_whole_strides

# segmentation-models-pytorch's class of each decoder
_DECODERS = {"segformer": "Segformer", "fpn": "FPN", "upernet": "UPerNet", "unet": "Unet"}


_NEVER = -1e4
"""Logit of the background where there is none: its probability is 0 in every precision."""


class WithoutBackground(nn.Module):
    """Logits (B, C + 1, H, W) whose first channel, the background, is never the largest."""

    def forward(self, logits: Tensor) -> Tensor:
        """Of the same shape."""
        return torch.cat([torch.full_like(logits[:, :1], _NEVER), logits[:, 1:]], dim=1)


class Segmenter(nn.Module):
    """(B, 3, H, W) normalised images → logits (B, C + 1, H, W), background first.

    Args:
        backbone: name of the GLNet.
        backbone_args: further arguments of it.
        decoder: `segformer`, `fpn`, `upernet` or `unet`.
        num_classes: C + 1.
        decoder_args: further arguments of the decoder.
        background: whether a pixel may be background; if not, its probability is 0 everywhere.

    Raises:
        WsssError: the decoder has no such argument.
    """

    def __init__(
        self,
        backbone: str,
        backbone_args: dict[str, Any],
        decoder: str,
        num_classes: int,
        decoder_args: dict[str, Any] | None = None,
        background: bool = True,
    ) -> None:
        super().__init__()
        build = getattr(smp, _DECODERS[decoder])
        arguments = {**backbone_args, **(decoder_args or {})}
        reason = ""
        try:
            self.net: nn.Module = build(
                f"tu-{backbone}", encoder_weights=None, classes=num_classes, **arguments
            )
            reason = refusal(self.net) if arguments else ""
        except Exception as error:  # arguments of any kind make a network raise anything
            reason = first_line(error)[:200]
        if reason:
            raise WsssError(
                f"train_seg.decoder_args {brief(decoder_args)} don't build a {decoder} ({reason}): "
                "take arguments that segmentation-models-pytorch knows."
            )
        if not background:
            cast(Any, self.net).segmentation_head.append(WithoutBackground())

    @property
    def encoder(self) -> nn.Module:
        """The GLNet inside."""
        encoder: nn.Module = self.net.encoder.model.model  # type: ignore[union-attr, assignment]
        return encoder

    def load_backbone(self, backbone: glmix.GLNet) -> None:
        """Start the encoder from a GLNet's weights."""
        own = self.encoder.state_dict()
        self.encoder.load_state_dict({k: v for k, v in backbone.state_dict().items() if k in own})

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) of any size → logits (B, C + 1, H, W)."""
        return in_whole_strides(self.net, images)


def segmenter_metadata(config: RunConfig, class_names: Sequence[str]) -> dict[str, Any]:
    """What a model file says of the segmenter that a config describes; see `build_segmenter`."""
    return {
        "kind": "segmenter",
        "backbone": config.backbone.name,
        "backbone_args": config.backbone.args,
        "decoder": config.train_seg.decoder,
        "decoder_args": config.train_seg.decoder_args,
        "class_names": list(class_names),
        "background": config.data.background,
    }


def build_segmenter(metadata: dict[str, Any]) -> Segmenter:
    """An untrained segmenter of the shape that a model file's metadata describes."""
    return Segmenter(
        metadata["backbone"],
        metadata["backbone_args"],
        metadata["decoder"],
        len(metadata["class_names"]) + 1,
        metadata.get("decoder_args"),
        metadata.get("background", True),
    )
