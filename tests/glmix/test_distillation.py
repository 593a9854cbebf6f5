import math

import pytest
import torch
from torch import Tensor

from glmix.clustering import SlotAssignment
from glmix.distillation import (
    FeatureProjections,
    feature_loss,
    on_grid,
    principal_head,
    slot_entropy,
    slot_reconstruction,
    slot_reconstruction_loss,
    soft_label_loss,
    standardise,
)

HARD = 50.0


def hard_logits(labels: list[int], slots: int) -> Tensor:
    """(1, K, N): token n belongs to slot labels[n], all but certainly."""
    return HARD * torch.nn.functional.one_hot(torch.tensor(labels), slots).T[None].float()


def test_soft_label_loss_by_hand() -> None:
    teacher = torch.tensor([[math.log(3.0), 0.0]])  # 3/4, 1/4
    student = torch.zeros(1, 2)  # 1/2, 1/2
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert soft_label_loss(student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_soft_label_loss_is_zero_for_the_same_answer_up_to_a_constant() -> None:
    logits = torch.randn(4, 7)
    assert soft_label_loss(logits + 3.0, logits, 2.0).item() == pytest.approx(0.0, abs=1e-6)
    assert soft_label_loss(-logits, logits, 2.0).item() > 0.1


def test_temperature_divides_logits_and_keeps_the_scale_of_the_loss() -> None:
    student, teacher = torch.randn(4, 7), torch.randn(4, 7)
    scaled = 9.0 * soft_label_loss(student / 3, teacher / 3)
    assert soft_label_loss(student, teacher, 3.0).item() == pytest.approx(scaled.item(), rel=1e-5)


def test_principal_head_answers_unit_inputs_like_the_teacher() -> None:
    mixing = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0])) @ torch.randn(4, 6)
    teacher = torch.randn(5000, 4) @ mixing + torch.arange(6.0)
    weight, bias = principal_head(teacher, 3)
    centred = teacher - teacher.mean(dim=1, keepdim=True)
    torch.testing.assert_close(bias, centred.mean(dim=0))
    # rank 3: three directions are all there is, whatever turn they got
    torch.testing.assert_close(weight @ weight.T, centred.T.cov(correction=0), atol=1e-3, rtol=1e-3)


def test_principal_head_with_fewer_directions_than_inputs() -> None:
    teacher = torch.randn(40, 5)
    weight, bias = principal_head(teacher, 16)
    assert weight.shape == (5, 16)
    assert bias.shape == (5,)
    centred = teacher - teacher.mean(dim=1, keepdim=True)
    torch.testing.assert_close(weight @ weight.T, centred.T.cov(correction=0), atol=1e-4, rtol=1e-4)


def test_standardise_gives_every_channel_mean_0_and_variance_1() -> None:
    x = torch.randn(3, 5, 4, 4) * torch.arange(1.0, 6.0).view(1, 5, 1, 1) + 2
    y = standardise(x)
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(dim=(0, 2, 3), correction=0), torch.ones(5), atol=1e-3, rtol=0)


def test_standardise_silences_a_constant_channel() -> None:
    assert standardise(torch.full((2, 1, 3, 3), 7.0)).abs().max().item() < 1e-3


def test_on_grid_takes_means_when_it_divides() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(on_grid(x, (2, 2)), torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]]))
    assert on_grid(x, (4, 4)) is x
    assert on_grid(x, (3, 6)).shape == (1, 1, 3, 6)


def test_feature_loss_by_hand() -> None:
    # |d| = 0.5 → d²/2 = 0.125; |d| = 3 → 2.5
    projected = torch.tensor([0.5, 3.0]).view(1, 1, 1, 2)
    assert feature_loss(projected, torch.zeros(1, 1, 1, 2)).item() == pytest.approx(1.3125)


def test_projections_take_each_feature_to_its_teachers_channels() -> None:
    layers = FeatureProjections([3, 4], [5, 6])
    out = layers([torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4)])
    assert [tuple(x.shape) for x in out] == [(2, 5, 8, 8), (2, 6, 4, 4)]
    with pytest.raises(ValueError, match="longer"):
        FeatureProjections([3], [5, 6])


def test_projections_ignore_the_scale_of_the_student() -> None:
    layers = FeatureProjections([3], [5])
    x = torch.randn(4, 3, 6, 6)
    torch.testing.assert_close(layers([1000 * x + 7])[0], layers([x])[0], atol=1e-3, rtol=1e-3)


def test_reconstruction_loses_nothing_where_segments_are_constant() -> None:
    values = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 4.0], [0.0, 4.0]])[None]
    assert slot_reconstruction(hard_logits([0, 0, 1, 1], 2), values).item() < 1e-6


def test_uniform_assignment_loses_all() -> None:
    values = torch.randn(2, 9, 3)
    assert slot_reconstruction(torch.zeros(2, 4, 9), values).item() == pytest.approx(1.0, abs=1e-5)


def test_reconstruction_by_hand() -> None:
    # segments {0, 2} and {10, 12}: each loses 1 + 1 of the variance 36 + 16 + 16 + 36
    values = torch.tensor([0.0, 2.0, 10.0, 12.0]).view(1, 4, 1)
    lost = slot_reconstruction(hard_logits([0, 0, 1, 1], 2), values)
    assert lost.item() == pytest.approx(4 / 104, abs=1e-5)


def test_reconstruction_ignores_slot_order_and_a_shift_of_the_values() -> None:
    logits, values = torch.randn(2, 4, 9), torch.randn(2, 9, 3)
    lost = slot_reconstruction(logits, values)
    torch.testing.assert_close(slot_reconstruction(logits[:, [2, 0, 3, 1]], values), lost)
    torch.testing.assert_close(slot_reconstruction(logits, values + 5), lost, atol=1e-4, rtol=1e-4)


def test_reconstruction_pulls_the_scale_up_where_slots_fit() -> None:
    scale = torch.tensor(2.0, requires_grad=True)
    cosines = hard_logits([0, 0, 1, 1], 2) / HARD
    values = torch.tensor([0.0, 2.0, 10.0, 12.0]).view(1, 4, 1)
    slot_reconstruction(scale * cosines, values).backward()
    assert scale.grad is not None
    assert scale.grad.item() < 0


def test_reconstruction_of_a_blank_image_is_finite() -> None:
    assert slot_reconstruction(torch.randn(1, 4, 9), torch.ones(1, 9, 3)).item() == 0.0


def test_loss_is_the_mean_over_blocks_each_with_its_strides_target() -> None:
    values = torch.tensor([0.0, 2.0, 10.0, 12.0]).view(1, 1, 2, 2)
    hard = SlotAssignment(hard_logits([0, 0, 1, 1], 2), (2, 2), 0, 0)
    uniform = SlotAssignment(torch.zeros(1, 2, 4), (2, 2), 1, 0)
    targets = {4: values, 8: torch.randn(1, 3, 4, 4)}
    loss = slot_reconstruction_loss([hard, uniform], targets)
    assert loss.item() == pytest.approx((4 / 104 + 1) / 2, abs=1e-5)


def test_entropy_is_1_for_uniform_and_0_for_certain() -> None:
    assert slot_entropy(torch.zeros(2, 4, 9)) == pytest.approx(1.0, abs=1e-6)
    assert slot_entropy(hard_logits([0, 1, 2, 3], 4)) == pytest.approx(0.0, abs=1e-6)
    # two of four slots alike: log 2 / log 4
    half = torch.tensor([HARD, HARD, 0.0, 0.0]).view(1, 4, 1)
    assert slot_entropy(half) == pytest.approx(0.5, abs=1e-6)
