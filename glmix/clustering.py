"""Soft clustering and dispatching: the two passages between the grid and the semantic slots.

Pure functions on tensors. B batch, K slots, N = h·w tokens of the grid, D channels. After
"Revisiting the Integration of Convolution and Attention for Vision Backbone" (Zhu et al., NeurIPS
2024).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class SlotAssignment(NamedTuple):
    """How one GLMix block assigned the tokens of its grid to its slots.

    Attributes:
        logits: (B, K, N), scaled cosine similarity of every slot and every token, row-major tokens.
        grid: (h, w) of the block, N = h·w.
        stage: index of the stage, from 0; its stride is 4·2^stage.
        block: index of the block within its stage, from 0.
    """

    logits: Tensor
    grid: tuple[int, int]
    stage: int
    block: int

    @property
    def stride(self) -> int:
        """Pixels of the picture a grid step."""
        return int(4 * 2**self.stage)

    @property
    def name(self) -> str:
        """The block as `stride.index`, such as `8.0`."""
        return f"{self.stride}.{self.block}"


def initial_slots(x: Tensor, slot_grid: tuple[int, int]) -> Tensor:
    """Slots as regional means of the grid, row-major.

    Args:
        x: (B, D, h, w), the block's input before position encoding and normalisation.
        slot_grid: rows and columns of slots; K is their product.

    Returns:
        (B, K, D).
    """
    return F.adaptive_avg_pool2d(x, slot_grid).flatten(2).transpose(1, 2)


def assignment_logits(slots: Tensor, tokens: Tensor, scale: Tensor) -> Tensor:
    """Scaled cosine similarity, `scale · cos(slot_k, token_n)`.

    Args:
        slots: (B, K, D).
        tokens: (B, N, D).
        scale: scalar, learnt; the inverse temperature of both softmaxes.

    Returns:
        (B, K, N).
    """
    return (scale * F.normalize(slots, dim=-1)) @ F.normalize(tokens, dim=-1).transpose(-2, -1)


def cluster_weights(logits: Tensor) -> Tensor:
    """G, softmax over tokens: (B, K, N), each slot's row sums to 1."""
    return logits.softmax(dim=-1)


def dispatch_weights(logits: Tensor) -> Tensor:
    """P, softmax over slots: (B, N, K), each token's row sums to 1."""
    return logits.transpose(-2, -1).softmax(dim=-1)


def soft_cluster(logits: Tensor, values: Tensor) -> Tensor:
    """Gather grid values into slots: G · values, (B, K, N) x (B, N, D) → (B, K, D)."""
    return cluster_weights(logits) @ values


def dispatch(logits: Tensor, slots: Tensor) -> Tensor:
    """Give every token the mean of the slots it belongs to: P · slots → (B, N, D)."""
    return torch.matmul(dispatch_weights(logits), slots)
