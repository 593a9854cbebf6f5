"""GLNet written plainly: what the model must answer, and what its speed is measured against.

The formulation of the paper, one operation after another on (B, D, h, w) tensors in the order a
reader would write them: no fused attention, no memory format, no folding, every K×N assignment
stored. It reads the weights of a `GLNet` and shares no forward code with it. Dropout, stochastic
depth and ablations are left out. Tests take it as an oracle for the
released models, `scripts/bench_glmix.py` as the baseline.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from glmix.blocks import AttentionBlock, Block, GLMixBlock
from glmix.glnet import GLNet


def plain_forward(model: GLNet, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Class logits and the assignment logits of every GLMix block.

    Args:
        model: a GLNet; batch norms follow its training flag.
        x: (B, in_chans, H, W).

    Returns:
        (B, num_classes), and `[(B, K, N)]` in network order.
    """
    assignments: list[Tensor] = []
    for downsample, stage in zip(model.downsample_layers, model.stages, strict=True):
        x = _layers(downsample, x)
        for block in stage.get_submodule("blocks").children():
            assert isinstance(block, Block)
            x = _block(block, x, assignments)
    x = _layer(model.norm, x)
    answer = _layer(model.head, F.adaptive_avg_pool2d(x, 1).flatten(1))
    if model.tklb_aux_head is not None:
        dense = _layer(model.tklb_aux_head, x.flatten(2).transpose(1, 2))
        answer = answer + 0.5 * dense.max(dim=1).values
    return answer, assignments


def _block(block: Block, x: Tensor, assignments: list[Tensor]) -> Tensor:
    block_input = x
    x = _layer(block.pos_conv, x)
    tokens = _channel_norm(block.norm1, x)
    if isinstance(block, GLMixBlock):
        mixed = _glmix(block, tokens, block_input, assignments)
    else:
        assert isinstance(block, AttentionBlock)
        rows = _attention(block.mha_op, tokens.flatten(2).transpose(1, 2))
        mixed = rows.transpose(1, 2).reshape(tokens.shape)
    x = x + mixed * getattr(block.ls1, "gamma", 1.0)
    hidden = _layers(block.mlp, _channel_norm(block.norm2, x))
    return x + hidden * getattr(block.ls2, "gamma", 1.0)


def _glmix(
    block: GLMixBlock, tokens: Tensor, block_input: Tensor, assignments: list[Tensor]
) -> Tensor:
    assert block.branches == "parallel" and not block.hard
    slots = F.adaptive_avg_pool2d(block_input, block.slot_grid).flatten(2).transpose(1, 2)
    slots = getattr(block, "init_slots", slots)
    rows = tokens.flatten(2).transpose(1, 2)
    cosine = F.normalize(slots, dim=-1) @ F.normalize(rows, dim=-1).transpose(1, 2)
    logits = block.slot_scale * cosine
    assignments.append(logits)
    slots = _attention(block.relation_mha, logits.softmax(-1) @ rows)
    out = logits.softmax(1).transpose(1, 2) @ slots
    return _layers(block.feature_conv, tokens) + out.transpose(1, 2).reshape(tokens.shape)


def _attention(mha: Any, x: Tensor) -> Tensor:
    B, N, D = x.shape
    heads = mha.num_heads
    qkv = F.linear(x, mha.in_proj_weight, mha.in_proj_bias)
    q, k, v = (t.reshape(B, N, heads, D // heads).transpose(1, 2) for t in qkv.chunk(3, -1))
    weights = (q * (D // heads) ** -0.5 @ k.transpose(2, 3)).softmax(-1)
    out = (weights @ v).transpose(1, 2).reshape(B, N, D)
    return F.linear(out, mha.out_proj.weight, mha.out_proj.bias)


def _channel_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    x = x.permute(0, 2, 3, 1).contiguous()
    x = F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return x.permute(0, 3, 1, 2).contiguous()


def _layers(layers: nn.Module, x: Tensor) -> Tensor:
    for layer in layers.children():
        x = _layer(layer, x)
    return x


def _layer(layer: nn.Module, x: Tensor) -> Tensor:
    if not isinstance(layer, nn.Conv2d):
        return layer(x)
    out = F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, 1, layer.groups)
    residual = type(layer).__name__ == "ResidualDepthwiseConv"
    return x + out if residual else out
