"""Random walks through the slots of a block: tokens of one slot come to share their scores.

The dispatch weights P (each token's distribution over K slots) and the cluster weights G (what each
slot gathers) make transitions of rank ≤ K between the N tokens: P·G, one way; and the symmetric,
doubly stochastic A = P·D⁻¹·Pᵀ with D the column sums of P. Everything costs O(K·N) memory; no N×N
matrix is formed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from glmix.clustering import HARD, cluster_weights, dispatch_weights


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


def _one_way(scores: Tensor, logits: Tensor, steps: int) -> Tensor:
    return one_way_walk(scores, cluster_weights(logits), dispatch_weights(logits), steps)


def _symmetric(scores: Tensor, logits: Tensor, steps: int) -> Tensor:
    return symmetric_walk(scores, dispatch_weights(logits), steps)


Kind = Literal["symmetric", "one-way"]

WALKS: dict[Kind, Callable[[Tensor, Tensor, int], Tensor]] = {
    "symmetric": _symmetric,
    "one-way": _one_way,
}
"""Kind of walk → (scores (B, C, N), assignment logits (B, K, N), steps) → scores (B, C, N)."""


@dataclass(frozen=True)
class Walk:
    """One random walk.

    Attributes:
        block: stride.index of a block with slots, such as `8.0`; or a stride alone, or `all`, for
            every block of it, each walked by itself.
        steps: t ≥ 1.
        kind: `symmetric` P·D⁻¹·Pᵀ, or `one-way` P·G.
        temperature: of the assignment; below 1 is sharper.
        top_k: slots that a token keeps; None keeps all.
        weight: in the mean over walks.
    """

    block: str
    steps: Annotated[int, Ge(1)] = 1
    kind: Kind = "symmetric"
    temperature: Annotated[float, Gt(0)] = 1.0
    top_k: Annotated[int, Ge(1)] | None = None
    weight: Annotated[float, Gt(0)] = 1.0

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    def __call__(self, scores: Tensor, logits: Tensor) -> Tensor:
        """Scores after the walk.

        Args:
            scores: (B, C, N), any real scores of the tokens.
            logits: (B, K, N), the block's assignment of tokens to slots.

        Returns:
            (B, C, N).
        """
        sharp = sharpen(logits.float(), self.temperature, self.top_k)
        return WALKS[self.kind](scores, sharp, self.steps)


@dataclass(frozen=True)
class Border:
    """Background evidence: what a walk from the image's border reaches is less likely an object.

    Photographs are taken of objects, and what runs along the border belongs mostly to what is
    around them (Zhu et al., "Saliency Optimization from Robust Background Detection", CVPR 2014,
    measure it as boundary connectivity). Through slots it reaches background in the middle of the
    image and stops at objects that touch the border in a small part.

    Attributes:
        block: the block whose slots it walks through, named as in `Walk`.
        steps: t ≥ 1 of a symmetric walk.
        width: of the border, as a share of the shorter side of the grid; at least one token.
        weight: scores are multiplied by 1 − weight · evidence.
    """

    block: str = "16.0"
    steps: Annotated[int, Ge(1)] = 4
    width: Annotated[float, Gt(0), Lt(0.5)] = 0.04
    weight: Annotated[float, Gt(0), Le(1)] = 1.0

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    @property
    def walk(self) -> Walk:
        """The walk that carries the border's mark."""
        return Walk(self.block, self.steps)


@dataclass(frozen=True)
class Seeding:
    """What makes a score map of class activation.

    Attributes:
        walks: their results, each scaled to 0…1 per class, are averaged; without any, class
            activation stays as it is.
        border: background evidence that lowers the scores; None leaves them.
    """

    walks: tuple[Walk, ...] = ()
    border: Border | None = None

    @property
    def every_walk(self) -> tuple[Walk, ...]:
        """Those of the scores and that of the border."""
        return self.walks if self.border is None else (*self.walks, self.border.walk)


def blocks_of(block: str, names: Iterable[str]) -> list[str]:
    """The blocks among `names` that a walk means by `block`: one, those of a stride, or `all`."""
    return [name for name in names if block in (name, name.partition(".")[0], "all")]


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

    A walk flattens its scores: normalised, one threshold serves any number of steps. A channel
    flattened to the rounding of float32 counts as constant, or that rounding would become seeds.
    """
    flat = scores.flatten(2)
    low = flat.amin(dim=-1, keepdim=True)
    span = flat.amax(dim=-1, keepdim=True) - low
    varies = span > 1e-5 * flat.abs().amax(dim=-1, keepdim=True)
    return torch.where(varies, (flat - low) / span.clamp_min(1e-12), 0.0).view_as(scores)
