"""Losses for masks that are partly wrong, by hand."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss.models.noisy_loss import (
    agreeing,
    balanced_mean,
    cross_entropy,
    generalised_cross_entropy,
    image_scores,
    symmetric_cross_entropy,
    tag_loss,
    weighted_mean,
)

# one picture of 1 × 4: p of class 1 is 1/2, 1/4, 3/4 and anything, where the mask says nothing
PROBS = torch.tensor([[0.5, 0.75, 0.25, 0.9], [0.5, 0.25, 0.75, 0.1]])
LOGITS = PROBS.log()[None, :, None]
TARGET = torch.tensor([[[0, 1, 1, 255]]])


def test_cross_entropy() -> None:
    expected = [math.log(2), math.log(4), math.log(4 / 3), 0]
    assert cross_entropy(LOGITS, TARGET).flatten().tolist() == pytest.approx(expected)


def test_symmetric_cross_entropy() -> None:
    expected = [math.log(2) + 2 * 0.5, math.log(4) + 2 * 0.75, math.log(4 / 3) + 2 * 0.25, 0]
    found = symmetric_cross_entropy(LOGITS, TARGET, 0.5)
    assert found.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_generalised_cross_entropy(power: float) -> None:
    expected = [(1 - p**power) / power for p in (0.5, 0.25, 0.75)]
    found = generalised_cross_entropy(LOGITS, TARGET, power).flatten().tolist()
    assert found == pytest.approx([*expected, 0])


def test_generalised_cross_entropy_tends_to_cross_entropy() -> None:
    found = generalised_cross_entropy(LOGITS, TARGET, 1e-3)
    torch.testing.assert_close(found, cross_entropy(LOGITS, TARGET), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "loss",
    [
        cross_entropy,
        lambda z, y: symmetric_cross_entropy(z, y, 1.0),
        lambda z, y: generalised_cross_entropy(z, y, 0.7),
    ],
)
def test_gradients_are_finite_and_none_where_ignored(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    logits = torch.tensor([[[0.0, -80.0, 80.0, 3.0]], [[0.0, 80.0, -80.0, 1.0]]])[None]
    logits.requires_grad_()
    loss(logits, torch.tensor([[[0, 0, 0, 255]]])).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert not logits.grad[..., 3].any() and logits.grad[..., 0].all()


def test_a_wrong_label_pulls_less_where_losses_forgive() -> None:
    def pull(loss: Callable[[Tensor, Tensor], Tensor]) -> float:
        logits = torch.tensor([[[[6.0]], [[0.0]]]], requires_grad=True)
        loss(logits, torch.tensor([[[1]]])).sum().backward()
        assert logits.grad is not None
        return float(logits.grad[0, 1, 0, 0].abs())

    assert pull(cross_entropy) > 0.99
    assert pull(lambda z, y: generalised_cross_entropy(z, y, 0.7)) < 0.02


def test_weighted_mean() -> None:
    losses, weight = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 0.0, 0.5])
    assert weighted_mean(losses, weight).item() == 2.0
    assert weighted_mean(losses, torch.zeros(3)).item() == 0.0


def test_both_halves_weigh_the_same() -> None:
    target = torch.tensor([[[0, 0, 0, 2, 255]]])
    losses = torch.tensor([[[1.0, 2.0, 3.0, 7.0, 100.0]]])
    assert balanced_mean(losses, target, torch.ones(1, 1, 5)).item() == (2 + 7) / 2
    # within a half a pixel counts by its weight, which doesn't change what the half counts
    weight = torch.tensor([[[0.1, 0.0, 0.1, 0.01, 1.0]]])
    assert balanced_mean(losses, target, weight).item() == pytest.approx((2 + 7) / 2)


@pytest.mark.parametrize(("labels", "expected"), [([0, 0], 1.5), ([3, 1], 1.5), ([255, 255], 0.0)])
def test_one_half_alone_is_the_plain_mean(labels: list[int], expected: float) -> None:
    losses = torch.tensor([[[1.0, 2.0]]], requires_grad=True)
    mean = balanced_mean(losses, torch.tensor([[labels]]), torch.ones(1, 1, 2))
    mean.backward()
    assert mean.item() == expected and losses.grad is not None and losses.grad.isfinite().all()


def test_the_highest_losses_of_each_half_are_left_out() -> None:
    target = torch.tensor([[[0, 0, 0, 0, 1, 2, 1, 2, 255]]])
    losses = torch.tensor([[[0.1, 0.4, 0.2, 0.3, 5.0, 9.0, 7.0, 6.0, 0.0]]])
    kept = agreeing(losses, target, 0.25)
    assert kept.flatten().tolist() == [True, False, True, True, True, False, True, True, False]
    assert agreeing(losses, target, 0.0).sum() == 8
    # whole pixels, rounded down; of one pixel none can go
    assert agreeing(losses[..., 3:5], target[..., 3:5], 0.9).all()
    assert not agreeing(losses[..., 8:], target[..., 8:], 0.5).any()


def test_the_picture_s_score_is_the_pooled_log_odds() -> None:
    probs = torch.tensor([[[0.5, 0.2]], [[0.25, 0.2]], [[0.25, 0.6]]])
    odds = probs / (1 - probs)
    expected = odds[1:].mean(dim=(1, 2)).log()
    torch.testing.assert_close(image_scores(probs.log()[None])[0], expected)
    # a constant added to all logits changes no odds
    torch.testing.assert_close(image_scores(probs.log()[None] + 3)[0], expected)
    assert image_scores(torch.tensor([[[[-90.0]], [[90.0]]]])).isfinite().all()


def test_tags_outside_of_the_crop_have_no_say() -> None:
    logits = torch.randn(1, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[[0, 1, 255], [0, 0, 1]]])
    scores = image_scores(logits)[0]
    # class 1 is in the mask, class 2 tagged but not to be seen, class 3 not there
    found = tag_loss(logits, target, torch.tensor([[1.0, 1.0, 0.0]]))
    torch.testing.assert_close(found, (F.softplus(-scores[0]) + F.softplus(scores[2])) / 2)
    nothing = tag_loss(logits, torch.full((1, 2, 3), 255), torch.ones(1, 3))
    assert nothing.item() == 0
