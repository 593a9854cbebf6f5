"""A GLNet beside another network: slots of the one, features of both."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

import glmix
from glmix.clustering import SlotAssignment
from wsss.errors import WsssError, first_line
from wsss.models.backbone import Named
from wsss.models.timm_backbone import (
    Adapt,
    create_timm_backbone,
    fix_padding,
    matching_weights,
    statistics_of,
)
from wsss.models.trial import refusal
from wsss.seeding.cam import resize, scaled_size

SECOND = Named("train_cls.second_backbone", "train_cls.second_backbone_weights")

# transformers of timm that know one size of image take others when they are asked to
_ANY_SIZE: tuple[dict[str, Any], ...] = ({}, {"dynamic_img_size": True, "dynamic_img_pad": True})


class FeatureMaps(nn.Module):
    """The last maps of a model of timm of strides up to 16 and, where it has any, beyond.

    Args:
        name: as timm knows it; `weights_from` gives it weights.

    Attributes:
        channels: of the first map and of the second, 0 where all are of stride 16 or finer.

    Raises:
        WsssError: the model gives no such maps for images of any size.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.net, fine, deep = _create(name)
        fix_padding(self.net)
        channels = self.net.feature_info.channels()  # type: ignore[union-attr, operator]
        self._fine, self._deep = fine, deep
        self.channels = channels[fine], channels[deep] if deep is not None else 0
        self.adapt = Adapt(statistics_of(name))

    def weights_from(self, model: nn.Module) -> None:
        """Take the weights of the model that these maps are cut from."""
        self.net.load_state_dict(matching_weights(model, self.net, SECOND))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Normalised images (B, 3, H, W) of any size → the maps, (B, D, h, w) each."""
        size = scaled_size(images.shape[-2], images.shape[-1], 1.0)
        maps = self.net(self.adapt(resize(images, size)))
        return maps[self._fine], None if self._deep is None else maps[self._deep]


def _create(name: str) -> tuple[nn.Module, int, int | None]:
    """A model's feature maps, and which of them are the finer and the deeper one."""
    reason = "timm doesn't know it"
    for arguments in _ANY_SIZE if timm.is_model(name) else ():
        try:
            net: Any = timm.create_model(name, features_only=True, **arguments)
        except Exception as error:  # models that give no maps, or take no such argument
            reason = reason if arguments else first_line(error)[:200]
            continue
        strides = net.feature_info.reduction()
        if found := refusal(net):
            reason = reason if arguments else found
        elif min(strides) > 16:
            reason = f"its maps have strides {', '.join(map(str, strides))}"
        else:
            fine = max(i for i, stride in enumerate(strides) if stride <= 16)
            return net, fine, len(strides) - 1 if strides[-1] > 16 else None
    raise WsssError(
        f"{SECOND.name} {name!r} can't be read beside a GLNet ({reason}): take a model of timm "
        "with feature maps of stride 16 for images of any size, such as resnet50."
    )


class BackbonePair(nn.Module):
    """Two networks that see the same image.

    Args:
        glnet: has the slots, and the grids that features lie on.
        second: its features join those of stages 3 and 4.

    Attributes:
        feature_info: of the features of the four stages, both networks' together.
    """

    def __init__(self, glnet: glmix.GLNet, second: FeatureMaps) -> None:
        super().__init__()
        self.glnet, self.second = glnet, second
        self.feature_info = [dict(stage) for stage in glnet.feature_info]
        for stage, channels in zip(self.feature_info[2:], second.channels, strict=True):
            stage["num_chs"] += channels

    def forward_slots(self, images: Tensor) -> tuple[list[Tensor], list[SlotAssignment]]:
        """Features of the four stages and slot assignments, as a GLNet's `forward_slots` has them.

        Args:
            images: (B, 3, H, W), normalised.
        """
        features, found = self.glnet.forward_slots(images)
        for i, seen in zip((2, 3), self.second(images), strict=True):
            if seen is not None:
                grid = features[i].shape[-2], features[i].shape[-1]
                features[i] = torch.cat([features[i], resize(seen, grid)], dim=1)
        return features, found

    def norm(self, deep: Tensor) -> Tensor:
        """Features of stage 4 (B, D, h, w), of which the GLNet's are normalised."""
        own = self.glnet.num_features
        return torch.cat([self.glnet.norm(deep[:, :own]), deep[:, own:]], dim=1)

    def set_grad_checkpointing(self) -> None:
        """Of the GLNet alone."""
        self.glnet.set_grad_checkpointing()


def pair(glnet: glmix.GLNet, name: str, weights: Path | str | None) -> BackbonePair:
    """A GLNet beside a model of timm.

    Args:
        glnet: with its weights.
        name: of the other model.
        weights: as `create_timm_backbone` takes them; None leaves it untrained.

    Raises:
        WsssError: the model gives no feature maps that fit, or its weights can't be had.
    """
    maps = FeatureMaps(name)
    if weights is not None:
        maps.weights_from(create_timm_backbone(name, weights, SECOND))
    return BackbonePair(glnet, maps)
