"""Parameter groups of a network on a backbone."""

from typing import Any

from torch import nn


def parameter_groups(
    model: nn.Module, backbone: nn.Module, lr: float, backbone_factor: float, weight_decay: float
) -> list[dict[str, Any]]:
    """AdamW groups: the backbone slower than the rest, no decay on vectors and scalars.

    Args:
        model: the whole network.
        backbone: the part of it that was pretrained.
        lr: highest learning rate of the rest.
        backbone_factor: the backbone's over the rest's.
        weight_decay: of matrices and kernels.
    """
    in_backbone = {id(p) for p in backbone.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in in_backbone, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr * (backbone_factor if inside else 1.0),
            "weight_decay": weight_decay if matrix else 0.0,
        }
        for (inside, matrix), parameters in groups.items()
    ]
