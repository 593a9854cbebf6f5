"""The baselines' N×N walks: exact on hand-sized grids, against loops over pairs of tokens."""

import pytest
import torch

from wsss.ablation.baselines import (
    PixelWalk,
    TokenWalk,
    pixel_transition,
    resize_attention,
    squared_walk,
    token_transition,
)
from wsss.seeding.cam import resize
from wsss.seeding.maps import Evidence
from wsss.seeding.walks import min_max


def some_attention(tokens: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, tokens, tokens, generator=generator).softmax(-1)


def test_token_transition_by_hand() -> None:
    attention = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    # symmetric: [[2, 0.5], [0.5, 1]], then rows
    expected = torch.tensor([[[0.8, 0.2], [1 / 3, 2 / 3]]])
    torch.testing.assert_close(token_transition([attention]), expected)
    other = some_attention(4, 1)
    mean = (some_attention(4) + other) / 2
    torch.testing.assert_close(
        token_transition([some_attention(4), other]), token_transition([mean])
    )


def test_resize_attention_keeps_row_sums_and_constants() -> None:
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
def test_pixel_transition_pair_by_pair(radius: float, power: float) -> None:
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
def test_squared_walk_takes_two_to_the_doublings_steps(doublings: int) -> None:
    transition = token_transition([some_attention(7)])
    scores = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(2))
    walked = scores
    for _ in range(2**doublings):
        walked = walked @ transition.mT
    torch.testing.assert_close(squared_walk(scores, transition, doublings), walked)
    if doublings:
        assert not torch.allclose(walked, scores, atol=0.1)


def test_pixel_walk_at_stride_8_of_the_scale_nearest_to_1() -> None:
    generator = torch.Generator().manual_seed(0)

    def at(scale: int) -> Evidence:
        h, w = 8 * scale, 16 * scale
        sizes = [(h // s, w // s) for s in (1, 2, 4, 8)]
        features = [torch.randn(2, 3, *size, generator=generator) for size in sizes]
        cam = torch.rand(2, 2, *sizes[2], generator=generator)
        return Evidence(cam, {}, features, flipped=True)

    one, two = at(1), at(2)
    tags = torch.ones(1, 2, dtype=torch.bool)
    found = PixelWalk(2.0, 3.0, 1).maps([two, one], tags, (8, 16))[0]
    unit = torch.nn.functional.normalize
    near = [unit(one.features[1][:1], dim=1), unit(resize(one.features[2][:1], (4, 8)), dim=1)]
    matrix = pixel_transition(torch.cat(near, 1), 2.0, 3.0)
    mean = [(e.cam[:1] + e.cam[1:].flip(-1)) / 2 for e in (one, two)]
    cam = sum(resize(m, (4, 8)) for m in mean) / 2
    walked = cam.flatten(2) @ (matrix @ matrix).transpose(1, 2)
    expected = min_max(resize(walked.unflatten(2, (4, 8)), (8, 16)))[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_token_walk_averages_attention_at_stride_16() -> None:
    generator = torch.Generator().manual_seed(0)
    cam = torch.rand(1, 3, 3, 4, generator=generator)
    features = [torch.zeros(1, 2, 12 // s, 16 // s) for s in (1, 2, 4, 8)]
    attention = {
        name: torch.randn(1, n, n, generator=generator).softmax(-1)
        for name, n in (("16.1", 12), ("32.0", 2), ("8.0", 48))
    }
    tags = torch.tensor([[True, False, True]])
    given = [Evidence(cam, {}, features, attention=attention)]
    alone = TokenWalk("16.1", 2).maps(given, tags, (3, 4))
    step = token_transition([attention["16.1"]])
    expected = min_max(cam[:, [0, 2]].flatten(2) @ (step @ step).transpose(1, 2))
    torch.testing.assert_close(alone.flatten(2), expected, atol=1e-5, rtol=1e-4)
    both = TokenWalk("all", 2).maps(given, tags, (3, 4))
    assert both.shape == alone.shape and not torch.allclose(alone, both)
