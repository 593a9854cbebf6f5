"""Losses for masks that are partly wrong, by hand."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss.config import MaskLossConfig
from wsss.models.mask_loss import (
    balanced_mean,
    cross_entropy,
    mask_loss,
    masked_mean,
    symmetric_cross_entropy,
)

# one image of 1 × 4: p of class 1 is 1/2, 1/4, 3/4 and anything, where the mask says nothing
PROBS = torch.tensor([[0.5, 0.75, 0.25, 0.9], [0.5, 0.25, 0.75, 0.1]])
LOGITS = PROBS.log()[None, :, None]
TARGET = torch.tensor([[[0, 1, 1, 255]]])


def test_cross_entropy_by_hand() -> None:
    expected = [math.log(2), math.log(4), math.log(4 / 3), 0]
    assert cross_entropy(LOGITS, TARGET).flatten().tolist() == pytest.approx(expected)


def test_symmetric_cross_entropy_by_hand() -> None:
    expected = [math.log(2) + 2 * 0.5, math.log(4) + 2 * 0.75, math.log(4 / 3) + 2 * 0.25, 0]
    found = symmetric_cross_entropy(LOGITS, TARGET, 0.5)
    assert found.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "loss",
    [
        cross_entropy,
        lambda z, y: symmetric_cross_entropy(z, y, 1.0),
    ],
)
def test_cross_entropies_have_finite_gradients_and_none_where_ignored(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    logits = torch.tensor([[[0.0, -80.0, 80.0, 3.0]], [[0.0, 80.0, -80.0, 1.0]]])[None]
    logits.requires_grad_()
    loss(logits, torch.tensor([[[0, 0, 0, 255]]])).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert not logits.grad[..., 3].any() and logits.grad[..., 0].all()


def test_masked_mean_counts_where_the_mask_is_true() -> None:
    losses = torch.tensor([1.0, 2.0, 4.0])
    assert masked_mean(losses, torch.tensor([True, False, True])).item() == 2.5
    assert masked_mean(losses, torch.zeros(3, dtype=torch.bool)).item() == 0.0


def test_balanced_mean_weighs_both_halves_the_same() -> None:
    target = torch.tensor([[[0, 0, 0, 2, 255]]])
    losses = torch.tensor([[[1.0, 2.0, 3.0, 7.0, 100.0]]])
    assert balanced_mean(losses, target).item() == (2 + 7) / 2


@pytest.mark.parametrize(("labels", "expected"), [([0, 0], 1.5), ([3, 1], 1.5), ([255, 255], 0.0)])
def test_balanced_mean_of_one_half_alone_is_its_mean(labels: list[int], expected: float) -> None:
    losses = torch.tensor([[[1.0, 2.0]]], requires_grad=True)
    mean = balanced_mean(losses, torch.tensor([[labels]]))
    mean.backward()
    assert mean.item() == expected and losses.grad is not None and losses.grad.isfinite().all()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 4, (2, 6, 8), generator=generator)
    target[:, 4:] = 255
    return torch.randn(2, 4, 6, 8, generator=generator), target


def test_mask_loss_unbalanced_is_torch_s_cross_entropy(batch: tuple[Tensor, Tensor]) -> None:
    found = mask_loss(MaskLossConfig(kind="cross_entropy", balanced=False), *batch)
    torch.testing.assert_close(found, F.cross_entropy(*batch, ignore_index=255))


def test_mask_loss_defaults_to_symmetric_and_balanced(batch: tuple[Tensor, Tensor]) -> None:
    pixels, target = symmetric_cross_entropy(*batch, 0.5), batch[1]
    foreground = (target > 0) & (target < 255)
    expected = (pixels[target == 0].mean() + pixels[foreground].mean()) / 2
    torch.testing.assert_close(mask_loss(MaskLossConfig(), *batch), expected)
