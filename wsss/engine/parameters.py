"""Parameter groups of a network on a backbone."""

from typing import Any

from timm.models import group_parameters
from torch import nn


def parameter_groups(
    model: nn.Module,
    backbone: nn.Module,
    lr: float,
    backbone_factor: float,
    weight_decay: float,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """AdamW groups: the backbone slower than the rest, no decay on vectors and scalars.

    With layer decay d, layer i of n learns at d^(n − 1 − i) of the backbone's rate: the first
    layers, whose features serve any task, move least.

    Args:
        model: the whole network.
        backbone: the part of it that was pretrained.
        lr: highest learning rate of the rest.
        backbone_factor: the backbone's over the rest's.
        weight_decay: of matrices and kernels.
        layer_decay: d, in (0, 1]; below 1 the backbone has to name its layers by timm's
            `group_matcher`, as every GLNet does.
    """
    layers = _layers(backbone) if layer_decay < 1 else {}
    last = max(layers.values(), default=0)
    in_backbone = {id(p) for p in backbone.parameters()}
    groups: dict[tuple[bool, int, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            layer = layers.get(id(parameter), last)
            key = (id(parameter) in in_backbone, layer, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr * (backbone_factor * layer_decay ** (last - layer) if inside else 1.0),
            "weight_decay": weight_decay if matrix else 0.0,
        }
        for (inside, layer, matrix), parameters in groups.items()
    ]


def _layers(backbone: Any) -> dict[int, int]:
    """Identity of each parameter → index of its layer, from the stem on."""
    named = group_parameters(backbone, backbone.group_matcher(), reverse=True)
    return {id(p): int(named[name]) for name, p in backbone.named_parameters()}
