"""Random walks through the slots of a block: what one token knows, the tokens of its slots learn.

The dispatch weights P (each token's distribution over K slots) make a symmetric, doubly stochastic
transition of rank ≤ K between the N tokens, A = P·D⁻¹·Pᵀ with D the column sums of P. t steps cost
O(t·K²·C + K·N·C); no N×N matrix is formed.
"""

import torch
from torch import Tensor


def slot_step(scores: Tensor, cluster: Tensor, dispatch: Tensor) -> Tensor:
    """One step P·G: every slot takes the mean of what it gathers, every token that of its slots.

    Args:
        scores: (B, C, N), any real scores of the tokens.
        cluster: G, (B, K, N), rows sum to 1.
        dispatch: P, (B, N, K), rows sum to 1.

    Returns:
        (B, C, N).
    """
    return (scores @ cluster.transpose(-2, -1)) @ dispatch.transpose(-2, -1)


def symmetric_walk(scores: Tensor, dispatch: Tensor, steps: int) -> Tensor:
    """`steps` steps of A = P·D⁻¹·Pᵀ, doubly stochastic: the mean over tokens is kept.

    Args:
        scores: (B, C, N), any real scores of the tokens.
        dispatch: P, (B, N, K), rows sum to 1.
        steps: t ≥ 0; 0 returns the scores.

    Returns:
        A^t · scores, (B, C, N).
    """
    if steps == 0:
        return scores
    gather = dispatch / dispatch.sum(dim=-2, keepdim=True).clamp_min(1e-12)
    slots = scores @ gather  # (B, C, K): D⁻¹·Pᵀ·scores
    if steps > 1:
        between = dispatch.transpose(-2, -1) @ gather  # (B, K, K): from slot to slot
        for _ in range(steps - 1):
            slots = slots @ between
    return slots @ dispatch.transpose(-2, -1)


def min_max(scores: Tensor) -> Tensor:
    """Each channel of (B, C, …) scaled to 0…1; a constant channel becomes 0.

    A walk flattens its scores: normalised, one threshold serves any number of steps. What it has
    flattened to the rounding of float32 counts as constant, or that rounding would become seeds.
    """
    flat = scores.flatten(2)
    low = flat.amin(dim=-1, keepdim=True)
    span = flat.amax(dim=-1, keepdim=True) - low
    varies = span > 1e-5 * flat.abs().amax(dim=-1, keepdim=True)
    return torch.where(varies, (flat - low) / span.clamp_min(1e-12), 0.0).view_as(scores)
