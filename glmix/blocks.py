"""The blocks of a GLNet: GLMix (convolution on the grid ∥ self-attention on slots), attention."""

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from glmix.clustering import assignment_logits, dispatch, initial_slots, soft_cluster
from glmix.layers import (
    ChannelNorm,
    DepthwiseConv,
    LayerScale,
    PointwiseConv,
    SelfAttention,
    conv_mlp,
)


class SlotSelfAttention(SelfAttention):
    """Self-attention among the slots of one picture: (B, K, D) → (B, K, D)."""


class Block(nn.Module):
    """What both kinds of block share: position encoding, norms, MLP, residuals."""

    def __init__(
        self,
        dim: int,
        *,
        mlp_ratio: float,
        mlp_depthwise: bool,
        pos_conv: bool,
        drop_path: float,
        layer_scale: float | None,
    ) -> None:
        super().__init__()
        self.pos_conv = DepthwiseConv(dim, 3) if pos_conv else None
        self.norm1 = ChannelNorm(dim, eps=1e-6)
        self.norm2 = ChannelNorm(dim, eps=1e-6)
        self.mlp = conv_mlp(dim, mlp_ratio, mlp_depthwise)
        self.ls1 = LayerScale(dim, layer_scale) if layer_scale else nn.Identity()
        self.ls2 = LayerScale(dim, layer_scale) if layer_scale else nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def mix(self, tokens: Tensor, block_input: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mix positions; `tokens` are normalised, `block_input` is what entered the block."""
        raise NotImplementedError

    def forward_slots(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, D, h, w) → the block's answer, and assignment logits (B, K, N) if it has slots."""
        block_input = x
        if self.pos_conv is not None:
            x = x + self.pos_conv(x)
        mixed, logits = self.mix(self.norm1(x), block_input)
        x = x + self.drop_path(self.ls1(mixed))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x)))), logits

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) → (B, D, h, w)."""
        return self.forward_slots(x)[0]


class GLMixBlock(Block):
    """Depth-wise convolution on the grid, in parallel with self-attention among semantic slots.

    The initial slots are regional means of the block's input; the tokens are what position
    encoding and normalisation make of it. Soft clustering takes tokens to slots, dispatching
    takes slots to tokens.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        slot_grid: tuple[int, int] = (8, 8),
        slot_scale: float | None = None,
        local_kernel: int = 5,
        mlp_ratio: float = 3.0,
        mlp_depthwise: bool = True,
        pos_conv: bool = True,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__(
            dim,
            mlp_ratio=mlp_ratio,
            mlp_depthwise=mlp_depthwise,
            pos_conv=pos_conv,
            drop_path=drop_path,
            layer_scale=layer_scale,
        )
        self.slot_grid = slot_grid
        self.slot_scale = nn.Parameter(torch.tensor(slot_scale if slot_scale else dim**-0.5))
        self.relation_mha = SlotSelfAttention(dim, num_heads)
        self.feature_conv = nn.Sequential(
            PointwiseConv(dim, dim), DepthwiseConv(dim, local_kernel), PointwiseConv(dim, dim)
        )

    def mix(self, tokens: Tensor, block_input: Tensor) -> tuple[Tensor, Tensor | None]:
        """Local and global branch, summed; see `Block.mix`."""
        values = tokens.flatten(2).transpose(1, 2)
        slots = initial_slots(block_input, self.slot_grid)
        logits = assignment_logits(slots, values, self.slot_scale)
        slots = self.relation_mha(soft_cluster(logits, values))
        out = dispatch(logits, slots).transpose(1, 2).unflatten(2, tokens.shape[-2:])
        return self.feature_conv(tokens) + out, logits


class AttentionBlock(Block):
    """Self-attention over all positions of the grid; no slots."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 3.0,
        mlp_depthwise: bool = True,
        pos_conv: bool = True,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__(
            dim,
            mlp_ratio=mlp_ratio,
            mlp_depthwise=mlp_depthwise,
            pos_conv=pos_conv,
            drop_path=drop_path,
            layer_scale=layer_scale,
        )
        self.mha_op = SelfAttention(dim, num_heads)

    def mix(self, tokens: Tensor, block_input: Tensor) -> tuple[Tensor, Tensor | None]:
        """Attention among tokens; see `Block.mix`."""
        out = self.mha_op(tokens.flatten(2).transpose(1, 2))
        return out.transpose(1, 2).unflatten(2, tokens.shape[-2:]), None
