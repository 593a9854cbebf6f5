"""DeepLabV3+ on an encoder that can't dilate its last stage, by the library's own decoder."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base import SegmentationHead, SegmentationModel
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn


class MergeDeepest(nn.Module):
    """Features at strides 16 and 32 → one at stride 16, as a dilated last stage would give.

    A GLNet's slots sit on its own grid, so its strides are fixed: the deepest feature is enlarged
    and set beside the one before it.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features at strides 1, 2, 4, 8, 16, 32 → the decoder's at stride 4."""
        *shallow, before, last = features
        last = F.interpolate(last, before.shape[-2:], mode="bilinear", align_corners=False)
        decoded: Tensor = self.decoder([*shallow, torch.cat([before, last], dim=1)])
        return decoded


class DeepLabV3Plus(SegmentationModel):
    """Chen et al., "Encoder-Decoder with Atrous Separable Convolution" (ECCV 2018), at stride 16.

    Takes the arguments of segmentation-models-pytorch's class of this name, where they make sense.

    Args:
        encoder_name: as the library names it, `tu-glnet_4g`.
        encoder_weights: None; weights are loaded later.
        classes: of the answer.
        decoder_channels: width.
        decoder_atrous_rates: dilations of the pyramid.
        decoder_aspp_separable: depth-wise separable convolutions in the pyramid.
        decoder_aspp_dropout: behind the pyramid.
        **kwargs: of the encoder.
    """

    def __init__(
        self,
        encoder_name: str,
        encoder_weights: str | None = None,
        classes: int = 1,
        decoder_channels: int = 256,
        decoder_atrous_rates: Sequence[int] = (12, 24, 36),
        decoder_aspp_separable: bool = True,
        decoder_aspp_dropout: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.encoder = get_encoder(encoder_name, depth=5, weights=encoder_weights, **kwargs)
        *shallow, before, last = self.encoder.out_channels
        decoder = DeepLabV3PlusDecoder(
            encoder_channels=[*shallow, before + last],
            encoder_depth=5,
            out_channels=decoder_channels,
            atrous_rates=decoder_atrous_rates,
            output_stride=16,
            aspp_separable=decoder_aspp_separable,
            aspp_dropout=decoder_aspp_dropout,
        )
        self.decoder = MergeDeepest(decoder)
        self.segmentation_head = SegmentationHead(
            decoder_channels, classes, kernel_size=1, upsampling=4
        )
        self.classification_head = None
        self.initialize()
