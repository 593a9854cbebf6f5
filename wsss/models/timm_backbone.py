"""Backbones that are no GLNets: any of timm that gives feature maps."""

from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from wsss.data.augment import IMAGENET_MEAN, IMAGENET_STD
from wsss.errors import WsssError, first_line
from wsss.models.backbone import Named, create_backbone, is_glnet, load_file

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, of RGB in 0–1."""

SEGMENTER = Named("train_seg.backbone", "train_seg.backbone_weights")


def statistics_of(name: str) -> Statistics:
    """How a model of timm was trained to see images."""
    known = timm.get_pretrained_cfg(name)
    if known is None:  # no weights, so no habits
        return IMAGENET_MEAN, IMAGENET_STD
    return tuple(known.mean), tuple(known.std)


def create_timm_backbone(name: str, weights: Path | str, named: Named = SEGMENTER) -> nn.Module:
    """A model of timm with weights, its ImageNet head left off.

    Args:
        name: as timm knows it, `resnet50` or `resnet50.a1_in1k`; a GLNet too.
        weights: `pretrained` for those that timm downloads; a file in timm's naming otherwise.
        named: the settings.

    Raises:
        WsssError: the weights can't be had, or are another model's.
    """
    if is_glnet(name):
        return create_backbone(name, weights, {})
    if weights == "pretrained":
        try:
            return timm.create_model(name, pretrained=True, num_classes=0)
        except Exception as error:  # no network, no such weights, a damaged cache
            reason = first_line(error)[:200].rstrip(".")
            raise WsssError(
                f"timm has no weights of {name} to give ({reason}): name a file as "
                f"{named.weights}, or another model as {named.name}."
            ) from None
    model = timm.create_model(name, num_classes=0)
    load_file(model, Path(weights), name, _heads(model), named)
    return model


def matching_weights(
    source: nn.Module, target: nn.Module, named: Named = SEGMENTER
) -> dict[str, Tensor]:
    """Weights of a classifier by the names of its feature maps' network.

    That network is cut from the classifier: timm drops what comes behind the last map, puts
    `model.` before names, or joins their parts by underscores.

    Args:
        source: a model of timm.
        target: the same model built with `features_only=True`.
        named: the settings.

    Raises:
        WsssError: it has weights that the classifier has not.
    """
    known = {_joined(name): value for name, value in source.state_dict().items()}
    wanted = {name: _joined(name) for name in target.state_dict()}
    if lost := [name for name, joined in wanted.items() if joined not in known]:
        raise WsssError(
            f"{named.name}: the feature maps of this model need weights that its classifier "
            f"lacks, the first {lost[0]}; choose another model."
        )
    return {name: known[joined] for name, joined in wanted.items()}


def _joined(name: str) -> str:
    return name.removeprefix("model.").replace(".", "_")


def _heads(model: nn.Module) -> tuple[str, ...]:
    known: Any = getattr(model, "pretrained_cfg", {}).get("classifier") or "head.fc"
    return tuple(f"{name}." for name in ((known,) if isinstance(known, str) else known))


def fix_padding(net: nn.Module) -> None:
    """Make convolutions that pad by the size of the image pad by a fixed width, once and for all.

    On images whose sides are whole strides of the network both are the same, and only the fixed
    width can be traced in reasonable time.

    Args:
        net: changed in place; its weights keep their names.
    """
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, Conv2dSame):
                setattr(module, name, _FixedPadding(child))


class _FixedPadding(nn.Conv2d):
    """A convolution that pads as TensorFlow does an image of whole strides."""

    def __init__(self, conv: nn.Conv2d) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(conv.__dict__)
        self.sides: list[int] = []
        spans = zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
        for kernel, stride, dilation in list(spans)[::-1]:
            total = max((kernel - 1) * dilation + 1 - stride, 0)
            self.sides += [total // 2, total - total // 2]

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, self.sides)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Adapt(nn.Module):
    """Images (B, 3, H, W), normalised by ImageNet's statistics → by a model's own.

    Args:
        statistics: of the model.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        mean, std, own_mean, own_std = (
            torch.tensor(values).view(1, 3, 1, 1)
            for values in (IMAGENET_MEAN, IMAGENET_STD, *statistics)
        )
        self.register_buffer("scale", std / own_std, persistent=False)
        self.register_buffer("shift", (mean - own_mean) / own_std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Of the same shape."""
        return images * self.scale + self.shift
