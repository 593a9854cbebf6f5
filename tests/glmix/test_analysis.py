"""Numbers about slots on hand-sized assignments and masks."""

import pytest
import torch

from glmix.analysis import (
    agreement,
    part_of,
    regrown,
    regular_partition,
    sharpness,
    territories,
)
from glmix.clustering import SlotAssignment


def assignment(logits: torch.Tensor, grid: tuple[int, int]) -> SlotAssignment:
    return SlotAssignment(logits[None], grid, stage=2, block=0)


def test_uniform_assignment_has_full_entropy() -> None:
    got = sharpness(assignment(torch.zeros(4, 6), (2, 3)))
    assert got == pytest.approx((1, 1, 1, 4), abs=1e-5)


def test_hard_halves_have_two_slots_in_use() -> None:
    half = torch.tensor([1.0, 1, 0, 0])
    logits = 100 * torch.stack([half, 1 - half, half - 2, half - 2])
    got = sharpness(assignment(logits, (1, 4)))
    assert got.dispatch_entropy == pytest.approx(0, abs=1e-5)
    assert got.cluster_entropy == pytest.approx(0.5, abs=1e-5)  # two of four tokens
    assert (got.used, got.effective) == (2, pytest.approx(2, abs=1e-4))


def test_territories_are_enlarged_to_the_image() -> None:
    logits = torch.tensor([[3.0, 0], [0, 1], [0, 0]])
    got = territories(assignment(logits, (1, 2)), (2, 4))
    assert got.tolist() == [[0, 0, 1, 1]] * 2


def test_agreement_by_hand() -> None:
    partition = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 2]])
    mask = torch.tensor([[0, 0, 0, 5], [0, 255, 5, 5]])
    got = agreement(partition, mask)
    assert got.purity == pytest.approx((3 + 2 + 1) / 7)
    assert got.best_iou == {5: pytest.approx(2 / 4)}
    assert got.labelled.tolist() == [[0, 0, 5, 5], [0, 0, 5, 5]]


def test_a_partition_that_refines_the_mask_is_pure_and_paints_it() -> None:
    mask = torch.randint(0, 3, (6, 7), generator=torch.Generator().manual_seed(0))
    got = agreement(torch.arange(42).view(6, 7), mask)
    assert got.purity == 1 and torch.equal(got.labelled, mask)


def test_agreement_refuses_what_it_cannot_count() -> None:
    with pytest.raises(ValueError, match="no pixel that counts"):
        agreement(torch.zeros(2, 2).long(), torch.full((2, 2), 255))
    with pytest.raises(ValueError, match=r"\(2, 2\), the mask \(2, 3\)"):
        agreement(torch.zeros(2, 2).long(), torch.zeros(2, 3).long())


def test_regular_partition_is_row_major() -> None:
    assert regular_partition((2, 4), (2, 2)).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]


def test_regrown_takes_the_best_threshold() -> None:
    region = torch.tensor([True, True, True, False, False])
    assert regrown(torch.tensor([1.0, 0.6, 0.5, 0.4, 0.0]), region) == 1
    assert regrown(torch.tensor([1.0, 0.2, 0.0, 0.3, 0.0]), region) == pytest.approx(2 / 4)


def test_part_is_the_middle_fifth() -> None:
    region = torch.zeros(5, 6, dtype=torch.bool)
    region[0:3, 0:5] = True
    part = part_of(region.flatten(), (5, 6)).view(5, 6)
    assert part.sum() == 3 and part[1, 2]
    assert not part[~region].any()
