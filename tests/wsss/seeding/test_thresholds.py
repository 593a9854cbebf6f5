"""Thresholds without ground truth: Otsu's and the mixture's, by brute force."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss.seeding.thresholds import RULES, mixture_threshold, otsu_threshold, thresholds


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


def two_gaussians(low: float, high: float, share: float, spreads: tuple[float, float]) -> Tensor:
    """(1, 100, 200) scores of two Gaussians, `share` of the tokens in the higher one."""
    generator = torch.Generator().manual_seed(0)
    upper = torch.rand(20_000, generator=generator) < share
    noise = torch.randn(20_000, generator=generator)
    scores = torch.where(upper, high + spreads[1] * noise, low + spreads[0] * noise)
    return scores.clamp(0, 1).view(1, 100, 200)


@pytest.mark.parametrize(
    ("low", "high", "share", "spreads"),
    [
        (0.3, 0.7, 0.5, (0.08, 0.08)),
        (0.3, 0.7, 0.1, (0.08, 0.08)),
        (0.2, 0.6, 0.3, (0.05, 0.12)),
    ],
)
def test_mixture_finds_where_two_gaussians_are_even(
    low: float, high: float, share: float, spreads: tuple[float, float]
) -> None:
    at = np.linspace(low, high, 4001)
    density = [
        s / d * np.exp(-((at - m) ** 2) / (2 * d**2))
        for m, d, s in ((low, spreads[0], 1 - share), (high, spreads[1], share))
    ]
    even = at[np.argmax(density[1] > density[0])]
    scores = two_gaussians(low, high, share, spreads)
    found = mixture_threshold(torch.cat([scores, scores.flip(1)]))
    assert found.tolist() == pytest.approx([even, even], abs=0.025)


def test_mixture_agrees_with_expectation_maximisation_on_single_values() -> None:
    scores = two_gaussians(0.25, 0.6, 0.3, (0.06, 0.1))
    x = scores.flatten().double()
    weights, means, sds = torch.tensor([0.5, 0.5]), torch.tensor([0.2, 0.7]), torch.ones(2) / 5
    for _ in range(300):
        z = torch.distributions.Normal(means, sds).log_prob(x[:, None]) + weights.log()
        r = z.softmax(1)
        weights, means = r.mean(0), (r * x[:, None]).sum(0) / r.sum(0)
        sds = ((r * (x[:, None] - means) ** 2).sum(0) / r.sum(0)).sqrt()
    at = torch.linspace(float(means[0]), float(means[1]), 2001)[:, None]
    z = torch.distributions.Normal(means, sds).log_prob(at) + weights.log()
    even = at[(z[:, 1] > z[:, 0]).int().argmax()].item()
    assert mixture_threshold(scores).item() == pytest.approx(even, abs=0.012)


@pytest.mark.parametrize("rule", RULES)
def test_rules_take_a_class_by_itself_and_none(rule: str) -> None:
    scores = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(1)) ** 2
    found = RULES[rule](scores)
    assert found.shape == (3,) and ((found > 0) & (found < 1)).all()
    for i in range(3):
        assert RULES[rule](scores[i : i + 1]).item() == pytest.approx(found[i].item())
    assert RULES[rule](torch.zeros(0, 8, 9)).shape == (0,)


@pytest.mark.parametrize("rule", RULES)
def test_rules_of_a_flat_channel(rule: str) -> None:
    assert (RULES[rule](torch.zeros(1, 3, 3)) > 0).all()


@pytest.mark.parametrize("rule", RULES)
def test_rules_separate_two_values(rule: str) -> None:
    two = torch.tensor([[[0.0, 0.0, 1.0]], [[0.25, 0.25, 0.75]]])
    found = RULES[rule](two)
    assert 0 < found[0] < 1 and 0.25 < found[1] < 0.75


def test_thresholds_move_by_levels() -> None:
    scores = torch.linspace(0, 1, 100).view(1, 10, 10).repeat(2, 1, 1)
    found = thresholds(scores, 0.795, [0.0, 1.0])
    assert found.tolist() == pytest.approx([0.795, 0.58], abs=0.001)
    assert torch.equal(thresholds(scores, "otsu", None), thresholds(scores, "otsu"))
