"""The walk through slots: against the dense N×N matrix, and the properties that make it a walk."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from glmix.clustering import cluster_weights, dispatch_weights
from wsss.seeding.walks import (
    WALKS,
    Kind,
    Walk,
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


def test_walk_matrix_is_doubly_stochastic() -> None:
    matrix = dense(dispatch_weights(assignment()))
    torch.testing.assert_close(matrix.sum(1), torch.ones(B, N))
    torch.testing.assert_close(matrix.sum(2), torch.ones(B, N))
    torch.testing.assert_close(matrix, matrix.transpose(1, 2))


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_walk_keeps_the_mean_and_constants(steps: int) -> None:
    dispatch = dispatch_weights(assignment())
    scores = some_scores()
    walked = symmetric_walk(scores, dispatch, steps)
    torch.testing.assert_close(walked.mean(-1), scores.mean(-1), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(walked, scores, atol=1e-2)
    constant = torch.full((B, C, N), 0.7)
    torch.testing.assert_close(symmetric_walk(constant, dispatch, steps), constant)


@pytest.mark.parametrize("steps", [1, 3])
def test_walk_ignores_the_order_of_slots(steps: int) -> None:
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


def test_walk_permutes_with_the_tokens() -> None:
    dispatch, scores = dispatch_weights(assignment()), some_scores()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        symmetric_walk(scores[..., order], dispatch[:, order], 3),
        symmetric_walk(scores, dispatch, 3)[..., order],
    )


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_walk_by_a_hard_partition_gives_segment_means(steps: int) -> None:
    # six tokens in the slots 0, 0, 0, 2, 2, 3; slot 1 has none
    dispatch = torch.eye(4)[torch.tensor([0, 0, 0, 2, 2, 3])][None]
    scores = torch.tensor([[[0.0, 3.0, 6.0, 1.0, 2.0, 9.0]]])
    expected = torch.tensor([[[3.0, 3.0, 3.0, 1.5, 1.5, 9.0]]])
    torch.testing.assert_close(symmetric_walk(scores, dispatch, steps), expected)


def test_walk_of_no_step_returns_the_scores() -> None:
    scores = some_scores()
    assert torch.equal(symmetric_walk(scores, dispatch_weights(assignment()), 0), scores)


def test_one_way_walk_keeps_constants() -> None:
    logits = assignment()
    cluster, dispatch = cluster_weights(logits), dispatch_weights(logits)
    constant = torch.full((B, C, N), -2.0)
    torch.testing.assert_close(one_way_walk(constant, cluster, dispatch, 3), constant)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_one_way_walk_equals_the_dense_matrix(steps: int, seed: int) -> None:
    logits, scores = assignment(seed), some_scores(seed + 9)
    cluster, dispatch = cluster_weights(logits), dispatch_weights(logits)
    matrix = torch.linalg.matrix_power(dispatch @ cluster, steps)
    found = one_way_walk(scores, cluster, dispatch, steps)
    torch.testing.assert_close(found, scores @ matrix.transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def some_region(seed: int) -> Tensor:
    """Half of the tokens, other ones for each class; none at all for the last."""
    region = torch.rand(B, C, N, generator=torch.Generator().manual_seed(seed)) < 0.5
    region[:, -1] = False
    return region.float()


def test_walk_by_temperature_and_top_slots() -> None:
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


def test_min_max_by_hand() -> None:
    scores = torch.tensor([[[[1.0, 3.0], [2.0, 5.0]], [[7.0, 7.0], [7.0, 7.0]]]])
    expected = torch.tensor([[[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    assert torch.equal(min_max(scores), expected)


def test_min_max_forgets_scale_and_offset() -> None:
    scores = some_scores()
    torch.testing.assert_close(min_max(5 * scores - 3), min_max(scores), atol=1e-6, rtol=1e-5)
    assert min_max(scores).amin(-1).eq(0).all() and min_max(scores).amax(-1).eq(1).all()


def test_min_max_of_a_map_that_is_flat_but_for_rounding_is_0() -> None:
    # slots that all tokens share alike: one step takes every score to the mean
    walked = symmetric_walk(torch.rand(1, 2, 576), torch.full((1, 576, 64), 1 / 64), 3)
    assert not min_max(walked + 1e-7 * torch.rand(1, 2, 576)).any()
    small = 1e-9 * some_scores()
    torch.testing.assert_close(min_max(small), min_max(some_scores()), atol=1e-5, rtol=1e-4)


def test_min_max_takes_no_class() -> None:
    assert min_max(torch.zeros(1, 0, 4, 4)).shape == (1, 0, 4, 4)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_walk_of_every_kind_is_in_the_registry(kind: Kind) -> None:
    logits, scores = assignment(), some_scores()
    expected = {
        "symmetric": symmetric_walk(scores, dispatch_weights(logits), 2),
        "one-way": one_way_walk(scores, cluster_weights(logits), dispatch_weights(logits), 2),
    }[kind]
    torch.testing.assert_close(Walk("8.0", 2, kind)(scores, logits), expected)
    sharp = Walk("8.0", 2, kind, temperature=0.5, top_k=2)(scores, logits)
    torch.testing.assert_close(sharp, Walk("8.0", 2, kind)(scores, sharpen(logits, 0.5, 2)))
    assert set(WALKS) == set(get_args(Kind))
