"""Random walks through the slots of a block: what one token knows, the tokens of its slots learn.

The dispatch weights P (each token's distribution over K slots) and the cluster weights G (what each
slot gathers) make transitions of rank ≤ K between the N tokens: P·G, one way; and the symmetric,
doubly stochastic A = P·D⁻¹·Pᵀ with D the column sums of P. Everything costs O(K·N) memory; no N×N
matrix is formed.
"""

import torch
from torch import Tensor

from glmix.clustering import HARD


def one_way_walk(scores: Tensor, cluster: Tensor, dispatch: Tensor, steps: int) -> Tensor:
    """(P·G)^t · scores by powers of the K×K matrix G·P.

    A step: every slot takes the mean of what it gathers, every token that of its slots.

    Args:
        scores: (B, C, N), any real scores of the tokens.
        cluster: G, (B, K, N), rows sum to 1.
        dispatch: P, (B, N, K), rows sum to 1.
        steps: t ≥ 0; 0 returns the scores.

    Returns:
        (B, C, N).
    """
    if steps == 0:
        return scores
    slots = scores @ cluster.transpose(-2, -1)  # (B, C, K)
    if steps > 1:
        between = (cluster @ dispatch).transpose(-2, -1)  # (B, K, K)
        for _ in range(steps - 1):
            slots = slots @ between
    return slots @ dispatch.transpose(-2, -1)


def attention_walk(
    scores: Tensor, cluster: Tensor, dispatch: Tensor, attention: Tensor, steps: int = 1
) -> Tensor:
    """(P·M·G)^t · scores: between gathering and dispatching, slots tell one another.

    Args:
        scores: (B, C, N), any real scores of the tokens.
        cluster: G, (B, K, N), rows sum to 1.
        dispatch: P, (B, N, K), rows sum to 1.
        attention: M, (B, K, K), rows sum to 1; the block's own attention among its slots.
        steps: t ≥ 0; 0 returns the scores.

    Returns:
        (B, C, N).
    """
    return one_way_walk(scores, attention @ cluster, dispatch, steps)


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


def limit_walk(scores: Tensor, dispatch: Tensor, alpha: float) -> Tensor:
    """(1−α)(I − αA)⁻¹ · scores: a walk that goes home with probability 1−α at every step.

    With Q = P·D^−½, A = Q·Qᵀ, and (I − αQQᵀ)⁻¹ = I + αQ(I − αQᵀQ)⁻¹Qᵀ (Woodbury): one K×K solve,
    whose eigenvalues lie in 1−α…1.

    Args:
        scores: (B, C, N), any real scores of the tokens.
        dispatch: P, (B, N, K), rows sum to 1.
        alpha: in [0, 1); 0 returns the scores.

    Returns:
        (B, C, N); the mean over tokens is kept.
    """
    half = dispatch * dispatch.sum(dim=-2, keepdim=True).clamp_min(1e-12).rsqrt()  # Q
    inner = torch.eye(half.shape[-1], dtype=half.dtype, device=half.device)
    inner = inner - alpha * half.transpose(-2, -1) @ half
    slots = torch.linalg.solve(inner, (scores @ half).transpose(-2, -1)).transpose(-2, -1)
    return (1 - alpha) * (scores + alpha * slots @ half.transpose(-2, -1))


def confined_symmetric_walk(scores: Tensor, dispatch: Tensor, region: Tensor, steps: int) -> Tensor:
    """The symmetric walk among the tokens of a region, each class in its own.

    A_c = R_c·P·D_c⁻¹·Pᵀ·R_c with R_c the region as a diagonal and D_c the column sums of R_c·P:
    doubly stochastic on the region, nothing enters or leaves it.

    Args:
        scores: (B, C, N), any real scores of the tokens.
        dispatch: P, (B, N, K), rows sum to 1.
        region: (B, C, N) of 0 and 1.
        steps: t ≥ 0; 0 returns the scores within the region.

    Returns:
        A_c^t · scores, (B, C, N), 0 outside the region.
    """
    walked, mass = scores * region, (region @ dispatch).clamp_min(1e-12)  # (B, C, K)
    for _ in range(steps):
        walked = (walked @ dispatch / mass) @ dispatch.transpose(-2, -1) * region
    return walked


def confined_one_way_walk(
    scores: Tensor, cluster: Tensor, dispatch: Tensor, region: Tensor, steps: int
) -> Tensor:
    """(P·G)^t among the tokens of a region, each class in its own: slots gather there alone.

    Args:
        scores: (B, C, N), any real scores of the tokens.
        cluster: G, (B, K, N), rows sum to 1.
        dispatch: P, (B, N, K), rows sum to 1.
        region: (B, C, N) of 0 and 1.
        steps: t ≥ 0; 0 returns the scores within the region.

    Returns:
        (B, C, N), 0 outside the region. A slot that gathers nothing there gives nothing.
    """
    gather = cluster.transpose(-2, -1)
    walked, mass = scores * region, (region @ gather).clamp_min(1e-12)  # (B, C, K)
    for _ in range(steps):
        walked = (walked @ gather / mass) @ dispatch.transpose(-2, -1) * region
    return walked


def sharpen(logits: Tensor, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
    """Assignment logits of another temperature, and of each token's best slots alone.

    Args:
        logits: (B, K, N).
        temperature: > 0; below 1 is sharper.
        top_k: slots that a token keeps; None keeps all.

    Returns:
        (B, K, N); what is left out has a weight of 0 in P, and in the rows of G that keep a token.
    """
    if temperature != 1.0:
        logits = logits / temperature
    if top_k is None or top_k >= logits.shape[-2]:
        return logits
    weakest = logits.topk(top_k, dim=-2).values[:, -1:]
    return logits.masked_fill(logits < weakest, -HARD)


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
