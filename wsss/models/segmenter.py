"""The segmenter of stage 3: a decoder of segmentation-models-pytorch on a GLNet, or another net."""

from collections.abc import Sequence
from typing import Any, cast

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from wsss.config import RunConfig
from wsss.engine.checkpoint import built, read_metadata
from wsss.errors import WsssError, brief, first_line
from wsss.labels import BACKGROUND
from wsss.models.backbone import is_glnet
from wsss.models.start_from import start_file
from wsss.models.timm_backbone import Adapt, fix_padding, matching_weights, statistics_of
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
        backbone: name of the GLNet, or of another model of timm.
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
        glnet = is_glnet(backbone)
        reason = ""
        try:
            self.net: nn.Module = build(
                f"tu-{backbone}", encoder_weights=None, classes=num_classes, **arguments
            )
            reason = refusal(self.net) if arguments or not glnet else ""
        except Exception as error:  # arguments of any kind make a network raise anything
            reason = first_line(error)[:200]
        if reason and not glnet:
            raise WsssError(
                f"train_seg.backbone {backbone!r} can't carry a {decoder} ({reason}): take a model "
                "of timm with feature maps of strides 4 to 32 for images of any size, such as "
                "resnet50."
            )
        if reason:
            raise WsssError(
                f"train_seg.decoder_args {brief(decoder_args)} don't build a {decoder} ({reason}): "
                "take arguments that segmentation-models-pytorch knows."
            )
        fix_padding(self.net)
        self.adapt = nn.Identity() if glnet else Adapt(statistics_of(backbone))
        if not background:
            cast(Any, self.net).segmentation_head.append(WithoutBackground())

    @property
    def encoder(self) -> nn.Module:
        """The pretrained part: the GLNet, or the other model's feature maps."""
        maps: nn.Module = self.net.encoder.model  # type: ignore[union-attr, assignment]
        inner = getattr(maps, "model", None)
        return inner if isinstance(inner, nn.Module) else maps

    @property
    def graph(self) -> nn.Module:
        """What a graph of the segmenter holds: all of it but the resizing to whole strides."""
        return nn.Sequential(self.adapt, self.net)

    def load_backbone(self, backbone: nn.Module) -> None:
        """Start the encoder from a model's weights."""
        self.encoder.load_state_dict(matching_weights(backbone, self.encoder))

    def take_over(
        self, other: "Segmenter", theirs: Sequence[str], own: Sequence[str]
    ) -> tuple[str, ...]:
        """Start from a segmenter of the same shape that may know other classes.

        Args:
            other: whose weights are taken; answers for classes that it doesn't know stay as here.
            theirs: its classes, without the background.
            own: the classes here.

        Returns:
            The classes that both know.
        """
        shared = tuple(name for name in own if name in theirs)
        rows = [
            [(BACKGROUND, *names).index(name) for name in (BACKGROUND, *shared)]
            for names in (own, theirs)
        ]
        state = self.state_dict()
        for name, value in other.state_dict().items():
            if name.startswith("net.segmentation_head."):
                state[name][rows[0]] = value[rows[1]]
            else:
                state[name] = value
        self.load_state_dict(state)
        return shared

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) of any size → logits (B, C + 1, H, W)."""
        return in_whole_strides(self.net, self.adapt(images))


def segmenter_metadata(config: RunConfig, class_names: Sequence[str]) -> dict[str, Any]:
    """What a model file says of the segmenter that a config describes; see `build_segmenter`."""
    other = config.train_seg.backbone
    shape = {
        "backbone": other or config.backbone.name,
        "backbone_args": {} if other else config.backbone.args,
        "decoder": config.train_seg.decoder,
        "decoder_args": config.train_seg.decoder_args,
    }
    start = start_file(config, class_names)
    if start is not None:
        known = {"decoder_args": {}, **read_metadata(start, "segmenter")}
        try:
            built(build_segmenter, known, start, "segmenter")
        except WsssError as error:
            raise WsssError(f"train_seg.start_from, {start}: {error}") from None
        shape = {key: known[key] for key in shape}
    return {
        "kind": "segmenter",
        **shape,
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
