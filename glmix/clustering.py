"""Soft clustering and dispatching: the two passages between the grid and the semantic slots.

Pure functions on tensors. B batch, K slots, N = h·w tokens of the grid, D channels. After
"Revisiting the Integration of Convolution and Attention for Vision Backbone" (Zhu et al., NeurIPS
2024).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.models import register_notrace_function
from torch import Tensor

# Tokens from which on the K×N assignment is not stored, unless it is asked for.
UNSTORED_TOKENS = 4096
# Logit of a hard assignment: exp(-HARD) is 0 in every precision that models run in.
HARD = 1e4


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
        """Pixels of the image per grid step."""
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
    pool = regional_means if exporting() else F.adaptive_avg_pool2d
    return pool(x, slot_grid).flatten(2).transpose(1, 2)


def exporting() -> bool:
    """Whether torch.export is tracing, for any image size at once."""
    # before PyTorch 2.7 an export could not be told from a compilation
    return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


def regional_means(x: Tensor, size: tuple[int, int]) -> Tensor:
    """What `F.adaptive_avg_pool2d` answers, as two products with matrices of the regions' bounds.

    For graphs of any image size: ONNX knows no adaptive pooling.

    Args:
        x: (B, D, h, w).
        size: rows and columns of regions.

    Returns:
        (B, D, *size).
    """
    rows, columns = (_regions(x, n, dim) for n, dim in zip(size, (-2, -1), strict=True))
    return rows @ x @ columns.transpose(0, 1)


def _regions(x: Tensor, regions: int, dim: int) -> Tensor:
    """(regions, length of `dim`): row i averages tokens ⌊i·n/r⌋ … ⌈(i + 1)·n/r⌉ − 1."""
    length = x.shape[dim]
    i = torch.arange(regions, device=x.device)[:, None]
    token = torch.arange(length, device=x.device)
    first, end = i * length // regions, ((i + 1) * length + regions - 1) // regions
    member = ((token >= first) & (token < end)).to(x.dtype)
    return member / member.sum(1, keepdim=True)


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


def cluster(
    slots: Tensor, tokens: Tensor, scale: Tensor, store: bool
) -> tuple[Tensor, Tensor | None]:
    """Gather the tokens into slots, keeping the assignment where it is wanted or small.

    Fused attention of slots over tokens works through 64 queries, one tile an image: on a CPU that
    saves memory, on a GPU it would leave most of the device idle, and two products fill it.

    Args:
        slots: (B, K, D), the initial slots.
        tokens: (B, N, D).
        scale: scalar, learnt.
        store: whether the caller wants the assignment logits.

    Returns:
        (B, K, D), and the assignment logits (B, K, N) where they are kept.
    """
    # an exported graph for any image size takes one of the two ways
    if store or exporting() or tokens.shape[1] < UNSTORED_TOKENS:
        logits = assignment_logits(slots, tokens, scale)
        return soft_cluster(logits, tokens), logits
    if tokens.device.type == "cpu":
        return soft_cluster_unstored(slots, tokens, scale), None
    return soft_cluster(assignment_logits(slots, tokens, scale), tokens), None


def give_back(
    slots: Tensor, tokens: Tensor, mixed: Tensor, scale: Tensor, logits: Tensor | None
) -> Tensor:
    """Dispatch `mixed` to the tokens, by the stored assignment or by fused attention without it.

    Args:
        slots: (B, K, D), the initial slots, which the assignment is made of.
        tokens: (B, N, D).
        mixed: (B, K, D), the slots after attention.
        scale: scalar, learnt.
        logits: (B, K, N), as `cluster` returned them, or None.

    Returns:
        (B, N, D).
    """
    if logits is None:
        return dispatch_unstored(slots, tokens, mixed, scale)
    return dispatch(logits, mixed)


def soft_cluster(logits: Tensor, values: Tensor) -> Tensor:
    """Gather grid values into slots: G · values, (B, K, N) x (B, N, D) → (B, K, D)."""
    return cluster_weights(logits) @ values


def dispatch(logits: Tensor, slots: Tensor) -> Tensor:
    """Give every token the mean of the slots it belongs to: P · slots → (B, N, D)."""
    return torch.matmul(dispatch_weights(logits), slots)


def soft_cluster_unstored(slots: Tensor, tokens: Tensor, scale: Tensor) -> Tensor:
    """What `soft_cluster` makes of the tokens themselves, without ever holding K×N weights.

    Slots attend to tokens, so fused attention goes over the tokens in tiles.

    Args:
        slots: (B, K, D).
        tokens: (B, N, D).
        scale: scalar.

    Returns:
        (B, K, D).
    """
    query, key = scale * F.normalize(slots, dim=-1), F.normalize(tokens, dim=-1)
    return _attend(query, key, tokens)


def dispatch_unstored(slots: Tensor, tokens: Tensor, mixed: Tensor, scale: Tensor) -> Tensor:
    """What `dispatch` makes of `mixed`, without ever holding K×N weights.

    Args:
        slots: (B, K, D), the initial slots, which the assignment is made of.
        tokens: (B, N, D).
        mixed: (B, K, D), the slots to give back to the tokens.
        scale: scalar.

    Returns:
        (B, N, D).
    """
    query, key = F.normalize(tokens, dim=-1), scale * F.normalize(slots, dim=-1)
    return _attend(query, key, mixed)


def hard_assignment_logits(
    slots: Tensor, tokens: Tensor, planes: Tensor, iterations: int = 10
) -> Tensor:
    """K-means on hashed tokens, as logits whose softmaxes are the hard assignment.

    Tokens and initial slots are hashed to signs of random projections; Lloyd's iterations run on
    the signs (Hamming distance, majority as the mean), after "Fast Transformers with Clustered
    Attention" (Vyas et al., NeurIPS 2020). No gradient flows through the assignment. A slot
    that nobody chose becomes the mean of all tokens.

    Args:
        slots: (B, K, D), where the iterations start.
        tokens: (B, N, D).
        planes: (D, bits), the projections.
        iterations: Lloyd's iterations.

    Returns:
        (B, K, N), `HARD` where token n belongs to slot k, else 0.
    """
    with torch.no_grad():
        centroids = _signs(slots.detach() @ planes)
        codes = _signs(tokens.detach() @ planes)
        for _ in range(iterations):
            member = _one_hot_over_slots(centroids @ codes.transpose(-2, -1))
            sums = member @ codes
            centroids = torch.where(sums == 0, centroids, _signs(sums))
        return HARD * _one_hot_over_slots(centroids @ codes.transpose(-2, -1))


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    # one head; fused kernels refuse channels that do not lie side by side, or mixed precision
    q, k, v = (t.to(query.dtype).contiguous().unsqueeze(1) for t in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0).squeeze(1)


def _signs(x: Tensor) -> Tensor:
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def _one_hot_over_slots(similarity: Tensor) -> Tensor:
    winner = similarity.argmax(dim=-2, keepdim=True)
    return torch.zeros_like(similarity).scatter_(-2, winner, 1.0)


# their ways depend on shapes, or they switch gradients off: torch.fx keeps each as one node
for _function in (cluster, give_back, hard_assignment_logits):
    register_notrace_function(_function)
