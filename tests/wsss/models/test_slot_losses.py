"""The losses that teach slots to group: by hand, against loops, and what must not change them."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from glmix.clustering import HARD, SlotAssignment
from glmix.distillation import slot_entropy
from wsss.cam import resize
from wsss.models import slot_losses
from wsss.models.slot_losses import (
    background_loss,
    consistency_loss,
    contrast_loss,
    erasing_loss,
    sharpness_loss,
    walked_loss,
)


def hard(owners: list[list[int]], slots: int, grid: tuple[int, int]) -> SlotAssignment:
    """A block whose tokens belong to one slot each: `owners` a picture, row-major."""
    chosen = F.one_hot(torch.tensor(owners), slots).transpose(1, 2).float()
    return SlotAssignment(HARD * chosen, grid, 2, 0)


def soft(pictures: int, slots: int, grid: tuple[int, int]) -> SlotAssignment:
    noise = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(pictures, slots, grid[0] * grid[1], generator=noise)
    return SlotAssignment(logits, grid, 2, 0)


def a_map(*rows: list[float]) -> Tensor:
    """One picture of one row of places; a list a class."""
    return torch.tensor(rows)[None, :, None]


def cross_entropy(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


ONE = torch.ones(1, 1)
HALVES = hard([[0, 0, 1, 1]], 2, (1, 4))


def test_the_walked_map_is_pooled_and_answers() -> None:
    loss = walked_loss(a_map([4.0, 0.0, -2.0, -2.0]), HALVES, ONE)
    logit = math.log((2 * math.exp(2) + 2 * math.exp(-2)) / 4)
    assert loss.item() == pytest.approx(cross_entropy(logit, 1), abs=1e-5)
    # an absent class counts as well, here by a map without places that speak
    both = walked_loss(a_map([4.0, 0.0, -2.0, -2.0], [-3.0] * 4), HALVES, torch.tensor([[1.0, 0]]))
    assert both.item() == pytest.approx(
        (cross_entropy(logit, 1) + cross_entropy(-3, 0)) / 2, abs=1e-5
    )


def test_a_slot_that_mixes_costs_and_can_be_unmixed() -> None:
    level, peaked = a_map([2.0, 2.0, -2.0, -2.0]), a_map([4.0, 0.0, -2.0, -2.0])
    apart, mixed = HALVES, hard([[0, 1, 0, 1]], 2, (1, 4))
    assert walked_loss(peaked, apart, ONE) == pytest.approx(walked_loss(level, apart, ONE))
    assert walked_loss(level, mixed, ONE) > 2 * walked_loss(level, apart, ONE)
    tilted = torch.tensor([[[0.1, 0, 0, 0], [0, 0, 0, 0]]], requires_grad=True)
    walked_loss(level, SlotAssignment(tilted, (1, 4), 2, 0), ONE).backward()
    assert tilted.grad is not None
    gain = -(tilted.grad[0, 0] - tilted.grad[0, 1])
    assert gain[1] > 0 and gain[2] < 0 and gain[3] < 0


def test_without_the_loudest_places_the_rest_answers() -> None:
    alone = hard([list(range(16))], 16, (1, 16))
    cam = a_map([5.0, 4.0, *[0.0] * 14]).requires_grad_()
    loss = erasing_loss(cam, alone, ONE)
    whole = math.log((math.exp(5) + math.exp(4) + 14) / 16)
    target = 1 / (1 + math.exp(-whole))
    assert loss.item() == pytest.approx(cross_entropy(0, target), abs=1e-5)
    loss.backward()
    assert cam.grad is not None
    # what is erased asks nothing, and what is left is asked for more
    assert cam.grad.flatten()[:2].tolist() == [0, 0]
    assert (cam.grad.flatten()[2:] < 0).all()


def test_slots_say_which_places_are_the_loudest() -> None:
    segments = hard([[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]], 8, (1, 16))
    # the lone 3 has the highest place, the second segment the highest mean
    cam = a_map([3.0, -3.0, 2.0, 2.0, *[-3.0] * 12]).requires_grad_()
    erasing_loss(cam, segments, ONE).backward()
    assert cam.grad is not None
    assert (cam.grad.flatten() == 0).nonzero().flatten().tolist() == [2, 3]


def test_a_tag_that_is_not_seen_asks_next_to_nothing() -> None:
    alone = hard([list(range(16))], 16, (1, 16))
    seen, unseen = (a_map([level, *[-6.0] * 15]) for level in (6.0, -6.0))
    assert erasing_loss(seen, alone, ONE) > 50 * erasing_loss(unseen, alone, ONE)


def test_a_picture_of_one_token_keeps_it() -> None:
    single = hard([[0]], 1, (1, 1))
    assert erasing_loss(a_map([0.0]), single, ONE).item() == pytest.approx(math.log(2))


def test_the_quieter_half_of_the_slots_denies() -> None:
    loss = background_loss(a_map([4.0, 2.0, -1.0, -3.0], [9.0] * 4), HALVES, torch.tensor([[1, 0]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)


def test_sharpness_is_the_entropy_that_distillation_logs() -> None:
    block = soft(2, 5, (3, 4))
    assert sharpness_loss(block).item() == pytest.approx(slot_entropy(block.logits), abs=1e-6)
    assert sharpness_loss(hard([[0, 1]], 2, (1, 2))).item() == pytest.approx(0, abs=1e-6)
    assert sharpness_loss(hard([[0, 0]], 1, (1, 2))).item() == 0


def contrast_by_loops(features: Tensor, cam: Tensor, block: SlotAssignment, tags: Tensor) -> float:
    """Supervised contrast, a slot at a time."""
    anchors, others = [], []
    for b in range(len(tags)):
        gather = block.logits[b].softmax(1)
        slots, scores = gather @ features[b].flatten(1).T, gather @ cam[b].flatten(1).T
        own = tags[b].nonzero().flatten().tolist()
        best = [max((scores[k, c].item(), c) for c in own) for k in range(len(slots))]
        order = sorted(range(len(slots)), key=lambda k: best[k][0])
        vectors = F.normalize(slots, dim=1)
        loud, quiet = order[-slot_losses.SPEAKERS :], order[: slot_losses.SPEAKERS]
        anchors += [(vectors[k], best[k][1]) for k in loud if best[k][0] > 0]
        others += [vectors[k] for k in quiet if best[k][0] < 0]
    terms = []
    for i, (mine, label) in enumerate(anchors):
        rest = [v for j, (v, _) in enumerate(anchors) if j != i] + others
        sum_ = sum(math.exp(float(mine @ v) / slot_losses.TEMPERATURE) for v in rest)
        for j, (other, its) in enumerate(anchors):
            if j != i and its == label:
                terms.append(math.log(sum_) - float(mine @ other) / slot_losses.TEMPERATURE)
    return sum(terms) / len(terms)


def test_contrast_equals_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_losses, "SPEAKERS", 3)
    noise = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, 2, 5, generator=noise)
    cam = 3 * torch.randn(3, 3, 2, 5, generator=noise)
    tags = torch.tensor([[1.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    block = soft(3, 8, (2, 5))
    loss = contrast_loss(features, cam, block, tags)
    assert loss.item() == pytest.approx(contrast_by_loops(features, cam, block, tags), abs=1e-4)
    shuffled = block._replace(logits=block.logits[:, torch.randperm(8, generator=noise)])
    torch.testing.assert_close(contrast_loss(features, cam, shuffled, tags), loss)


def test_contrast_wants_classes_alike_and_apart() -> None:
    # two pictures of one class: tokens 0 and 1 speak for it, 2 and 3 are background
    blocks = hard([[0, 1, 2, 3]] * 2, 4, (1, 4))
    cam = torch.tensor([2.0, 2.0, -2.0, -2.0]).expand(2, 1, 1, 4)
    tags = torch.ones(2, 1)
    along, across = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    grouped = torch.stack([along, along, across, across], 1)[None, :, None].expand(2, 2, 1, 4)
    mixed = torch.stack([along, across, along, across], 1)[None, :, None].expand(2, 2, 1, 4)
    # three alike: each is told from the two others of its class alone
    assert contrast_loss(grouped, cam, blocks, tags).item() == pytest.approx(math.log(3), abs=1e-3)
    assert contrast_loss(mixed, cam, blocks, tags) > 5


def test_contrast_without_two_slots_that_speak() -> None:
    features, block = torch.randn(2, 4, 2, 5), soft(2, 8, (2, 5))
    silent = torch.full((2, 3, 2, 5), -1.0)
    assert contrast_loss(features, silent, block, torch.ones(2, 3)).item() == 0
    assert contrast_loss(features, -silent, block, torch.zeros(2, 3)).item() == 0


def test_consistency_by_hand() -> None:
    cam = torch.zeros(1, 2, 2, 2)
    target = torch.stack([torch.ones(1, 1), torch.full((1, 1), 0.5)])[None].expand(1, 2, 1, 1)
    assert consistency_loss(cam, target, torch.tensor([[1.0, 0.0]])).item() == 0.5
    assert consistency_loss(cam, target, torch.tensor([[0.0, 1.0]])).item() == 0.0
    assert consistency_loss(cam, target, torch.tensor([[3.0, 1.0]])).item() == 0.375


@pytest.mark.parametrize("loss", [erasing_loss, background_loss])
def test_pictures_without_tags_ask_nothing(loss: Any) -> None:
    cam = torch.randn(2, 3, 2, 5, requires_grad=True)
    value = loss(cam, soft(2, 8, (2, 5)), torch.zeros(2, 3))
    value.backward()
    assert value.item() == 0 and cam.grad is not None and not cam.grad.any()


@pytest.mark.parametrize("loss", [walked_loss, erasing_loss, background_loss])
def test_permuted_slots_change_nothing_and_the_map_fits_any_grid(loss: Any) -> None:
    cam, block = torch.randn(2, 3, 2, 5), soft(2, 8, (4, 10))
    tags = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    shuffled = block._replace(logits=block.logits[:, torch.randperm(8)])
    torch.testing.assert_close(loss(cam, block, tags), loss(cam, shuffled, tags))
    finer = resize(cam, (4, 10))
    torch.testing.assert_close(loss(cam, block, tags), loss(finer, block, tags))
