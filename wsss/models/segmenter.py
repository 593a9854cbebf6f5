"""The segmenter of stage 3: a segmentation-models-pytorch decoder on a GLNet encoder."""

import importlib
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

import glmix
from wsss.config import RunConfig
from wsss.errors import WsssError
from wsss.models.views import View, predict_views

# Where the class of each decoder is; the library is loaded when one is built.
_LIBRARY = "segmentation_models_pytorch"
_DECODERS = {
    "segformer": (_LIBRARY, "Segformer"),
    "fpn": (_LIBRARY, "FPN"),
    "upernet": (_LIBRARY, "UPerNet"),
    "unet": (_LIBRARY, "Unet"),
    "deeplabv3plus": ("wsss.models.deeplab", "DeepLabV3Plus"),
}


def decoder_library() -> Any:
    """The module segmentation_models_pytorch.

    Raises:
        WsssError: it isn't installed.
    """
    try:
        return importlib.import_module(_LIBRARY)
    except ImportError:
        raise WsssError(
            "segmentation-models-pytorch is not installed, and the segmenter needs it: "
            "pip install 'wsss[seg]'."
        ) from None


class Segmenter(nn.Module):
    """(B, 3, H, W) normalised pictures → logits (B, C + 1, H, W), background first.

    Args:
        backbone: name of the GLNet.
        backbone_args: further arguments of it.
        decoder: `segformer`, `fpn`, `upernet`, `unet` or `deeplabv3plus`.
        num_classes: C + 1.
        decoder_args: further arguments of the decoder.

    Raises:
        WsssError: segmentation-models-pytorch isn't installed, or the decoder has no such argument.
    """

    def __init__(
        self,
        backbone: str,
        backbone_args: dict[str, Any],
        decoder: str,
        num_classes: int,
        decoder_args: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        decoder_library()
        module, name = _DECODERS[decoder]
        build = getattr(importlib.import_module(module), name)
        arguments = {**backbone_args, **(decoder_args or {})}
        try:
            self.net: nn.Module = build(
                f"tu-{backbone}", encoder_weights=None, classes=num_classes, **arguments
            )
        except (TypeError, ValueError) as error:
            raise WsssError(
                f"train_seg.decoder_args {decoder_args} don't build a {decoder} ({error}): "
                "take arguments that segmentation-models-pytorch knows."
            ) from None

    @property
    def encoder(self) -> nn.Module:
        """The GLNet inside."""
        encoder: nn.Module = self.net.encoder.model.model  # type: ignore[union-attr, assignment]
        return encoder

    def load_backbone(self, backbone: glmix.GLNet) -> None:
        """Start the encoder from a GLNet's weights."""
        own = self.encoder.state_dict()
        self.encoder.load_state_dict({k: v for k, v in backbone.state_dict().items() if k in own})

    def share_backbone(self, backbone: glmix.GLNet) -> None:
        """Let another network's backbone be the encoder, weights and all."""
        self.net.encoder.model.model = backbone  # type: ignore[union-attr]

    def decode(self, images: Tensor, features: list[Tensor]) -> Tensor:
        """Logits from features that were computed already, for pictures of whole strides.

        Args:
            images: (B, 3, H, W), sides divisible by 32.
            features: of the encoder at strides 4, 8, 16, 32.
        """
        net: Any = self.net
        # the library counts the picture and an empty map at stride 2 among an encoder's features
        empty = images.new_empty(len(images), 0, images.shape[-2] // 2, images.shape[-1] // 2)
        logits: Tensor = net.segmentation_head(net.decoder([images, empty, *features]))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Pad to whole strides, run, crop: any picture size of at least one pixel."""
        height, width = images.shape[-2:]
        padding = (0, -width % 32, 0, -height % 32)
        logits: Tensor = self.net(F.pad(images, padding, mode="replicate"))
        return logits[..., :height, :width]


def predict_probs(
    model: nn.Module, image: Tensor, scales: Sequence[float] = (1.0,), flip: bool = False
) -> Tensor:
    """Class probabilities of one picture, averaged over scales and flip.

    Args:
        model: images → logits.
        image: (1, 3, H, W), normalised.
        scales: of the picture's sides.
        flip: also the mirror image.

    Returns:
        (C + 1, H, W), sums to 1.
    """
    return predict_views(model, image, [View(tuple(scales), flip)])[0]


def segmenter_metadata(config: RunConfig, class_names: Sequence[str]) -> dict[str, Any]:
    """What a model file says of the segmenter that a config describes; see `build_segmenter`."""
    return {
        "kind": "segmenter",
        "backbone": config.backbone.name,
        "backbone_args": config.backbone.args,
        "decoder": config.train_seg.decoder,
        "decoder_args": config.train_seg.decoder_args,
        "class_names": list(class_names),
    }


def build_segmenter(metadata: dict[str, Any]) -> Segmenter:
    """An untrained segmenter of the shape that a model file's metadata describes."""
    return Segmenter(
        metadata["backbone"],
        metadata["backbone_args"],
        metadata["decoder"],
        len(metadata["class_names"]) + 1,
        metadata.get("decoder_args"),
    )
