"""Walks that do form N×N matrices: what other methods do, kept as baselines beside the slots.

Token attention after AFA (Ru et al., CVPR 2022) and MCTformer (Xu et al., CVPR 2022); the walk on
pixel affinity after IRN (Ahn et al., CVPR 2019), here with similarity of features in place of its
trained affinity.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_attention(attention: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Attention of one grid on another: rows and columns resized, rows summing to 1 again.

    Args:
        attention: (B, n, n), rows sum to 1, n = h·w of `grid`.
        grid: (h, w).
        size: (H, W).

    Returns:
        (B, N, N), N = H·W.
    """
    if grid == size:
        return attention
    for _ in range(2):  # columns, then, transposed, rows
        planes = attention.unflatten(2, grid)
        planes = F.interpolate(planes, size=size, mode="bilinear", align_corners=False)
        attention = planes.flatten(2).transpose(1, 2)
    return attention / attention.sum(dim=-1, keepdim=True).clamp_min(1e-12)


def token_transition(attentions: Sequence[Tensor]) -> Tensor:
    """The transition of token attention: mean over blocks, symmetrised, rows summing to 1.

    Args:
        attentions: (B, N, N) each, non-negative.

    Returns:
        (B, N, N).
    """
    total = torch.stack(list(attentions)).mean(dim=0) if len(attentions) > 1 else attentions[0]
    total = total + total.transpose(-2, -1)
    return total / total.sum(dim=-1, keepdim=True).clamp_min(1e-12)


def dense_walk(scores: Tensor, transition: Tensor, steps: int) -> Tensor:
    """T^t · scores, step by step.

    Args:
        scores: (B, C, N).
        transition: T, (B, N, N), rows sum to 1.
        steps: t ≥ 0.

    Returns:
        (B, C, N).
    """
    for _ in range(steps):
        scores = scores @ transition.transpose(-2, -1)
    return scores


def pixel_transition(features: Tensor, radius: float, power: float) -> Tensor:
    """The transition of pixel affinity: likeness of features to a power, within a radius.

    T = D⁻¹·max(cos(f_i, f_j), 0)^β where |p_i − p_j| ≤ radius, else 0.

    Args:
        features: (B, D, h, w).
        radius: in grid steps, > 0.
        power: β > 0.

    Returns:
        (B, N, N), N = h·w, rows sum to 1.
    """
    h, w = features.shape[-2:]
    tokens = F.normalize(features.flatten(2), dim=1)
    affinity = (tokens.transpose(1, 2) @ tokens).clamp_min_(0).pow_(power)
    y, x = torch.meshgrid(
        torch.arange(h, device=features.device),
        torch.arange(w, device=features.device),
        indexing="ij",
    )
    places = torch.stack([y.flatten(), x.flatten()], dim=1).to(features.dtype)
    affinity *= torch.cdist(places, places) <= radius + 1e-6
    return affinity.div_(affinity.sum(dim=-1, keepdim=True).clamp_min(1e-12))


def squared_walk(scores: Tensor, transition: Tensor, doublings: int) -> Tensor:
    """T^(2^doublings) · scores by squaring the matrix, O(N³) each time, as IRN does.

    Args:
        scores: (B, C, N).
        transition: T, (B, N, N), rows sum to 1.
        doublings: ≥ 0.

    Returns:
        (B, C, N).
    """
    for _ in range(doublings):
        transition = transition @ transition
    return scores @ transition.transpose(-2, -1)
