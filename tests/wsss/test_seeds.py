"""Seeds: Otsu's threshold by brute force, hard masks by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss.seeds import margins, otsu_threshold, seed_mask, seed_probabilities


def brute_force_otsu(values: Tensor, bins: int) -> set[float]:
    """Every threshold k / bins with the highest variance between the two sides."""
    indices = (values.flatten().double() * bins).long().clamp(0, bins - 1).numpy()
    centres = (indices + 0.5) / bins
    between = np.zeros(bins)
    for k in range(1, bins):
        low, high = centres[indices < k], centres[indices >= k]
        if len(low) and len(high):
            between[k] = len(low) * len(high) * (low.mean() - high.mean()) ** 2
    return {k / bins for k in range(1, bins) if between[k] >= between.max() * (1 - 1e-9)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bins", [8, 128])
def test_otsu_equals_brute_force(seed: int, bins: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    two_peaks = torch.cat(
        [
            0.2 + 0.1 * torch.randn(90, generator=generator),
            0.7 + 0.1 * torch.randn(60, generator=generator),
        ]
    ).clamp(0, 1)
    flat = torch.rand(150, generator=generator)
    scores = torch.stack([two_peaks, flat]).reshape(2, 10, 15)
    for found, channel in zip(otsu_threshold(scores, bins), scores, strict=True):
        best = sorted(brute_force_otsu(channel, bins))
        assert found.item() == pytest.approx(sum(best) / len(best), abs=1e-6)


def test_otsu_cuts_midway_between_two_values() -> None:
    scores = torch.tensor([[[0.0, 0.0, 1.0]], [[0.25, 0.25, 0.75]]])
    # any cut in between is as good: the middle one
    torch.testing.assert_close(
        otsu_threshold(scores, 128), torch.tensor([0.5, 0.5]), atol=1 / 128, rtol=0
    )


def test_a_flat_channel_never_stands_out() -> None:
    assert (margins(torch.zeros(1, 3, 3), "otsu", (6, 6)) < 0).all()


def test_margins_subtract_the_threshold_at_the_picture_size() -> None:
    scores = torch.tensor([[[0.2, 0.6]], [[1.0, 0.0]]])
    expected = torch.tensor([[[-0.3, 0.1]], [[0.5, -0.5]]])
    torch.testing.assert_close(margins(scores, 0.5, (1, 2)), expected)
    assert margins(scores, 0.5, (3, 5)).shape == (2, 3, 5)
    otsu = margins(scores, "otsu", (1, 2))
    torch.testing.assert_close(otsu, scores - otsu_threshold(scores)[:, None, None])


def test_the_seed_is_the_class_that_stands_out_most() -> None:
    found = seed_mask(
        torch.tensor([[[0.3, 0.1, -0.1, 0.0]], [[0.2, 0.4, -0.2, -0.5]]]), torch.tensor([7, 12])
    )
    assert found.dtype == torch.uint8
    assert found.tolist() == [[7, 12, 0, 0]]


def test_a_picture_without_tags_is_background() -> None:
    nothing = margins(torch.zeros(0, 2, 3), "otsu", (4, 6))
    assert seed_mask(nothing, torch.zeros(0, dtype=torch.uint8)).tolist() == [[0] * 6] * 4
    assert torch.equal(seed_probabilities(nothing, 10.0), torch.ones(1, 4, 6))


def test_probabilities_are_the_softmax_over_background_and_classes() -> None:
    found = seed_probabilities(torch.tensor([[[0.0, 0.1]], [[-9.0, 0.0]]]), 10.0)
    assert found.shape == (3, 1, 2)
    torch.testing.assert_close(found.sum(0), torch.ones(1, 2))
    e = np.e
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(
        found[:, 0, 1].double(), torch.tensor([1.0, e, 1.0]).double() / (2 + e), atol=1e-6, rtol=0
    )


def test_the_likeliest_class_is_the_seed() -> None:
    scores = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(3))
    labels = torch.tensor([2, 5, 9])
    probs = seed_probabilities(scores, 4.0)
    assert torch.equal(
        torch.tensor([0, 2, 5, 9])[probs.argmax(0)].byte(), seed_mask(scores, labels)
    )
