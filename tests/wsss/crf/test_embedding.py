"""The embedding: points are the weighted means of the vertices around them."""

import itertools
import math

import pytest
import torch

from wsss.crf import embedding
from wsss.crf.embedding import KeySpace, embed, key_space

RANGES = {
    1: [9.0],
    2: [6.0, 4.5],
    3: [6.0, 4.5, 12.0],
    5: [6.0, 4.5, 51.0, 51.0, 51.0],
    6: [3.0] * 6,
    8: [1.5] * 8,
}


def random_features(ranges: list[float], count: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(len(ranges), count, generator=generator)
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=len(ranges)))).t()
    ties = torch.rand(1, 8, generator=generator).expand(len(ranges), -1)
    points = torch.cat([features, corners, ties], 1)
    return list((points * torch.tensor(ranges)[:, None]).unbind())


def box(keys: torch.Tensor, ranges: list[float], space: KeySpace) -> torch.Tensor:
    """(…, d): w_j of keys, from the documented layout."""
    d = len(ranges)
    c = [scale * r for scale, r in zip(space.scales, ranges, strict=True)]
    low = [math.floor(-j * c[j - 1] / (d + 1)) - 3 for j in range(d)]
    high = [math.ceil((j + 2) * c[j] / (d + 1)) + 3 for j in range(d)]
    strides = [
        math.prod(b - a + 1 for a, b in zip(low[j + 1 :], high[j + 1 :], strict=True))
        for j in range(d)
    ]
    rest, digits = keys.long(), []
    for j in range(d):
        digits.append(rest // strides[j] + low[j])
        rest = rest % strides[j]
    return torch.stack(digits, -1)


@pytest.mark.parametrize("d", RANGES)
def test_embed_makes_points_means_of_their_vertices(d: int) -> None:
    ranges = RANGES[d]
    features, space = random_features(ranges, 500), key_space(ranges)
    keys, weights = embed(features, space, None, 1)
    assert keys.dtype == space.dtype(1) and keys.shape == weights.shape == (len(features[0]), d + 1)
    assert weights.min() >= -1e-5
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    mean = (box(keys, ranges, space) * weights[..., None]).sum(1)
    c = [f * s for f, s in zip(features, space.scales, strict=True)]
    expected = [((j + 2) * c[j] - (j * c[j - 1] if j else 0)) / (d + 1) for j in range(d)]
    torch.testing.assert_close(mean, torch.stack(expected, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("d", RANGES)
def test_embed_keeps_vertices_clear_of_the_margin(d: int) -> None:
    ranges = RANGES[d]
    space = key_space(ranges)
    keys, _ = embed(random_features(ranges, 5000), space, None, 1)
    assert keys.min() >= 0 and keys.max() < space.total
    positions = box(keys, ranges, space) - box(torch.tensor(0), ranges, space)
    top = box(torch.tensor(space.total - 1), ranges, space) - box(torch.tensor(0), ranges, space)
    assert (positions >= 1).all() and (positions <= top - 1).all()


@pytest.mark.parametrize("d", RANGES)
def test_key_space_steps_lead_around_the_simplex(d: int) -> None:
    space = key_space(RANGES[d])
    assert sum(space.steps) == 0 and space.steps[-1] == -1
    keys, _ = embed(random_features(RANGES[d], 100), space, None, 1)
    for row in keys.tolist():  # every vertex differs from the next by one axis's step
        around = [a - b for a, b in zip(row, [*row[1:], row[0]], strict=True)]
        assert sorted(around) == sorted(space.steps)


def test_embed_keeps_images_apart() -> None:
    features, space = random_features([3.0, 3.0], 10), key_space([3.0, 3.0])
    index = torch.arange(len(features[0]), dtype=torch.int32) % 2
    keys, _ = embed(features, space, index, 2)
    alone, _ = embed(features, space, None, 1)
    assert torch.equal(keys, alone + (index * space.total)[:, None])


def test_key_space_grows_wide_when_it_must() -> None:
    assert key_space([100.0] * 5).dtype(1) == torch.int64
    assert key_space([6.0, 4.5, 20.0, 20.0, 20.0]).dtype(1) == torch.int32
    assert key_space([6.0, 4.5, 20.0, 20.0, 20.0]).dtype(10**6) == torch.int64


def test_embed_by_sorting_equals_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    features, space = random_features(RANGES[5], 500), key_space(RANGES[5])
    keys, weights = embed(features, space, None, 1)
    monkeypatch.setattr(embedding, "SORTING_NETWORKS", {})
    sorted_keys, sorted_weights = embed(features, space, None, 1)
    assert torch.equal(keys, sorted_keys) and torch.equal(weights, sorted_weights)


def test_hashed_keys_name_the_same_vertices(monkeypatch: pytest.MonkeyPatch) -> None:
    features, space = random_features(RANGES[5], 500), key_space(RANGES[5])
    keys, _ = embed(features, space, None, 1)
    monkeypatch.setattr(embedding, "BOX_LIMIT", 1)
    hashed_space = key_space(RANGES[5])
    hashes, _ = embed(features, hashed_space, None, 1)
    assert hashed_space.columns == 0 and sum(hashed_space.steps) % 2**64 == 0
    pairs = set(zip(keys.flatten().tolist(), hashes.flatten().tolist(), strict=True))
    assert len(pairs) == len({key for key, _ in pairs}) == len({code for _, code in pairs})


def test_key_space_of_bounds_below_zero_holds_all_vertices() -> None:
    bounds = [(-40.0, -31.0), (5.0, 9.0), (-2.0, 3.0)]
    space = key_space(bounds)
    points = random_features([1.0] * 3, 2000)
    features = [low + f * (high - low) for f, (low, high) in zip(points, bounds, strict=True)]
    keys, _ = embed(features, space, None, 1)
    assert keys.min() >= 0 and keys.max() < space.total < 10**5
