"""The baselines' N×N walks: exact on hand-sized grids, against loops over pairs of tokens."""

import pytest
import torch

from wsss.walk.dense import (
    dense_walk,
    pixel_transition,
    resize_attention,
    squared_walk,
    token_transition,
)


def some_attention(tokens: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, tokens, tokens, generator=generator).softmax(-1)


def test_the_transition_of_attention_by_hand() -> None:
    attention = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    # symmetric: [[2, 0.5], [0.5, 1]], then rows
    expected = torch.tensor([[[0.8, 0.2], [1 / 3, 2 / 3]]])
    torch.testing.assert_close(token_transition([attention]), expected)
    other = some_attention(4, 1)
    mean = (some_attention(4) + other) / 2
    torch.testing.assert_close(
        token_transition([some_attention(4), other]), token_transition([mean])
    )


def test_resized_attention_keeps_rows_and_what_is_even() -> None:
    attention = some_attention(6)
    assert resize_attention(attention, (2, 3), (2, 3)) is attention
    larger = resize_attention(attention, (2, 3), (4, 6))
    assert larger.shape == (2, 24, 24)
    torch.testing.assert_close(larger.sum(-1), torch.ones(2, 24))
    even = resize_attention(torch.full((1, 6, 6), 1 / 6), (2, 3), (4, 6))
    torch.testing.assert_close(even, torch.full((1, 24, 24), 1 / 24))
    # a 1 × 2 grid on 1 × 4, columns outermost: bilinear by hand
    small = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    weights = torch.tensor([[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
    expected = weights @ weights.T
    found = resize_attention(small, (1, 2), (1, 4))[0]
    torch.testing.assert_close(found, expected / expected.sum(1, keepdim=True))


@pytest.mark.parametrize(("radius", "power"), [(1.0, 1.0), (1.5, 4.0), (9.0, 2.0)])
def test_pixel_affinity_pair_by_pair(radius: float, power: float) -> None:
    h, w = 3, 4
    features = torch.randn(2, 5, h, w, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, h * w, h * w)
    for b in range(2):
        for i in range(h * w):
            for j in range(h * w):
                (y, x), (v, u) = divmod(i, w), divmod(j, w)
                if (y - v) ** 2 + (x - u) ** 2 <= radius**2:
                    pair = features[b, :, y, x], features[b, :, v, u]
                    likeness = torch.cosine_similarity(*pair, dim=0).clamp_min(0)
                    expected[b, i, j] = likeness**power
    expected /= expected.sum(-1, keepdim=True)
    found = pixel_transition(features, radius, power)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("doublings", [0, 1, 3])
def test_squaring_is_walking(doublings: int) -> None:
    transition = token_transition([some_attention(7)])
    scores = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(2))
    walked = dense_walk(scores, transition, 2**doublings)
    torch.testing.assert_close(squared_walk(scores, transition, doublings), walked)
    if doublings:
        assert not torch.allclose(walked, scores, atol=0.1)
