"""The segmenter's loss by hand: background and foreground weigh the same, 255 nothing."""

import math

import pytest
import torch

from wsss.stages.train_seg import balanced_cross_entropy


def test_both_halves_weigh_the_same() -> None:
    # background is right with odds e² : 1 in three pixels, the class with 1 : 1 in one
    logits = torch.tensor([[[[2.0, 2.0, 2.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    target = torch.tensor([[[0, 0, 0, 1]]])
    expected = (math.log1p(math.exp(-2)) + math.log(2)) / 2
    assert balanced_cross_entropy(logits, target).item() == pytest.approx(expected)


def test_one_half_alone_is_the_plain_mean() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for value in (0, 2):
        target = torch.full((2, 4, 4), value)
        plain = torch.nn.functional.cross_entropy(logits, target)
        torch.testing.assert_close(balanced_cross_entropy(logits, target), plain)


def test_ignored_pixels_have_no_say() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    target = torch.tensor([[[0, 255], [1, 255]]])
    loss = balanced_cross_entropy(logits, target)
    torch.testing.assert_close(loss, balanced_cross_entropy(logits[..., :1], target[..., :1]))
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[..., 1].any() and logits.grad[..., 0].all()


def test_nothing_but_ignored_pixels_is_no_loss() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = balanced_cross_entropy(logits, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()
