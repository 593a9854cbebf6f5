"""Soft clustering and dispatching on hand-sized examples, and the properties of the walk P·G."""

import pytest
import torch
import torch.nn.functional as F

from glmix.clustering import (
    SlotAssignment,
    assignment_logits,
    cluster_weights,
    dispatch,
    dispatch_unstored,
    dispatch_weights,
    hard_assignment_logits,
    initial_slots,
    regional_means,
    soft_cluster,
    soft_cluster_unstored,
)


def random_logits(batch: int = 2, slots: int = 5, tokens: int = 12) -> torch.Tensor:
    return torch.randn(batch, slots, tokens, generator=torch.Generator().manual_seed(0))


def test_initial_slots_are_regional_means_row_major() -> None:
    grid = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert initial_slots(grid, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert initial_slots(grid, (1, 2)).flatten().tolist() == [6.5, 8.5]


@pytest.mark.parametrize("size", [(8, 8), (7, 13), (3, 20), (1, 1), (24, 5)])
def test_regional_means_are_adaptive_pooling(size: tuple[int, int]) -> None:
    grid = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    for regions in ((8, 8), (2, 3), (1, 1)):
        expected = F.adaptive_avg_pool2d(grid, regions)
        torch.testing.assert_close(regional_means(grid, regions), expected)


def test_logits_are_scaled_cosines() -> None:
    slots = torch.tensor([[[3.0, 0.0], [0.0, 0.5]]])
    tokens = torch.tensor([[[2.0, 0.0], [0.0, -7.0], [1.0, 1.0]]])
    half = 0.5**0.5
    expected = torch.tensor([[[8.0, 0.0, 8 * half], [0.0, -8.0, 8 * half]]])
    torch.testing.assert_close(assignment_logits(slots, tokens, torch.tensor(8.0)), expected)


def test_weights_sum_to_one_over_tokens_and_over_slots() -> None:
    logits = random_logits()
    torch.testing.assert_close(cluster_weights(logits).sum(-1), torch.ones(2, 5))
    torch.testing.assert_close(dispatch_weights(logits).sum(-1), torch.ones(2, 12))


def test_a_constant_stays_constant() -> None:
    logits = random_logits()
    out = dispatch(logits, soft_cluster(logits, torch.full((2, 12, 3), 0.7)))
    torch.testing.assert_close(out, torch.full((2, 12, 3), 0.7))


def test_order_of_slots_changes_nothing() -> None:
    logits, values = random_logits(), torch.randn(2, 12, 3)
    shuffled = logits[:, torch.tensor([3, 0, 4, 1, 2])]
    torch.testing.assert_close(
        dispatch(shuffled, soft_cluster(shuffled, values)),
        dispatch(logits, soft_cluster(logits, values)),
    )


def test_a_hard_partition_gives_segment_means() -> None:
    segment = torch.tensor([0, 0, 1, 1, 1, 2])
    logits = 1e4 * torch.nn.functional.one_hot(segment, 3).T.float()[None]
    values = torch.tensor([1.0, 3.0, 0.0, 6.0, 3.0, 9.0]).reshape(1, 6, 1)
    out = dispatch(logits, soft_cluster(logits, values))
    assert out.flatten().tolist() == [2.0, 2.0, 3.0, 3.0, 3.0, 9.0]


def test_a_block_is_named_by_stride_and_index() -> None:
    assignment = SlotAssignment(random_logits(), (3, 4), stage=2, block=4)
    assert (assignment.stride, assignment.name) == (16, "16.4")


def test_unstored_passages_equal_the_stored_ones() -> None:
    slots, tokens, mixed = torch.randn(2, 5, 8), torch.randn(2, 30, 8), torch.randn(2, 5, 8)
    scale = torch.tensor(6.0)
    logits = assignment_logits(slots, tokens, scale)
    torch.testing.assert_close(
        soft_cluster_unstored(slots, tokens, scale), soft_cluster(logits, tokens)
    )
    torch.testing.assert_close(
        dispatch_unstored(slots, tokens, mixed, scale), dispatch(logits, mixed)
    )


def test_hard_assignment_finds_two_groups_and_leaves_an_unchosen_slot_uniform() -> None:
    tokens = torch.tensor([[[5.0, 1.0], [4.0, 2.0], [-3.0, -1.0], [-6.0, -2.0]]])
    slots = torch.tensor([[[1.0, -0.1], [-1.0, -1.0], [-1.0, 1.0]]])
    planes = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    logits = hard_assignment_logits(slots, tokens, planes)
    assert dispatch_weights(logits)[0].argmax(-1).tolist() == [0, 0, 1, 1]
    gathered = soft_cluster(logits, tokens)[0]
    assert gathered.tolist() == [[4.5, 1.5], [-4.5, -1.5], [0.0, 0.0]]
