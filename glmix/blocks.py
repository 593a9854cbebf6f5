"""The blocks of a GLNet: GLMix (convolution on the grid ∥ self-attention on slots), attention."""

from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from glmix.clustering import (
    cluster,
    dispatch,
    give_back,
    hard_assignment_logits,
    initial_slots,
    soft_cluster,
)
from glmix.layers import (
    ChannelNorm,
    LayerScale,
    ResidualDepthwiseConv,
    SelfAttention,
    WindowAttention,
    conv_mlp,
    local_conv,
)

BRANCHES = ("parallel", "local", "global", "global-local", "local-global")
# Bits of a hash in hard clustering.
HASH_BITS = 64


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value outside `choices`, naming them.

    Raises:
        ValueError: if `value` is none of them.
    """
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}.")


class SlotSelfAttention(SelfAttention):
    """Self-attention among the slots of one image: (B, K, D) → (B, K, D)."""


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
        self.pos_conv = ResidualDepthwiseConv(dim) if pos_conv else nn.Identity()
        self.norm1 = ChannelNorm(dim, eps=1e-6)
        self.norm2 = ChannelNorm(dim, eps=1e-6)
        self.mlp = conv_mlp(dim, mlp_ratio, mlp_depthwise)
        self.ls1 = LayerScale(dim, layer_scale) if layer_scale else nn.Identity()
        self.ls2 = LayerScale(dim, layer_scale) if layer_scale else nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def mix(
        self, tokens: Tensor, block_input: Tensor, keep_logits: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Mix tokens.

        Args:
            tokens: (B, D, h, w), normalised.
            block_input: (B, D, h, w), what entered the block.
            keep_logits: whether the caller wants the assignment logits.

        Returns:
            (B, D, h, w), and (B, K, N) where wanted or held anyway, and the block has slots.
        """
        raise NotImplementedError

    def forward_slots(self, x: Tensor, keep_logits: bool = True) -> tuple[Tensor, Tensor | None]:
        """(B, D, h, w) → the block's answer, and assignment logits (B, K, N) if it has slots."""
        block_input = x
        x = self.pos_conv(x)
        mixed, logits = self.mix(self.norm1(x), block_input, keep_logits)
        x = x + self.drop_path(self.ls1(mixed))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x)))), logits

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) → (B, D, h, w)."""
        return self.forward_slots(x, keep_logits=False)[0]


class GLMixBlock(Block):
    """Depth-wise convolution on the grid, in parallel with self-attention among semantic slots.

    The initial slots are regional means of the block's input; the tokens are what position
    encoding and normalisation make of it. Soft clustering takes tokens to slots, dispatching
    takes slots to tokens. The paper's ablations are arguments.

    Args:
        dim: channels D.
        num_heads: heads of the attention among slots (and within windows).
        slot_grid: rows and columns of the initial slots.
        slot_scale: initial value of the learnt inverse temperature; None for D^−½.
        slot_init: `pool` the block's input, or `learnt` (the same slots for every image).
        clustering: `soft`, or `hard` (k-means on hashes, which has no temperature).
        branches: one of `BRANCHES`. One after the other, each adds to what it is given.
        local_mixer: `conv`, or `window` for attention within 7×7 windows.
        local_kernel: side of the depth-wise convolution.
        shared: what `Block` takes.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        slot_grid: tuple[int, int] = (8, 8),
        slot_scale: float | None = None,
        slot_init: str = "pool",
        clustering: str = "soft",
        branches: str = "parallel",
        local_mixer: str = "conv",
        local_kernel: int = 5,
        **shared: Any,
    ) -> None:
        super().__init__(dim, **shared)
        one_of("slot_init", slot_init, ("pool", "learnt"))
        one_of("clustering", clustering, ("soft", "hard"))
        one_of("branches", branches, BRANCHES)
        one_of("local_mixer", local_mixer, ("conv", "window"))
        self.slot_grid = (slot_grid[0], slot_grid[1])
        self.branches = branches
        self.has_slots = branches != "local"
        self.hard = clustering == "hard"
        if self.has_slots:
            if self.hard:
                self.register_buffer("hash_planes", torch.randn(dim, HASH_BITS))
            else:
                self.slot_scale = nn.Parameter(torch.tensor(slot_scale or dim**-0.5))
            if slot_init == "learnt":
                self.init_slots = nn.Parameter(torch.zeros(1, slot_grid[0] * slot_grid[1], dim))
                nn.init.trunc_normal_(self.init_slots, std=0.02)
            self.relation_mha = SlotSelfAttention(dim, num_heads)
        if branches != "global":
            self.feature_conv = (
                WindowAttention(dim, num_heads)
                if local_mixer == "window"
                else local_conv(dim, local_kernel)
            )

    def mix(
        self, tokens: Tensor, block_input: Tensor, keep_logits: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Local and global branch, as `branches` orders them; see `Block.mix`."""
        if self.branches == "local":
            return self.feature_conv(tokens), None
        if self.branches == "local-global":
            local = self.feature_conv(tokens)
            mixed, logits = self._mix_slots(tokens + local, block_input, keep_logits)
            return local + mixed, logits
        mixed, logits = self._mix_slots(tokens, block_input, keep_logits)
        if self.branches == "global-local":
            mixed = mixed + self.feature_conv(tokens + mixed)
        elif self.branches == "parallel":
            mixed = self.feature_conv(tokens) + mixed
        return mixed, logits

    def _mix_slots(
        self, grid: Tensor, block_input: Tensor, keep_logits: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The global branch: cluster, attend among slots, dispatch."""
        tokens = grid.flatten(2).transpose(1, 2)
        slots = self._initial_slots(block_input)
        logits: Tensor | None
        if self.hard:
            logits = hard_assignment_logits(slots, tokens, self.get_buffer("hash_planes"))
            out = dispatch(logits, self.relation_mha(soft_cluster(logits, tokens)))
        else:
            gathered, logits = cluster(slots, tokens, self.slot_scale, keep_logits)
            mixed = self.relation_mha(gathered)
            out = give_back(slots, tokens, mixed, self.slot_scale, logits)
        return out.transpose(1, 2).unflatten(2, grid.shape[-2:]), logits

    def _initial_slots(self, block_input: Tensor) -> Tensor:
        if hasattr(self, "init_slots"):
            return self.init_slots.expand(block_input.shape[0], -1, -1)
        return initial_slots(block_input, self.slot_grid)


class AttentionBlock(Block):
    """Self-attention over all tokens of the grid; no slots.

    Args:
        dim: channels D.
        num_heads: heads of the attention.
        shared: what `Block` takes.
    """

    def __init__(self, dim: int, num_heads: int, **shared: Any) -> None:
        super().__init__(dim, **shared)
        self.mha_op = SelfAttention(dim, num_heads)

    def mix(
        self, tokens: Tensor, block_input: Tensor, keep_logits: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attention among tokens; see `Block.mix`."""
        out = self.mha_op(tokens.flatten(2).transpose(1, 2))
        return out.transpose(1, 2).unflatten(2, tokens.shape[-2:]), None
