"""A GLNet folded for inference: what is linear and fixed moves into the weights beside it.

Batch norms into the convolutions of stem and transitions, layer scales into the last layers of
their branches, the residual of a depth-wise convolution into the middle of its kernel. The answers
are the same up to rounding; a folded model takes no checkpoints, and is not meant to train.
"""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from glmix.blocks import AttentionBlock, Block, GLMixBlock
from glmix.glnet import GLNet
from glmix.layers import DepthwiseConv, LayerScale, ResidualDepthwiseConv, SelfAttention


def fold(model: GLNet) -> GLNet:
    """A copy of `model` in eval mode that answers alike with fewer operations.

    Args:
        model: any GLNet; it is left as it is.

    Returns:
        The folded copy; `forward_slots` and `forward_intermediates` work as before.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, ResidualDepthwiseConv):
                setattr(module, name, _without_residual(child))
    for downsample in model.downsample_layers:
        _fold_batch_norms(cast(nn.Sequential, downsample))
    for block in (m for m in model.modules() if isinstance(m, Block)):
        _fold_layer_scales(block)
    return model


def _fold_batch_norms(layers: nn.Sequential) -> None:
    for i, norm in enumerate(layers):
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        var = cast(Tensor, norm.running_var)
        scale = norm.weight * (var + norm.eps).rsqrt()
        shift = norm.bias - cast(Tensor, norm.running_mean) * scale
        if i > 0:
            conv = cast(nn.Conv2d, layers[i - 1])
            _scale_output(conv.weight, cast(Tensor, conv.bias), scale)
            cast(Tensor, conv.bias).data += shift
        else:  # before an unpadded convolution
            conv = cast(nn.Conv2d, layers[1])
            cast(Tensor, conv.bias).data += torch.einsum("oikl,i->o", conv.weight, shift)
            conv.weight.data *= scale[:, None, None]
        layers[i] = nn.Identity()


def _fold_layer_scales(block: Block) -> None:
    last: Any = block.mlp[-1]
    for name, ends in (("ls1", _branch_ends(block)), ("ls2", [last])):
        scale = getattr(block, name)
        if not isinstance(scale, LayerScale) or not ends:
            continue
        for end in ends:
            _scale_output(end.weight, end.bias, scale.gamma.flatten())
        setattr(block, name, nn.Identity())


def _branch_ends(block: Block) -> list[Any]:
    """The last layers of the branches whose sum the first layer scale multiplies."""
    if isinstance(block, AttentionBlock):
        return [block.mha_op.out_proj]
    assert isinstance(block, GLMixBlock)
    if block.branches not in {"parallel", "local", "global"}:
        return []  # one branch goes through the other: nothing to scale but the sum
    ends: list[Any] = [block.relation_mha.out_proj] if block.has_slots else []
    if block.branches != "global":
        local = block.feature_conv
        ends.append(local.out_proj if isinstance(local, SelfAttention) else local[-1])
    return ends


def _without_residual(conv: ResidualDepthwiseConv) -> DepthwiseConv:
    """A plain convolution that answers x + conv(x)."""
    folded = DepthwiseConv(conv.out_channels, conv.kernel_size[0]).to(conv.weight)
    folded.requires_grad_(False)
    folded.load_state_dict(conv.state_dict())
    middle = conv.kernel_size[0] // 2
    folded.weight.data[:, :, middle, middle] += 1
    return folded.eval()


def _scale_output(weight: Tensor, bias: Tensor, scale: Tensor) -> None:
    weight.data *= scale.reshape(-1, *[1] * (weight.ndim - 1))
    bias.data *= scale
