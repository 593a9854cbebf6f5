"""Score maps by walks that do form N×N matrices: what other methods do, beside the slots.

Token attention after AFA (Ru et al., CVPR 2022) and MCTformer (Xu et al., CVPR 2022); the walk on
pixel affinity after IRN (Ahn et al., CVPR 2019), here with similarity of features in place of its
trained affinity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss.seeding.cam import merge_scales, resize
from wsss.seeding.maps import Evidence, lower_at_border
from wsss.seeding.walks import Border, blocks_of, min_max


@dataclass(frozen=True)
class TokenWalk:
    """Class activation after a walk by attention among tokens, on the grid of stride 16.

    Attributes:
        block: attention blocks at strides 16 and 32, by stride.index, by stride, or `all`; several
            are averaged into one transition.
        steps: t ≥ 1.
        border: background evidence that lowers the scores, as with slots.
    """

    block: str
    steps: int
    border: Border | None = None

    def maps(self, evidence: Sequence[Evidence], tags: Tensor, size: tuple[int, int]) -> Tensor:
        """(1, L, *size) in 0…1, of the L tagged classes of one image."""
        evidence = [one.of_tagged(tags) for one in evidence]
        maps = [one.folded(self._walk(one)) for one in evidence]
        return lower_at_border(evidence, min_max(merge_scales(maps, size)), self.border)

    def _walk(self, evidence: Evidence) -> Tensor:
        h, w = evidence.features[2].shape[-2:]
        scores = resize(evidence.cam, (h, w)).flatten(2)
        transition = self._transition(evidence)
        for _ in range(self.steps):
            scores = scores @ transition.transpose(-2, -1)
        return min_max(scores.unflatten(2, (h, w)))

    def _transition(self, evidence: Evidence) -> Tensor:
        grids = {int(4 * 2**i): (f.shape[-2], f.shape[-1]) for i, f in enumerate(evidence.features)}
        among_tokens = [n for n in evidence.attention if n not in evidence.assignments]
        names = [n for n in blocks_of(self.block, among_tokens) if n.startswith(("16.", "32."))]
        return token_transition(
            [
                resize_attention(
                    evidence.attention[n].float(), grids[int(n.split(".")[0])], grids[16]
                )
                for n in names
            ]
        )


@dataclass(frozen=True)
class PixelWalk:
    """Class activation after a dense walk on the similarity of features, training-free IRN.

    Features of strides 8 and 16 side by side, on the grid of stride 8, of the image at the scale
    nearest to 1; class activation over all scales.

    Attributes:
        radius: neighbours in grid steps.
        power: β of the affinity.
        doublings: the walk takes 2^doublings steps.
    """

    radius: float = 5.0
    power: float = 10.0
    doublings: int = 4

    def maps(self, evidence: Sequence[Evidence], tags: Tensor, size: tuple[int, int]) -> Tensor:
        """(1, L, *size) in 0…1, of the L tagged classes of one image."""
        # the stages' grids grow with the scale; the maps' size shows which scale is nearest to 1
        one = min(evidence, key=lambda e: abs(e.features[0].shape[-1] - size[1]))
        h, w = one.features[1].shape[-2:]
        parts = [F.normalize(resize(f[:1].float(), (h, w)), dim=1) for f in one.features[1:3]]
        transition = pixel_transition(torch.cat(parts, dim=1), self.radius, self.power)
        cams = [own.folded(own.cam) for own in (e.of_tagged(tags) for e in evidence)]
        moved = squared_walk(merge_scales(cams, (h, w)).flatten(2), transition, self.doublings)
        return min_max(resize(moved.unflatten(2, (h, w)), size))


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


def pixel_transition(features: Tensor, radius: float, power: float) -> Tensor:
    """The transition of pixel affinity: similarity of features to a power, within a radius.

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
    positions = torch.stack([y.flatten(), x.flatten()], dim=1).to(features.dtype)
    affinity *= torch.cdist(positions, positions) <= radius + 1e-6
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
