"""Images of slots on hand-made assignments."""

import pytest
import torch

from glmix.clustering import SlotAssignment
from glmix.visualize import (
    COLOURS,
    GAP,
    default_blocks,
    figure,
    mosaic,
    outline,
    overlay,
    pseudo_colour,
    representative_slots,
    slot_maps,
)


def assignment(logits: torch.Tensor, grid: tuple[int, int], block: int = 0) -> SlotAssignment:
    return SlotAssignment(logits[None], grid, stage=2, block=block)


def halves() -> SlotAssignment:
    """Slots 0–4 share the left half of a 2×4 grid, slots 5 and 6 the right, 7 gets equal parts."""
    left = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0]]).flatten()
    rows = torch.stack([left / 6] * 5 + [(1 - left) * 5 / 12] * 2 + [torch.full((8,), 1 / 6)])
    return assignment(rows.clamp(min=1e-9).log(), (2, 4))


def test_maps_are_territories_scaled_to_one() -> None:
    maps = slot_maps(halves())
    assert maps.shape == (8, 2, 4)
    assert maps[0].round().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    torch.testing.assert_close(maps[7], torch.ones(2, 4))


def test_representatives_are_one_of_each_group_the_largest_first() -> None:
    assert representative_slots(halves(), 3) == [0, 5, 7]
    assert representative_slots(halves(), 1) == [0]


def test_representatives_have_the_least_cost_of_all_sets() -> None:
    logits = 3 * torch.randn(9, 12, generator=torch.Generator().manual_seed(1))
    weights = logits.softmax(0)
    weights = weights / weights.sum(1, keepdim=True)
    distance = 0.5 * torch.cdist(weights, weights, p=1)

    def cost(chosen: list[int]) -> float:
        return distance[chosen].amin(0).sum().item()

    best = min(cost([i, j]) for i in range(9) for j in range(i))
    assert cost(representative_slots(assignment(logits, (3, 4)), 2)) == pytest.approx(best)


def test_more_representatives_than_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="the block has 8 slots"):
        representative_slots(halves(), 9)


def test_pseudo_colours_meet_the_ends_of_the_ramp() -> None:
    ends = pseudo_colour(torch.tensor([-1.0, 0, 1, 2])).tolist()
    assert ends == [[13, 8, 60]] * 2 + [[250, 235, 60]] * 2


def test_outline_is_the_rim() -> None:
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[1:4, 1:5] = True
    rim = mask.clone()
    rim[2, 2:4] = False
    assert torch.equal(outline(mask), rim)
    # the image's own edge is no outline
    assert not outline(torch.ones(3, 3, dtype=torch.bool)).any()


def test_mosaic_keeps_proportions_and_order() -> None:
    sheet = mosaic(halves(), width=3 * 40 + 2 * GAP)
    assert sheet.shape == (3 * 20 + 2 * GAP, 3 * 40 + 2 * GAP, 3)
    high, low = [250, 235, 60], [13, 8, 60]
    assert sheet[5, 5].tolist() == high and sheet[5, 35].tolist() == low
    # slot 5 lies in the third column of the second row
    assert sheet[20 + GAP + 5, 2 * (40 + GAP) + 35].tolist() == high
    assert sheet[-1, -1].tolist() == [255] * 3  # no ninth slot


def test_overlay_tints_and_outlines_its_slots() -> None:
    image = overlay(torch.full((3, 80, 160), 0.5), halves(), [0, 5])
    assert image.shape == (80, 160, 3)
    red, amber = (torch.tensor(c) for c in COLOURS[:2])
    assert torch.equal(image[40, 79], red.byte()) and torch.equal(image[40, 80], amber.byte())
    inside = image[40, 20].float()
    torch.testing.assert_close(inside, 0.4 * 127.5 + 0.6 * red.float(), rtol=0, atol=1)


def test_overlay_refuses_more_slots_than_colours() -> None:
    with pytest.raises(ValueError, match="there are 6 colours"):
        overlay(torch.zeros(3, 8, 8), halves(), list(range(7)))


@pytest.mark.parametrize("size", [(50, 200), (200, 50), (64, 64)], ids=str)
def test_figure_of_any_proportions(size: tuple[int, int]) -> None:
    blocks = [halves(), assignment(torch.randn(8, 12), (6, 2), block=1)]
    image = torch.rand(3, *size)
    sheet = figure(image, blocks)
    assert sheet.dtype == torch.uint8
    assert sheet.shape[1] == 3 * size[1] + 2 * GAP
    assert sheet.shape[0] > size[0]
    # the image, the first block's overlay and its mosaic stand where they should
    assert torch.equal(sheet[: size[0], : size[1]], (image * 255).round().byte().permute(1, 2, 0))
    second = sheet[:, size[1] + GAP : 2 * size[1] + GAP]
    slots = representative_slots(blocks[0])
    assert torch.equal(second[: size[0]], overlay(image, blocks[0], slots))
    below = mosaic(blocks[0], size[1])
    assert torch.equal(second[size[0] + GAP :][: below.shape[0]], below)


def test_default_blocks_are_the_papers() -> None:
    ten = [assignment(torch.zeros(1, 1), (1, 1), block=i) for i in range(10)]
    assert [a.block + 1 for a in default_blocks(ten)] == [2, 5, 10]
    assert len(default_blocks(ten[:1])) == 1
