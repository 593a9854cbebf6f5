"""What of a network on a backbone learns, and how fast."""

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


def freeze(module: nn.Module) -> None:
    """Leave a part of a network as it is: no gradient reaches it."""
    module.requires_grad_(False)


def to_training(model: nn.Module) -> nn.Module:
    """Training mode, but for parts that are frozen: their batch norms keep their statistics.

    Args:
        model: changed in place.

    Returns:
        The model.
    """
    model.train()
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()
    return model
