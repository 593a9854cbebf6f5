"""The walk through slots: against the dense N×N matrix, and the properties that make it a walk."""

import pytest
import torch
from torch import Tensor

from glmix.clustering import cluster_weights, dispatch_weights
from wsss.walk import (
    attention_walk,
    confined_one_way_walk,
    confined_symmetric_walk,
    limit_walk,
    min_max,
    one_way_walk,
    sharpen,
    symmetric_walk,
)

B, C, K, N = 2, 3, 5, 12


def assignment(seed: int = 0) -> Tensor:
    return 3 * torch.randn(B, K, N, generator=torch.Generator().manual_seed(seed))


def some_scores(seed: int = 1) -> Tensor:
    return torch.randn(B, C, N, generator=torch.Generator().manual_seed(seed))


def dense(dispatch: Tensor) -> Tensor:
    """A = P·D⁻¹·Pᵀ as (B, N, N), written out."""
    inverse = torch.diag_embed(1 / dispatch.sum(1))
    return dispatch @ inverse @ dispatch.transpose(1, 2)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_walk_equals_the_dense_matrix(steps: int) -> None:
    dispatch = dispatch_weights(assignment())
    scores = some_scores()
    expected = scores
    for _ in range(steps):
        expected = expected @ dense(dispatch).transpose(1, 2)
    torch.testing.assert_close(
        symmetric_walk(scores, dispatch, steps), expected, atol=1e-5, rtol=1e-5
    )


def test_the_matrix_is_doubly_stochastic() -> None:
    matrix = dense(dispatch_weights(assignment()))
    torch.testing.assert_close(matrix.sum(1), torch.ones(B, N))
    torch.testing.assert_close(matrix.sum(2), torch.ones(B, N))
    torch.testing.assert_close(matrix, matrix.transpose(1, 2))


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_the_mean_is_kept_and_a_constant_stays(steps: int) -> None:
    dispatch = dispatch_weights(assignment())
    scores = some_scores()
    walked = symmetric_walk(scores, dispatch, steps)
    torch.testing.assert_close(walked.mean(-1), scores.mean(-1), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(walked, scores, atol=1e-2)
    constant = torch.full((B, C, N), 0.7)
    torch.testing.assert_close(symmetric_walk(constant, dispatch, steps), constant)


@pytest.mark.parametrize("steps", [1, 3])
def test_permuting_slots_changes_nothing(steps: int) -> None:
    logits, scores = assignment(), some_scores()
    shuffled = logits[:, torch.tensor([3, 0, 4, 1, 2])]
    torch.testing.assert_close(
        symmetric_walk(scores, dispatch_weights(shuffled), steps),
        symmetric_walk(scores, dispatch_weights(logits), steps),
    )
    torch.testing.assert_close(
        one_way_walk(scores, cluster_weights(shuffled), dispatch_weights(shuffled), steps),
        one_way_walk(scores, cluster_weights(logits), dispatch_weights(logits), steps),
    )


def test_permuting_tokens_permutes_the_walk() -> None:
    dispatch, scores = dispatch_weights(assignment()), some_scores()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        symmetric_walk(scores[..., order], dispatch[:, order], 3),
        symmetric_walk(scores, dispatch, 3)[..., order],
    )


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_hard_partition_gives_segment_means(steps: int) -> None:
    # six tokens in the slots 0, 0, 0, 2, 2, 3; slot 1 has none
    dispatch = torch.eye(4)[torch.tensor([0, 0, 0, 2, 2, 3])][None]
    scores = torch.tensor([[[0.0, 3.0, 6.0, 1.0, 2.0, 9.0]]])
    expected = torch.tensor([[[3.0, 3.0, 3.0, 1.5, 1.5, 9.0]]])
    torch.testing.assert_close(symmetric_walk(scores, dispatch, steps), expected)


def test_no_step_returns_the_scores() -> None:
    scores = some_scores()
    assert torch.equal(symmetric_walk(scores, dispatch_weights(assignment()), 0), scores)


def test_one_way_keeps_a_constant() -> None:
    logits = assignment()
    cluster, dispatch = cluster_weights(logits), dispatch_weights(logits)
    constant = torch.full((B, C, N), -2.0)
    torch.testing.assert_close(one_way_walk(constant, cluster, dispatch, 3), constant)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_one_way_equals_the_dense_matrix(steps: int, seed: int) -> None:
    logits, scores = assignment(seed), some_scores(seed + 9)
    cluster, dispatch = cluster_weights(logits), dispatch_weights(logits)
    matrix = torch.linalg.matrix_power(dispatch @ cluster, steps)
    found = one_way_walk(scores, cluster, dispatch, steps)
    torch.testing.assert_close(found, scores @ matrix.transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [1, 3])
def test_attention_among_slots_equals_the_dense_matrix(steps: int, seed: int) -> None:
    logits, scores = assignment(seed), some_scores(seed + 9)
    among = torch.randn(B, K, K, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    cluster, dispatch = cluster_weights(logits), dispatch_weights(logits)
    matrix = torch.linalg.matrix_power(dispatch @ among @ cluster, steps)
    found = attention_walk(scores, cluster, dispatch, among, steps)
    torch.testing.assert_close(found, scores @ matrix.transpose(1, 2), atol=1e-5, rtol=1e-5)
    # slots that keep to themselves change nothing
    alone = torch.eye(K).expand(B, K, K)
    torch.testing.assert_close(
        attention_walk(scores, cluster, dispatch, alone, steps),
        one_way_walk(scores, cluster, dispatch, steps),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 0.99])
def test_the_limit_equals_the_dense_inverse(alpha: float, seed: int) -> None:
    dispatch, scores = dispatch_weights(assignment(seed)), some_scores(seed + 9)
    inverse = (1 - alpha) * torch.linalg.inv(torch.eye(N) - alpha * dense(dispatch))
    found = limit_walk(scores, dispatch, alpha)
    torch.testing.assert_close(found, scores @ inverse, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.mean(-1), scores.mean(-1), atol=1e-5, rtol=1e-5)


def test_the_limit_is_the_sum_of_all_walks_and_takes_slots_without_tokens() -> None:
    dispatch = torch.eye(4)[torch.tensor([0, 0, 0, 2, 2, 3])][None]  # slot 1 has none
    scores = torch.tensor([[[0.0, 3.0, 6.0, 1.0, 2.0, 9.0]]])
    means = torch.tensor([[[3.0, 3.0, 3.0, 1.5, 1.5, 9.0]]])
    # Σ (1−α)·αᵗ·Aᵗ with A² = A
    torch.testing.assert_close(limit_walk(scores, dispatch, 0.75), scores / 4 + means * 3 / 4)


def some_region(seed: int) -> Tensor:
    """Half of the tokens, other ones for each class; none at all for the last."""
    region = torch.rand(B, C, N, generator=torch.Generator().manual_seed(seed)) < 0.5
    region[:, -1] = False
    return region.float()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_confined_walks_equal_the_dense_matrices(steps: int, seed: int) -> None:
    logits, scores, region = assignment(seed), some_scores(seed + 9), some_region(seed)
    cluster, dispatch = cluster_weights(logits), dispatch_weights(logits)
    symmetric = confined_symmetric_walk(scores, dispatch, region, steps)
    one_way = confined_one_way_walk(scores, cluster, dispatch, region, steps)
    for b in range(B):
        for c in range(C):
            held = torch.diag(region[b, c])
            P = held @ dispatch[b]
            A = P @ torch.diag(1 / P.sum(0).clamp_min(1e-12)) @ P.T
            G = cluster[b] @ held
            T = P @ (G / G.sum(1, keepdim=True).clamp_min(1e-12))
            start = held @ scores[b, c]
            for found, matrix in ((symmetric, A), (one_way, T)):
                expected = torch.linalg.matrix_power(matrix, steps) @ start
                torch.testing.assert_close(found[b, c], expected, atol=1e-5, rtol=1e-5)


def test_nothing_enters_or_leaves_a_region() -> None:
    dispatch, scores, region = dispatch_weights(assignment()), some_scores(), some_region(0)
    walked = confined_symmetric_walk(scores, dispatch, region, 5)
    assert (walked[region == 0] == 0).all() and walked[region == 1].ne(0).all()
    # what is inside keeps its mean, whatever stands outside
    inside = (scores * region).sum(-1)
    torch.testing.assert_close(walked.sum(-1), inside, atol=1e-5, rtol=1e-5)
    outside = torch.where(region == 1, scores, torch.tensor(1e3))
    torch.testing.assert_close(confined_symmetric_walk(outside, dispatch, region, 5), walked)


def test_everywhere_is_no_confinement() -> None:
    logits, scores = assignment(), some_scores()
    cluster, dispatch, everywhere = (
        cluster_weights(logits),
        dispatch_weights(logits),
        torch.ones(B, C, N),
    )
    torch.testing.assert_close(
        confined_symmetric_walk(scores, dispatch, everywhere, 3),
        symmetric_walk(scores, dispatch, 3),
    )
    torch.testing.assert_close(
        confined_one_way_walk(scores, cluster, dispatch, everywhere, 3),
        one_way_walk(scores, cluster, dispatch, 3),
    )


def test_temperature_and_top_slots() -> None:
    logits = torch.tensor([[[1.0, 0.0], [0.0, 4.0], [3.0, 2.0]]])  # three slots, two tokens
    assert torch.equal(sharpen(logits), logits) and torch.equal(sharpen(logits, top_k=3), logits)
    torch.testing.assert_close(sharpen(logits, 0.5), 2 * logits)
    two = dispatch_weights(sharpen(logits, top_k=2))
    e = torch.e
    expected = [[1 / (1 + e**2), 0, e**2 / (1 + e**2)], [0, e**2 / (1 + e**2), 1 / (1 + e**2)]]
    torch.testing.assert_close(two[0], torch.tensor(expected))
    assert dispatch_weights(sharpen(logits, top_k=1))[0].tolist() == [[0, 0, 1], [0, 1, 0]]
    # a slot that no token kept: finite weights, which nobody reads
    assert cluster_weights(sharpen(logits, top_k=1)).isfinite().all()


def test_min_max() -> None:
    scores = torch.tensor([[[[1.0, 3.0], [2.0, 5.0]], [[7.0, 7.0], [7.0, 7.0]]]])
    expected = torch.tensor([[[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    assert torch.equal(min_max(scores), expected)


def test_min_max_forgets_scale_and_offset() -> None:
    scores = some_scores()
    torch.testing.assert_close(min_max(5 * scores - 3), min_max(scores), atol=1e-6, rtol=1e-5)
    assert min_max(scores).amin(-1).eq(0).all() and min_max(scores).amax(-1).eq(1).all()


def test_what_is_flat_but_for_rounding_becomes_no_seed() -> None:
    # slots that all tokens share alike: one step takes every score to the mean
    walked = symmetric_walk(torch.rand(1, 2, 576), torch.full((1, 576, 64), 1 / 64), 3)
    assert not min_max(walked + 1e-7 * torch.rand(1, 2, 576)).any()
    small = 1e-9 * some_scores()
    torch.testing.assert_close(min_max(small), min_max(some_scores()), atol=1e-5, rtol=1e-4)


def test_min_max_takes_no_class() -> None:
    assert min_max(torch.zeros(1, 0, 4, 4)).shape == (1, 0, 4, 4)
